"""Images of any mode as upright RGB: orientation, transparency on white, deep grey in 8 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

__all__ = ["orientation_of", "upright_rgb"]

_BAND_PIXELS = 1 << 20  # that are converted together

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 where it has none."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels can be read in spite of broken metadata
        return 1


def upright_rgb(image: Image.Image, *, release: bool = False) -> Image.Image:
    """Return a copy as upright RGB. With `release`, the pixels of the image are given up as soon as they are copied."""
    image.load()
    # This comes after load(): EXIF may follow the pixels of a PNG. TIFF and HEIF files are turned upright by their
    # readers, which then say so.
    transpose = _ORIENTATIONS.get(orientation_of(image))
    if image.mode.startswith("I") or image.mode == "F":
        rgb = _in_bands(image, functools.partial(_deep_to_grey, white=_white(image)))
    elif image.has_transparency_data:
        rgb = _in_bands(image, _on_white)
    else:
        rgb = image.copy() if image.mode == "RGB" else image.convert("RGB")
    if release:
        image.close()
    if transpose is not None:
        rgb = rgb.transpose(transpose)
    rgb.info.clear()  # otherwise decoding the result again would turn it again
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield bands of rows and where they begin, as copies of the whole image could need more than 1 GB."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    rgb = Image.new("RGB", image.size)
    for top, band in _bands(image):
        rgb.paste(convert(band), (0, top))
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    rgb = Image.new("RGB", image.size, "white")
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    return rgb


def _white(image: Image.Image) -> float:
    """Return the value that is white in 16-bit, 32-bit or float grey.

    It is 65535 in 16-bit modes. In other modes it is the smallest of 1 (floats only), 255 and 65535 that no value
    exceeds, else the maximum.
    """
    if image.mode.startswith("I;16"):
        return 65535.0
    top = max(float(_deep_values(band).max()) for _, band in _bands(image))
    choices = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
    return next((c for c in choices if top <= c), top)


def _deep_to_grey(image: Image.Image, white: float) -> Image.Image:
    """Convert 16-bit, 32-bit or float grey to 8 bits, where Pillow's own conversion would clip at 255."""
    return Image.fromarray(np.clip(_deep_values(image) * (255 / white), 0, 255).round().astype(np.uint8))


def _deep_values(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
