"""Decoding image files: upright RGB images, squares of pixels, sizes and content hashes. Pillow and numpy only."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos.heif import HEADER_BYTES, formats_for
from vitdsi.photos.upright import orientation_of, upright_rgb

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Pixels",
    "Source",
    "content_hash",
    "decode",
    "displayed_size",
    "load_square",
    "open_image",
    "oriented_size",
    "to_square",
]

Pixels: TypeAlias = npt.NDArray[np.uint8]
Source: TypeAlias = "Path | str | bytes | Image.Image | Pixels"

# The size from which Pillow warns. At Pillow's 4 bytes per pixel it is 0.36 GB for each decoding thread.
MAX_PIXELS = 178_956_970 // 2

# The readers of these formats hold an image several times at once.
_MAX_PIXELS_OF = {
    "WEBP": MAX_PIXELS // 2,
    **dict.fromkeys(("AVIF", "HEIF", "JPEG2000"), MAX_PIXELS * 3 // 4),
}

# Pillow decodes row by row, and a file of a few bytes could have many millions of rows.
_MAX_SIDE = 1_000_000

# The list is closed because Pillow detects the format by content: otherwise a file called .jpg could reach its EPS
# reader, which starts Ghostscript. HEIF files are recognised by `vitdsi.photos.heif`.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")


def decode(source: Source, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image to upright RGB.

    The EXIF orientation is applied, transparency is composited on white, and the first frame of an animation is taken.

    Args:
        source: a path, the bytes of an encoded file, a Pillow image, or a uint8 array (H, W, 3) or (H, W).
        min_side: the shorter side that is needed, in pixels. JPEG files are then decoded at 1/2, 1/4 or 1/8 of their
            size (the scaled DCT of libjpeg), which is several times faster. Other formats keep their size.
        max_pixels: upper limit of the pixels to decode. They are counted after that reduction, except in progressive
            files. Pillow's own limit, twice PIL.Image.MAX_IMAGE_PIXELS, applies before the reduction. WebP
            files have at most half of `MAX_PIXELS`, and AVIF, HEIF and JPEG 2000 files three quarters: their readers
            need more memory.

    Raises:
        ImageReadError: the source is not an image, or is empty, truncated, too large or unreadable.
        UsageError: the source is an array of another shape or type.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    with open_image(source) as (image, name):
        try:
            if isinstance(source, Image.Image):
                _check_pixels(image, name, max_pixels)
                return upright_rgb(image)
            if image.info.get("progressive"):  # libjpeg holds all coefficients at full size
                _check_pixels(image, name, max_pixels)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, (min_side, min_side))
            _check_pixels(image, name, max_pixels)
            image.load()
            return upright_rgb(image, release=True)
        except ImageReadError:
            raise
        except Exception as error:  # Pillow's readers raise nearly any exception on broken data
            raise ImageReadError(name, _reason(error)) from error


def oriented_size(source: Path) -> tuple[int, int]:
    """Return (width, height) in pixels as displayed. Only the header is read.

    Raises:
        ImageReadError: the file is not an image or cannot be read.
    """
    with open_image(source) as (image, _):
        return displayed_size(image, orientation_of(image))


def displayed_size(image: Image.Image, orientation: object) -> tuple[int, int]:
    """Return (width, height) in pixels as displayed, given the value of the EXIF orientation."""
    width, height = image.size
    # Pillow swaps the size of a TIFF itself when it opens the file.
    swapped = image.format != "TIFF" and orientation in (5, 6, 7, 8)
    return (height, width) if swapped else (width, height)


def to_square(image: Image.Image, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Pixels:
    """Resize the centre square of an RGB image: uint8 (size, size, 3).

    This equals scaling the shorter side to `size` and cropping, without the large intermediate image that a long image
    would need.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), resample, box=box, reducing_gap=3.0))


def load_square(source: Source, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Pixels:
    """Decode one image to a square: uint8 (size, size, 3). See `decode` and `to_square`."""
    return to_square(decode(source, min_side=size), size, resample)


def content_hash(path: Path) -> str:
    """Return the BLAKE2b-128 hash of the content of a file, as 32 hexadecimal digits.

    Raises:
        ImageReadError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ImageReadError(path, _reason(error)) from error
    return digest.hexdigest()


# The filter is added and removed by hand, as warnings.catch_warnings replaces the whole list and is not thread-safe.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)
_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Ignore warnings from Pillow (odd metadata, large sizes) while any thread is inside this context."""
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        filters = cast("list[Any]", warnings.filters)
        if _QUIET not in filters:
            filters.insert(0, _QUIET)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            filters = cast("list[Any]", warnings.filters)
            if _quiet_depth == 0 and _QUIET in filters:
                filters.remove(_QUIET)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def open_image(source: Path | str | bytes | Image.Image) -> Iterator[tuple[Image.Image, str]]:
    """Open an image without decoding its pixels.

    Yields:
        The image, which is closed at the end unless it was given as one, and its name for messages.

    Raises:
        ImageReadError: the source is not an image, or is empty or unreadable.
    """
    if isinstance(source, Image.Image):
        with _quiet_pillow():
            yield source, str(getattr(source, "filename", "") or "<image>")
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet_pillow())
        name = "<bytes>" if isinstance(source, bytes) else os.fspath(source)
        try:
            if isinstance(source, bytes):
                empty, stream = not source, cast("io.BufferedIOBase", io.BytesIO(source))
            else:
                # Opening a pipe would wait for ever.
                if Path(source).exists() and not Path(source).is_file():
                    raise ImageReadError(name, "not a file")
                stream = stack.enter_context(open(source, "rb"))
                empty = os.fstat(stream.fileno()).st_size == 0
            if empty:
                raise ImageReadError(name, "the file is empty")
            formats = formats_for(stream.read(HEADER_BYTES)) or _formats()
            stream.seek(0)
            image = stack.enter_context(Image.open(cast("Any", stream), formats=formats))
        except ImageReadError:
            raise
        except Exception as error:
            raise ImageReadError(name, _reason(error)) from error
        yield image, name


def _check_pixels(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if max(width, height) > _MAX_SIDE:
        raise ImageReadError(name, f"{width} x {height} pixels: no side may be longer than {_MAX_SIDE}")
    max_pixels = min(max_pixels, _MAX_PIXELS_OF.get(image.format or "", max_pixels))
    if width * height > max_pixels:
        reason = f"{width} x {height} pixels are more than the limit of {max_pixels}; make the image smaller"
        raise ImageReadError(name, reason)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or none that can be read ({', '.join(_formats())})"
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (3,))
        or array.size == 0
    ):
        raise UsageError(
            f"array of {array.dtype} {array.shape}: images are uint8 arrays of shape (H, W, 3) or (H, W)"
        )
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
