from __future__ import annotations

from pathlib import Path

import pytest
from helpers_cli import lines, one_error_line, run
from helpers_hub import Hub, Repository

# The client of the hub uploads files in a way that its HTTP library no longer wants.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_what_is_shared_and_left_out_is_listed(hub: Hub, dsi: Path) -> None:
    pushed = run(
        "push", dsi, "someone/photos", "--include", "thumbnails", "--no-names", "--license", "cc0-1.0"
    )
    assert pushed.exit_code == 0, pushed.output
    (summary,) = lines(pushed)
    assert summary["private"] is True and summary["commit"].startswith(hub.address)
    said = pushed.stderr.splitlines()
    assert "shared: a grey thumbnail of 32 x 32 pixels of each photo" in said
    assert any(line.startswith("left out: facts about the photos") for line in said)
    repository = hub.repositories["someone/photos"]
    assert repository.private
    assert b"license: cc0-1.0" in repository.commits[-1]["README.md"]
    assert b"round/" not in b"".join(repository.commits[-1].values())


def test_public_repositories_need_the_option(hub: Hub, dsi: Path) -> None:
    hub.repositories["someone/photos"] = Repository(private=False)
    refused = run("push", dsi, "someone/photos")
    assert refused.exit_code == 2 and "someone/photos is public" in refused.stderr
    assert run("push", dsi, "someone/photos", "--public").exit_code == 0


def test_an_index_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    one_error_line(run("push", tmp_path / "none.dsi", "someone/photos"), 2, "there is no such index")
