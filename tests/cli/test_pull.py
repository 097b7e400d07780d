from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers_cli import COUNT, lines, one_error_line, run
from helpers_hub import Hub

# The client of the hub uploads files in a way that its HTTP library no longer wants.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_shared_index_is_downloaded_and_searched(hub: Hub, dsi: Path, photos: Path, tmp_path: Path) -> None:
    assert run("push", dsi, "someone/photos", "--include", "keypoints").exit_code == 0
    out = tmp_path / "pulled.dsi"
    pulled = run("pull", "someone/photos", "-o", out)
    assert pulled.exit_code == 0, pulled.output
    assert lines(pulled) == [{"index": str(out), "repository": "someone/photos", "images": COUNT}]
    assert json.loads((out / "index.json").read_text())["generation"] == 1
    query = photos / "round" / "03.png"
    assert run("search", out, query).stdout == run("search", dsi, query).stdout
    one_error_line(run("pull", "someone/photos", "-o", out), 2, "exists; --force replaces it")
    assert run("pull", "someone/photos", "-o", out, "--force").exit_code == 0


@pytest.mark.usefixtures("hub")
def test_a_repository_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "none.dsi"
    one_error_line(run("pull", "someone/none", "-o", out), 2, "there is no such repository")
    assert not out.exists()
