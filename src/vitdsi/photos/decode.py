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
from PIL import ExifTags, Image, UnidentifiedImageError

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos.heif import HEADER_BYTES, formats_for

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

# The list is closed because Pillow detects the format by content: otherwise a file called .jpg could reach its EPS
# reader, which starts Ghostscript. HEIF files are recognised by `vitdsi.photos.heif`.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: Source, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image to upright RGB.

    The EXIF orientation is applied, transparency is composited on white, and the first frame of an animation is taken.

    Args:
        source: a path, the bytes of an encoded file, a Pillow image, or a uint8 array (H, W, 3) or (H, W).
        min_side: the shorter side that is needed, in pixels. JPEG files are then decoded at 1/2, 1/4 or 1/8 of their
            size (the scaled DCT of libjpeg), which is several times faster. Other formats keep their size.
        max_pixels: upper limit of the pixels to decode. They are counted after that reduction, except in progressive
            files. Pillow's own limit, twice PIL.Image.MAX_IMAGE_PIXELS, applies before the reduction.

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
                return _upright_rgb(image)
            if image.info.get("progressive"):  # libjpeg holds all coefficients at full size
                _check_pixels(image, name, max_pixels)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, (min_side, min_side))
            _check_pixels(image, name, max_pixels)
            image.load()
            return _upright_rgb(image)
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
        return displayed_size(image, _orientation(image))


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


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels can be read in spite of broken metadata
        return 1


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    # This comes after load(): EXIF may follow the pixels of a PNG. TIFF and HEIF files are turned upright by their
    # readers, which then say so.
    transpose = _ORIENTATIONS.get(_orientation(image))
    if image.mode.startswith("I") or image.mode == "F":
        rgb = _deep_to_grey(image).convert("RGB")
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image.copy() if image.mode == "RGB" else image.convert("RGB")
    if transpose is not None:
        rgb = rgb.transpose(transpose)
    rgb.info.clear()  # otherwise decoding the result again would turn it again
    return rgb


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """Convert 16-bit, 32-bit or float grey to 8 bits, where Pillow's own conversion would clip at 255.

    White is 65535 in 16-bit modes. In other modes it is the smallest of 1 (floats only), 255 and 65535 that no value
    exceeds, else the maximum.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    top = float(values.max())
    choices = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
    white = 65535.0 if image.mode.startswith("I;16") else next((c for c in choices if top <= c), top)
    return Image.fromarray(np.clip(values * (255 / white), 0, 255).round().astype(np.uint8))
