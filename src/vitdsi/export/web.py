"""The page of an export, which searches it in a browser: the page of the server, with a search in place of requests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.export.photo_graph import write_photo_graph
from vitdsi.photos.decode import decode
from vitdsi.state import IndexState

__all__ = ["Web", "write_page", "write_pictures"]

_ROOM = Path(__file__).parent
_SHARED = _ROOM.parent / "serving" / "static"  # the page of the server
_OWN = _ROOM / "page"
_SIDE, _QUALITY = 256, 70  # of a picture
_PICTURES_IN_FOLDER = 1000
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' blob: data:;"
    " object-src 'none'; base-uri 'none'; form-action 'none'"
)
_HEAD = '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
_OFFLINE_HEAD = (
    '<html lang="en" data-offline>\n<head>\n<meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
)


@dataclass(frozen=True)
class Web:
    """How an index is exported for browsers.

    Attributes:
        name: what the page calls the collection.
        onnxruntime: the package `onnxruntime-web`; None takes it from the npm registry.
    """

    name: str
    onnxruntime: Path | None = None


def write_page(folder: Path, reader: FeatureReader, runtime: Mapping[str, bytes]) -> None:
    """Write the page, and the graph by which it reads photos, into an export.

    Args:
        folder: the export.
        reader: what the index reads photos with.
        runtime: the files of ONNX Runtime.
    """
    write_photo_graph(folder, reader.image_size, reader.backbone.resample)
    static = folder / "static"
    shutil.copytree(_SHARED, static)
    shutil.copytree(_OWN, static, dirs_exist_ok=True)
    (static / "onnxruntime").mkdir()
    for name, content in runtime.items():
        (static / "onnxruntime" / name).write_bytes(content)
    page = (static / "index.html").read_text("utf-8")
    assert _HEAD in page
    (static / "index.html").unlink()
    (folder / "index.html").write_text(page.replace(_HEAD, _OFFLINE_HEAD), "utf-8")


def write_pictures(folder: Path, state: IndexState, images: Path | None) -> str | None:
    """Write a picture of each image into an export; return what they are: `photos`, `grey`, or None without any.

    Raises:
        UsageError: no photo of the index is in the folder `images`.
    """
    if images is None and state.thumbnails is None:
        return None
    found = 0
    for number in state.trie.live_ids().tolist():
        picture = None if images is None else _of_file(images, state.image_ids[number])
        found += picture is not None
        if picture is None and state.thumbnails is not None:
            picture = Image.fromarray(state.thumbnails.at(np.array([number]))[0].numpy())
        if picture is not None:
            path = folder / "pictures" / str(number // _PICTURES_IN_FOLDER) / f"{number}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=_QUALITY)
    if images is not None and not found:
        raise UsageError(f"{images} has no photo of this index; give the folder that was indexed")
    return "grey" if images is None else "photos"


def _of_file(images: Path, image_id: str) -> Image.Image | None:
    """Return a picture of an image in the folder, or None if it has none, or the name leads out of the folder."""
    path = PurePosixPath(image_id)
    if path.is_absolute() or ".." in path.parts:
        return None
    try:
        picture = decode(images / path, min_side=_SIDE)
    except (ImageReadError, ValueError):
        return None
    picture.thumbnail((_SIDE, _SIDE), reducing_gap=3.0)
    return picture
