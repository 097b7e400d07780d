from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers_cli import TINY, paint
from PIL import Image

from vitdsi import ImageIndex, load_config
from vitdsi.columns.names import Names
from vitdsi.errors import UsageError
from vitdsi.export.web import write_pictures
from vitdsi.exported.manifest import check_files, read_manifest
from vitdsi.exported.searcher import ExportedIndex

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def index(photos: Path) -> ImageIndex:
    return ImageIndex(load_config(overrides=[*TINY, "training.max_epochs=1"])).fit(photos)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for ONNX Runtime, which is only copied."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / name).write_text(name)
    return folder


def test_the_page_is_that_of_the_server_and_loads_nothing_from_elsewhere(
    index: ImageIndex, photos: Path, runtime: Path, tmp_path: Path
) -> None:
    folder = index.export_web(tmp_path / "photos.web", images=photos, onnxruntime=runtime)
    check_files(folder)
    listed = {path for path in read_manifest(folder)["files"] if path.startswith("static/")}
    assert {"static/grid.js", "static/local/best_first.js", "static/onnxruntime/ort.wasm"} <= listed
    page = (folder / "index.html").read_text("utf-8")
    assert "default-src 'self'" in page
    for path in [
        folder / "index.html",
        *(folder / "static").rglob("*.js"),
        *(folder / "static").rglob("*.css"),
    ]:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, path
    assert ExportedIndex(folder).search(photos / "round" / "03.png", 1, regions=1)
    assert "keypoints.bin" not in read_manifest(folder)["files"]


def test_pictures_are_made_of_the_photos_or_else_of_the_grey_ones(
    index: ImageIndex, photos: Path, runtime: Path, tmp_path: Path
) -> None:
    for images, kind, size in ((photos, "photos", (48, 40)), (None, "grey", (32, 32))):
        folder = index.export_web(tmp_path / f"{kind}.web", images=images, onnxruntime=runtime)
        assert read_manifest(folder)["page"] == {"name": kind, "labels": "none", "pictures": kind}
        assert len(list((folder / "pictures").rglob("*.webp"))) == 12
        with Image.open(folder / "pictures" / "0" / "3.webp") as picture:
            assert picture.size == size


def test_names_that_lead_out_of_the_folder_have_no_picture_of_a_photo(
    index: ImageIndex, photos: Path, tmp_path: Path
) -> None:
    names = [f"../photos/{name}" for name in index.image_ids_[:-1]] + [str(photos / index.image_ids_[-1])]
    state = replace(index.state_, image_ids=Names.of(names))
    with pytest.raises(UsageError, match="has no photo of this index"):
        write_pictures(tmp_path, state, photos)


def test_a_folder_without_photos_of_the_index_leaves_no_export(
    index: ImageIndex, runtime: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="give the folder that was indexed"):
        index.export_web(tmp_path / "out.web", images=tmp_path / "empty", onnxruntime=runtime)
    assert not (tmp_path / "out.web").exists()


def test_the_page_is_named_after_the_index(index: ImageIndex, runtime: Path, tmp_path: Path) -> None:
    index.save(tmp_path / "holidays.dsi")
    folder = index.export_web(tmp_path / "out", onnxruntime=runtime)
    assert read_manifest(folder)["page"]["name"] == "holidays"
