from __future__ import annotations

from pathlib import Path

import pytest
import search

pytest.importorskip("skimage", reason="the photos are inside scikit-image")


@pytest.mark.slow
def test_main_prints_results_of_all_four_kinds_of_searches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search.main(tmp_path)
    out = capsys.readouterr().out
    assert "  1  0." in out and "astronaut/000.jpg" in out
    assert "found their source at rank 1" in out
    assert "among large photos: astronaut/" in out
    assert "photos from outside have none" in out
