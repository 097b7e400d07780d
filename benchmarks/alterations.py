"""Alterations of photos for benchmarks: one that training draws itself, and six that it does not.

The six are rotation, blur, caption or watermark, screenshot, heavy JPEG, and half of a collage. Training draws none of
them, but hard views (`vitdsi.photos.hard_views`) have effects of the same kinds, apart from the collage, which other
code makes and in other strengths. So the six are new draws of mostly known kinds, not kinds that training cannot know.

Each alteration is a function of an RGB image and a generator that returns an RGB image. `generator_for` seeds by the
name of the alteration and the content of the photo, in a namespace of its own, so that the draws of a benchmark never
equal those of training, which seeds by numbers alone, and do not depend on which other photos are altered.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from vitdsi.photos.alter import altered_copy
from vitdsi.photos.decode import decode

Alteration = Callable[[Image.Image, np.random.Generator], Image.Image]

VERSION = "altered1"  # names the stored features of altered photos; another one after any change of this file
_NAMESPACE = "vitdsi/benchmarks/alterations"
_WORDS = (
    "holiday",
    "summer",
    "2019",
    "photo by",
    "at home",
    "the best",
    "copyright",
    "friends",
    "look at this",
    "!!!",
)
_MOST_DEGREES = 30.0
_BLUR = (0.008, 0.025)  # standard deviation over the shorter side
_JPEG_QUALITY = (4, 12)
_MARGINS = (
    (0.02, 0.25),
    (0.02, 0.25),
    (0.15, 0.3),
    (0.2, 0.4),
)  # left, right, above and below, over the shorter side


def generator_for(alteration: str, content: str) -> np.random.Generator:
    """Return the generator for an alteration of the photo whose content hash is `content`."""
    digest = hashlib.blake2b(f"{_NAMESPACE}/{alteration}/{content}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def rotated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rotate by up to 30 degrees to either side; the corners become black."""
    degrees = rng.uniform(-_MOST_DEGREES, _MOST_DEGREES)
    return image.rotate(degrees, resample=Image.Resampling.BICUBIC)


def blurred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur by a Gaussian whose deviation is .8 to 2.5 % of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(*_BLUR) * min(image.size)))


def captioned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write a caption on a bar along an edge, or a translucent watermark across the photo."""
    text = " ".join(_WORDS[i] for i in rng.choice(len(_WORDS), 3, replace=False))
    side = min(image.size)
    if rng.random() < 0.5:
        return _with_caption(image, text, round(side * rng.uniform(0.12, 0.2)), top=rng.random() < 0.5)
    font = _font(side * rng.uniform(0.1, 0.16))
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    step = max(1, round(side / rng.uniform(2, 4)))
    for y in range(0, image.height, step):
        draw.text((rng.uniform(-0.2, 0.2) * image.width, y), text, fill=(255, 255, 255, 150), font=font)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def screenshot(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Show the photo on a page, with margins, a bar above, and lines of text below."""
    dark = rng.random() < 0.5
    page, ink = ((24, 24, 28), (200, 200, 200)) if dark else ((250, 250, 250), (60, 60, 60))
    side = min(image.size)
    left, right, top, bottom = (round(side * rng.uniform(low, high)) for low, high in _MARGINS)
    canvas = Image.new("RGB", (image.width + left + right, image.height + top + bottom), page)
    canvas.paste(image, (left, top))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, canvas.width, top // 2), fill=(66, 103, 178))
    size = max(4, bottom // 4)
    for line in range(3):
        text = " ".join(_WORDS[i] for i in rng.choice(len(_WORDS), 4, replace=False))
        draw.text((left, top + image.height + line * size * 1.2), text, fill=ink, font=_font(size))
    return canvas


def compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Compress heavily, as JPEG of quality 4 to 12."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(_JPEG_QUALITY[0], _JPEG_QUALITY[1] + 1)))
    return Image.open(buffer, formats=("JPEG",)).convert("RGB")


def collage_with(others: Sequence[Path]) -> Alteration:
    """Return the alteration that puts the photo on one half of a frame and one of `others` on the other half."""

    def collage(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Fill a half of the frame with the middle of the photo, and the other half with that of another."""
        width, height = image.size
        beside = rng.random() < 0.5
        half = (max(1, width // 2), height) if beside else (width, max(1, height // 2))
        other = decode(others[int(rng.integers(len(others)))], min_side=min(image.size))
        first, second = (image, other) if rng.random() < 0.5 else (other, image)
        frame = Image.new("RGB", (2 * half[0], height) if beside else (width, 2 * half[1]))
        frame.paste(ImageOps.fit(first, half), (0, 0))
        frame.paste(ImageOps.fit(second, half), (half[0], 0) if beside else (0, half[1]))
        return frame

    return collage


KNOWN = "as in training"
UNSEEN = ("rotation", "blur", "caption", "screenshot", "JPEG", "collage")


def alterations(others: Sequence[Path]) -> dict[str, Alteration]:
    """Return all alterations by name, the known one first. `others` are the photos that collages are made with."""
    unseen = (rotated, blurred, captioned, screenshot, compressed, collage_with(others))
    return {KNOWN: altered_copy, **dict(zip(UNSEEN, unseen, strict=True))}


def _with_caption(image: Image.Image, text: str, height: int, *, top: bool) -> Image.Image:
    copy = image.copy()
    edge = 0 if top else image.height - height
    draw = ImageDraw.Draw(copy)
    draw.rectangle((0, edge, image.width, edge + height), fill=(0, 0, 0))
    draw.text((height // 3, edge + height // 6), text, fill=(255, 255, 255), font=_font(height * 0.55))
    return copy


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(4, round(size)))
