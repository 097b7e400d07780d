"""Files to pixels: finding, decoding, squaring and altering images. Pillow and numpy only."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageEnhance, ImageOps, UnidentifiedImageError

from vitdsi.errors import ImageReadError, UsageError

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Pixels",
    "Source",
    "altered_copy",
    "decode",
    "find_images",
    "load_many",
    "load_square",
    "oriented_size",
    "read_bytes_hash",
    "to_square",
]

Pixels: TypeAlias = npt.NDArray[np.uint8]
Source: TypeAlias = "Path | str | bytes | Image.Image | Pixels"

# Pillow's own warning threshold: 0.36 GB for each decoding thread at Pillow's 4 bytes a pixel.
MAX_PIXELS = 178_956_970 // 2

# A closed list, because Pillow guesses by content: a file called .jpg could otherwise reach its EPS reader,
# which starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")
_NAMES = "apng avif bmp dib gif j2k jfif jp2 jpe jpeg jpg mpo pbm pgm png pnm ppm tif tiff webp"
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG_MAX_SIDE = 65_500


def find_images(root: Path) -> list[Path]:
    """All files below `root` whose suffix is in SUFFIXES, sorted by relative path.

    Hidden files and folders are ignored; each physical folder is visited once, so symlink loops end. A `root`
    that is itself a file is returned as it is, whatever its suffix.

    Raises:
        UsageError: `root` does not exist, cannot be read, or holds no images.
    """
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UsageError(f"{root}: no such file or folder; give a folder of images or one image")
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        # Links last: a folder reachable both ways keeps the path that is its own.
        folder = folders.popleft() if folders else links.popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot be read ({error.strerror}); make it readable or move it"
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry)
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(entry)
    if not found:
        known = " ".join(sorted(SUFFIXES))
        raise UsageError(f"{root}: no images in this folder; looked for files ending in {known}")
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def decode(source: Source, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One image as upright RGB: EXIF orientation applied, alpha on white, the first frame if animated.

    Args:
        source: a path, an encoded file's bytes, a Pillow image, or a uint8 array (H, W, 3) or (H, W).
        min_side: how small the shorter side may become. Photos in JPEG are then decoded at 1/2, 1/4 or 1/8
            (libjpeg's scaled DCT), several times faster; other formats keep their size.
        max_pixels: the most pixels to decode, counted after that reduction (before it, if progressive). Twice
            PIL.Image.MAX_IMAGE_PIXELS, Pillow's own bound, applies before it.

    Raises:
        ImageReadError: not an image, empty, truncated, too large, or unreadable.
        UsageError: an array of another shape or type.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    with _readable(source) as (image, name):
        try:
            if isinstance(source, Image.Image):
                _check_pixels(image, name, max_pixels)
                return _upright_rgb(image)
            if image.info.get("progressive"):  # all coefficients are held at full size, however small it gets
                _check_pixels(image, name, max_pixels)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, (min_side, min_side))
            _check_pixels(image, name, max_pixels)
            image.load()
            return _upright_rgb(image)
        except ImageReadError:
            raise
        except Exception as error:  # Pillow's readers raise nearly anything on broken data
            raise ImageReadError(name, _reason(error)) from error


def oriented_size(source: Path) -> tuple[int, int]:
    """(width, height) as displayed, from the header alone.

    Raises:
        ImageReadError: not an image, or unreadable.
    """
    with _readable(source) as (image, _):
        width, height = image.size
        # A TIFF swaps its size by itself, already when it is opened.
        swapped = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return (height, width) if swapped else (width, height)


def to_square(image: Image.Image, size: int) -> Pixels:
    """The centre square of an RGB image, bicubic: uint8 (size, size, 3).

    Same as scaling the shorter side to `size` and cropping, without the large intermediate of a long image.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def load_square(source: Source, size: int) -> Pixels:
    """`decode` and `to_square`: uint8 (size, size, 3)."""
    return to_square(decode(source, min_side=size), size)


