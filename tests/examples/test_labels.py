from __future__ import annotations

from pathlib import Path

import labels
import pytest

pytest.importorskip("skimage", reason="the photos are inside scikit-image")


@pytest.mark.slow
def test_main_compares_an_index_with_classes_with_one_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels.main(tmp_path)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("with classes") and second.startswith("without")
    assert (tmp_path / "classes.dsi" / "index.json").exists()
