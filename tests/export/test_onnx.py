from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers_cli import TINY, paint

from vitdsi import ImageIndex, load_config
from vitdsi.errors import UsageError
from vitdsi.exported.manifest import array_of, check_files, read_manifest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    photos = paint(tmp_path_factory.mktemp("photos"))
    return ImageIndex(load_config(overrides=[*TINY, "training.max_epochs=1"])).fit(photos)


def test_an_export_replaces_an_export_and_nothing_else(index: ImageIndex, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="is not an exported index"):
        index.export_onnx(tmp_path / "mine")
    folder = index.export_onnx(tmp_path / "photos.web")
    (folder / "left.over").write_text("")
    index.export_onnx(folder)
    assert not (folder / "left.over").exists()
    check_files(folder)
    manifest = read_manifest(folder)
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert manifest["index"] is None


def test_arrays_hold_the_ids_and_names_of_the_index(index: ImageIndex, tmp_path: Path) -> None:
    folder = index.export_onnx(tmp_path / "photos.web")
    manifest = read_manifest(folder)
    np.testing.assert_array_equal(array_of(folder, manifest, "child"), index.trie_.child)
    names = array_of(folder, manifest, "names").tobytes().decode()
    assert names == "".join(index.image_ids_)


def test_an_index_that_was_not_saved_needs_a_folder(index: ImageIndex) -> None:
    with pytest.raises(UsageError, match="save it, or give a folder"):
        index.export_onnx()


def test_an_index_that_another_process_changed_is_refused(index: ImageIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "photos.dsi")
    description = tmp_path / "photos.dsi" / "index.json"
    content = json.loads(description.read_text("utf-8"))
    description.write_text(json.dumps(content | {"generation": 7}), "utf-8")
    with pytest.raises(UsageError, match="changed by another process"):
        index.export_onnx()
