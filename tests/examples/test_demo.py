from __future__ import annotations

from pathlib import Path

import demo
import pytest

pytest.importorskip("skimage", reason="the photos are inside scikit-image")


@pytest.mark.slow
def test_main_writes_an_index_and_a_contact_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(tmp_path)
    assert (tmp_path / "demo.dsi" / "index.json").exists()
    assert "astronaut/000.jpg" in (tmp_path / "results.html").read_text("utf-8")
    assert "found their source at rank 1" in capsys.readouterr().out
