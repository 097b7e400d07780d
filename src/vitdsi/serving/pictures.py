"""Pictures of indexed images: thumbnails, which a bounded part of memory keeps, and the photos themselves."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import decode, open_image
from vitdsi.serving.errors import ApiError
from vitdsi.serving.served import Served

__all__ = ["MAX_SIDE", "MIN_SIDE", "Pictures"]

MIN_SIDE, MAX_SIDE = 32, 1024  # pixels of the longer side of a thumbnail
_SIDE_STEP = 64  # sides are rounded up to multiples of this, so that few variants are kept
_QUALITY = 80
_MEDIA_TYPES = {
    name: f"image/{name.lower()}" for name in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
}
_MEDIA_TYPES |= {"DIB": "image/bmp", "JPEG2000": "image/jp2", "MPO": "image/jpeg"}


class Pictures:
    """Makes pictures of the images of an index.

    Args:
        folder: the folder that was indexed, or None without one.
        max_pixels: the number of pixels that are decoded.
        cache_bytes: the size of the thumbnails that are kept.

    Attributes:
        kept_bytes: the size of those that are kept at present.
    """

    def __init__(self, folder: Path | None, max_pixels: int, cache_bytes: int) -> None:
        self._folder, self._max_pixels, self._cache_bytes = folder, max_pixels, cache_bytes
        self._kept: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()
        self.kept_bytes = 0
        self._lock = threading.Lock()

    def file(self, image_id: str) -> Path | None:
        """Return the file of an image, or None if there is none in the folder.

        Names that lead out of the folder have no file, whatever the index says. Symbolic links in the folder are
        followed, as they were when it was indexed.
        """
        if self._folder is None or not is_inside(image_id):
            return None
        path = self._folder / image_id
        try:
            return path if path.is_file() else None
        except (OSError, ValueError):
            return None

    def thumbnail(self, served: Served, number: int, side: int) -> tuple[bytes, bool]:
        """Return a JPEG of an image whose longer side has about `side` pixels, and whether it was made from its file.

        Without a readable file it is the small grey picture that the index keeps.

        Raises:
            ApiError: 404, the index keeps none.
        """
        image_id = served.state.image_ids[number]
        side = min(MAX_SIDE, -(-max(side, MIN_SIDE) // _SIDE_STEP) * _SIDE_STEP)
        key = (image_id, served.state.hashes[number], side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key], True
        picture = self._of_file(image_id, side)
        if picture is None:  # it is not kept, since the file may come later
            return self._grey(served, number), False
        self._keep(key, picture)
        return picture, True

    def clear(self) -> None:
        """Forget all thumbnails."""
        with self._lock:
            self._kept.clear()
            self.kept_bytes = 0

    def _of_file(self, image_id: str, side: int) -> bytes | None:
        path = self.file(image_id)
        if path is None:
            return None
        try:
            image = decode(path, min_side=side, max_pixels=self._max_pixels)
        except ImageReadError:  # the grey picture is better than none
            return None
        image.thumbnail((side, side), reducing_gap=3.0)
        return _jpeg(image)

    def _grey(self, served: Served, number: int) -> bytes:
        if served.state.thumbnails is None:
            raise ApiError(404, "there is no picture of this image; start the server with --images DIR")
        return _jpeg(Image.fromarray(served.state.thumbnails.at(np.array([number]))[0].numpy()))

    def _keep(self, key: tuple[str, str, int], picture: bytes) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = picture
                self.kept_bytes += len(picture)
            while self.kept_bytes > self._cache_bytes:
                _, dropped = self._kept.popitem(last=False)
                self.kept_bytes -= len(dropped)

    def photo(self, image_id: str) -> tuple[Path, str]:
        """Return the file of an image and its media type, which is found by the content of the file.

        Raises:
            ApiError: 404, there is no such image file.
        """
        path = self.file(image_id)
        if path is not None:
            try:
                with open_image(path) as (image, _):
                    return path, _MEDIA_TYPES.get(image.format or "", "application/octet-stream")
            except ImageReadError:
                pass
        raise ApiError(404, "there is no photo of this image; start the server with --images DIR")


def is_inside(image_id: str) -> bool:
    """Return whether a name is that of a file below a folder: relative, and nowhere one level up."""
    path = PurePosixPath(image_id)
    return not (
        path.is_absolute() or ".." in path.parts or "\0" in image_id or "\\" in image_id or not path.parts
    )


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
