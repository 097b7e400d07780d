"""An index with everything that photos can be searched by, and its export."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="session")
def exported_colours(colour_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `colour_index` with its export inside."""
    from vitdsi import ImageIndex

    copy = Path(shutil.copytree(colour_index, tmp_path_factory.mktemp("exported") / "colours.dsi"))
    assert ImageIndex.load(copy).export_onnx() == copy / "onnx"
    return copy


@pytest.fixture
def export(exported_colours: Path, tmp_path: Path) -> Path:
    """An export that a test may break."""
    return Path(shutil.copytree(exported_colours / "onnx", tmp_path / "copy"))