def read_bytes_hash(path: Path) -> str:
    """BLAKE2b-128 of the file's content, as 32 hex digits.

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


def altered_copy(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    crop: tuple[float, float] = (0.6, 1.0),
    jitter: float = 0.2,
    jpeg_quality: int = 50,
) -> Image.Image:
    """What this project calls an altered copy, in training and in benchmarks: crop, flip, colours, JPEG.

    Args:
        image: RGB.
        rng: always advanced by seven draws, whatever the other arguments.
        crop: range of the kept area as a fraction; position uniform, aspect ratio kept.
        jitter: brightness, contrast and colour are each scaled by a factor uniform in 1 ± jitter.
        jpeg_quality: of the final re-encoding, 1 to 95.

    Raises:
        UsageError: a crop range outside (0, 1], or a jitter outside [0, 1].
    """
    if not 0 < crop[0] <= crop[1] <= 1 or not 0 <= jitter <= 1:
        raise UsageError(
            f"crop={crop}, jitter={jitter}: need 0 < crop[0] <= crop[1] <= 1 and 0 <= jitter <= 1"
        )
    area, x, y, flip, *colours = rng.random(7)
    scale = math.sqrt(crop[0] + area * (crop[1] - crop[0]))
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    left, top = round(x * (image.width - width)), round(y * (image.height - height))
    image = image.crop((left, top, left + width, top + height))
    if flip < 0.5:
        image = ImageOps.mirror(image)
    for enhance, draw in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), colours, strict=True
    ):
        image = enhance(image).enhance(1 + jitter * (2 * draw - 1))
    while max(image.size) > _JPEG_MAX_SIDE:
        image = image.reduce(2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=jpeg_quality)
    return Image.open(buffer, formats=("JPEG",)).convert("RGB")


def load_many(
    sources: Iterable[Source],
    size: int,
    *,
    workers: int,
    alter: Callable[[Image.Image, int], Image.Image] | None = None,
    prefetch: int = 128,
) -> Iterator[tuple[int, Pixels | ImageReadError]]:
    """Decode in threads, in order: (index, uint8 (size, size, 3)) or (index, the error) for each source.

    Args:
        workers: threads, at least 1.
        alter: called in a thread with the RGB image (at least 2 x `size` where the file has that much) and
            its index. Seed by the index: the order of the calls is not fixed.
        prefetch: how many images may be under way or waiting; bounds the memory.

    Raises:
        UsageError: `workers` or `prefetch` below 1 (at the first item).
    """
    if workers < 1 or prefetch < 1:
        raise UsageError(f"workers={workers}, prefetch={prefetch}: both must be at least 1")

    def load(index: int, source: Source) -> Pixels | ImageReadError:
        try:
            if alter is None:
                return load_square(source, size)
            return to_square(alter(decode(source, min_side=2 * size), index), size)
        except ImageReadError as error:
            return error

    waiting: deque[tuple[int, Future[Pixels | ImageReadError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for index, source in enumerate(sources):
            waiting.append((index, pool.submit(load, index, source)))
            if len(waiting) >= prefetch:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# Added and removed by hand: warnings.catch_warnings swaps the whole list, which is not thread-safe.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)
_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Ignore warnings raised inside Pillow (odd metadata, large sizes) while any thread is in here."""
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
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def _readable(source: Path | str | bytes | Image.Image) -> Iterator[tuple[Image.Image, str]]:
    """The opened, not yet decoded image and what to call it in messages."""
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
                # Not a regular file: opening a pipe would wait for ever.
                if Path(source).exists() and not Path(source).is_file():
                    raise ImageReadError(name, "not a file")
                stream = stack.enter_context(open(source, "rb"))
                empty = os.fstat(stream.fileno()).st_size == 0
            if empty:
                raise ImageReadError(name, "the file is empty")
            image = stack.enter_context(Image.open(cast("Any", stream), formats=_formats()))
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
    except Exception:  # broken metadata does not make the pixels unreadable
        return 1


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    # After load(): PNG may keep its EXIF behind the pixels, and a TIFF turns itself upright.
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
    rgb.info.clear()  # decoding the result again must not turn it again
    return rgb


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey to 8 bits; Pillow's own conversion clips at 255.

    The mode says what white is for 16 bits only; otherwise it is the first of 1 (floats), 255 and 65535
    that is not exceeded, or the maximum.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    top = float(values.max())
    choices = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
    white = 65535.0 if image.mode.startswith("I;16") else next((c for c in choices if top <= c), top)
    return Image.fromarray(np.clip(values * (255 / white), 0, 255).round().astype(np.uint8))
