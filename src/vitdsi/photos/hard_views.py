"""Hard views: how an indexed picture may look when somebody photographs it.

A hard view puts the picture somewhere onto another photo, in perspective, larger or smaller, turned and with a border
or a caption; then come uneven light, shadow, glare, moire, blur, noise and JPEG compression. All of the geometry is one
warp at the size that the backbone reads, so that a view costs a small part of what its features cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.photos.decode import Pixels

__all__ = ["HardViews", "hard_view"]

_Floats = npt.NDArray[np.float32]

_SCALES = (0.45, 1.15)  # of the longer side of the picture, as a share of the side of the view
_OVERSAMPLED = 1.5  # pixels of the picture for each pixel of the view, from which it is warped


@dataclass(frozen=True)
class HardViews:
    """How strong each effect of a hard view is: 0 leaves it out, 1 is the default.

    Attributes:
        perspective: how far the corners of the picture move: up to 12 % of its sides, and its aspect ratio by 10 %.
        background: probability that another photo surrounds the picture is 0.75 times this; otherwise a plain colour
            does.
        scale: the longer side of the picture varies between 0.45 and 1.15 of the side of the view.
        rotation: standard deviation of 8 degrees; one view in ten is turned by up to 40 degrees.
        border: probability of a frame or margin of up to an eighth of the picture is 0.35 times this.
        caption: probability of a line of text in the picture is 0.1 times this.
        light: brightness, contrast, white balance and saturation, and a gradient over the view.
        shadow: probability of a shadow with a straight edge is 0.3 times this.
        glare: probability of one or two bright spots is 0.3 times this.
        moire: probability of a fine grating is 0.1 times this.
        blur: defocus or motion blur, with a standard deviation of up to 2 pixels at a side of 224.
        noise: Gaussian noise with a standard deviation of up to 12 grey levels.
        jpeg: probability of compression with a quality from 20 to 90 is 0.8 times this.
    """

    perspective: float = 1.0
    background: float = 1.0
    scale: float = 1.0
    rotation: float = 1.0
    border: float = 1.0
    caption: float = 1.0
    light: float = 1.0
    shadow: float = 1.0
    glare: float = 1.0
    moire: float = 1.0
    blur: float = 1.0
    noise: float = 1.0
    jpeg: float = 1.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            strength = getattr(self, entry.name)
            if not 0 <= strength <= 2:
                raise UsageError(f"{entry.name}={strength}: the strength of an effect is between 0 and 2")


def hard_view(
    picture: Pixels,
    background: Pixels | None,
    size: int,
    rng: np.random.Generator,
    strengths: HardViews | None = None,
) -> Pixels:
    """Make one hard view of a picture.

    Args:
        picture: uint8 RGB (H, W, 3); it is not changed.
        background: uint8 RGB (h, w, 3) of another photo, or None for a plain colour behind the picture.
        size: side of the view in pixels.
        rng: the source of randomness. Equal states give equal views.
        strengths: how strong each effect is; None is the default of `HardViews`.

    Returns:
        uint8 RGB (size, size, 3).
    """
    strengths = strengths or HardViews()
    if rng.random() < 0.35 * strengths.border:
        picture = _with_border(picture, rng)
    if rng.random() < 0.1 * strengths.caption:
        picture = _with_caption(picture, rng)
    view = _placed(picture, _behind(background, size, rng, strengths), rng, strengths)
    view = _lit(view, rng, strengths)
    view = _blurred(view, rng, strengths)
    if strengths.noise:
        deviation = np.float32(12 * strengths.noise * rng.random() ** 2)
        view += deviation * rng.standard_normal((size, size, 1), dtype=np.float32)
    pixels = np.clip(view, 0, 255).astype(np.uint8)
    return _compressed(pixels, rng) if rng.random() < 0.8 * strengths.jpeg else pixels


def _with_border(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Put one or two borders of a random colour around the picture: a frame, a margin or both."""
    for _ in range(1 if rng.random() < 0.6 else 2):
        width = max(1, round(min(picture.shape[:2]) * rng.uniform(0.02, 0.125)))
        colour = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.full(3, rng.integers(0, 256))
        picture = cv2.copyMakeBorder(
            picture, width, width, width, width, cv2.BORDER_CONSTANT, value=colour.tolist()
        )
    return picture


def _with_caption(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Write a line of random letters at the top or at the bottom of the picture."""
    picture = picture.copy()
    height, width = picture.shape[:2]
    scale = max(0.3, width / 300 * rng.uniform(0.6, 1.4))
    text = "".join(chr(letter) for letter in rng.integers(97, 123, 24))
    line = int(0.1 * height if rng.random() < 0.3 else height * rng.uniform(0.75, 0.97))
    thick = max(1, round(2 * scale))
    if rng.random() < 0.5:
        top = max(0, line - int(25 * scale))
        picture[top : line + int(8 * scale)] = rng.integers(0, 256)
    colour = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    cv2.putText(picture, text, (int(0.03 * width), line), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick)
    return picture


def _behind(background: Pixels | None, size: int, rng: np.random.Generator, strengths: HardViews) -> Pixels:
    """Return what surrounds the picture (size, size, 3): a crop of another photo, or a plain colour."""
    photo = rng.random() < 0.75 * min(1.0, strengths.background)
    if background is None or not photo:
        grey = rng.integers(20, 250)
        colour = np.clip(grey + rng.normal(0, 15, 3), 0, 255)
        return np.broadcast_to(colour.astype(np.uint8), (size, size, 3)).copy()
    height, width = background.shape[:2]
    side = max(1, int(min(height, width) * rng.uniform(0.5, 1)))
    top, left = int(rng.random() * (height - side)), int(rng.random() * (width - side))
    crop = background[top : top + side, left : left + side]
    resized: Pixels = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    return resized


def _placed(picture: Pixels, behind: Pixels, rng: np.random.Generator, strengths: HardViews) -> _Floats:
    """Warp the picture onto what is behind it (S, S, 3)."""
    size = len(behind)
    low, high = (1 + strengths.scale * (bound - 1) for bound in _SCALES)
    longer = size * rng.uniform(low, high)
    height, width = picture.shape[:2]
    shrink = min(1.0, _OVERSAMPLED * longer / max(height, width))
    if shrink < 1:
        reduced = max(1, round(width * shrink)), max(1, round(height * shrink))
        picture = cv2.resize(picture, reduced, interpolation=cv2.INTER_AREA)
        height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    centred = (corners - (width / 2, height / 2)) * (longer / max(height, width))
    centred *= np.exp(0.1 * strengths.perspective * rng.uniform(-1, 1, 2))
    centred *= 1 + 0.12 * strengths.perspective * rng.uniform(-1, 1, (4, 2))
    turn = rng.normal(0, 8) if rng.random() < 0.9 else rng.uniform(-40, 40)
    angle = math.radians(turn) * strengths.rotation
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # The centre stays where most of the picture is seen.
    room = 0.5 * max(0.15 * strengths.scale, 1 - longer / size)
    centre = size * (0.5 + room * rng.uniform(-1, 1, 2))
    target = (centred @ rotation.T + centre).astype(np.float32)
    warp = cv2.getPerspectiveTransform(corners, target)
    placed = behind.copy()
    cv2.warpPerspective(
        picture,
        warp,
        (size, size),
        dst=placed,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    return placed.astype(np.float32)


def _lit(view: _Floats, rng: np.random.Generator, strengths: HardViews) -> _Floats:
    """Change the light: colours as a whole, a gradient, a shadow, bright spots and a grating."""
    size = len(view)
    along = np.linspace(-1, 1, size, dtype=np.float32)
    gain = np.ones((size, size), dtype=np.float32)
    if strengths.light:
        contrast, saturation = 1 + 0.3 * strengths.light * rng.uniform(-1, 1, 2)
        balance, brightness = rng.uniform(-1, 1, 3), rng.uniform(-1, 0.7)
        scale = np.exp(strengths.light * (0.4 * brightness + 0.12 * balance))
        middle = (1 - contrast) * np.mean(cv2.mean(view)[:3])
        # Saturation, contrast and colour balance are one affine map of the colours.
        colours = contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
        view = cv2.transform(view, scale[:, None] * np.c_[colours, np.full(3, middle)])
        slopes = (0.25 * strengths.light * rng.uniform(-1, 1, 2)).astype(np.float32)
        gain += slopes[0] * along + slopes[1] * along[:, None]
    if rng.random() < 0.3 * strengths.shadow:
        edge = _distance_to_line(along, rng) * np.float32(rng.uniform(3, 30))
        gain *= 1 - np.float32(rng.uniform(0.2, 0.6)) / (1 + np.exp(np.clip(edge, -30, 30)))
    if rng.random() < 0.1 * strengths.moire:
        period = rng.uniform(2.2, 8) / size * 2
        phase = _distance_to_line(along, rng) * np.float32(2 * math.pi / period)
        gain *= 1 + np.float32(rng.uniform(0.05, 0.2)) * np.sin(phase)
    view = np.asarray(view * gain[..., None], dtype=np.float32)
    if rng.random() < 0.3 * strengths.glare:
        for _ in range(rng.integers(1, 3)):
            x, y = rng.uniform(-1, 1, 2)
            width, height = np.exp(rng.uniform(math.log(0.05), math.log(0.5), 2))
            spot = (
                np.exp(-(((along - x) / width) ** 2))[None] * np.exp(-(((along - y) / height) ** 2))[:, None]
            )
            view += np.float32(rng.uniform(60, 250)) * spot[..., None].astype(np.float32)
    return view


def _distance_to_line(along: _Floats, rng: np.random.Generator) -> _Floats:
    """Return the signed distance (S, S) of each pixel to a random line, in half sides of the view."""
    angle, offset = rng.uniform(0, 2 * math.pi), rng.uniform(-0.6, 0.6)
    distance: _Floats = np.float32(math.cos(angle)) * along + np.float32(math.sin(angle)) * along[:, None]
    return distance - np.float32(offset)


def _blurred(view: _Floats, rng: np.random.Generator, strengths: HardViews) -> _Floats:
    """Blur the view: defocus, motion along a line, or a lower resolution."""
    amount, kind = rng.random() ** 1.5, rng.random()
    if not strengths.blur:
        return view
    size = len(view)
    deviation = 2 * size / 224 * strengths.blur * amount
    if kind < 0.2:
        length = max(1, round(4 * deviation))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), dtype=np.float32)
        angle = rng.uniform(0, math.pi)
        end = (round(length * math.cos(angle)), round(length * math.sin(angle)))
        cv2.line(kernel, (length - end[0], length - end[1]), (length + end[0], length + end[1]), (1.0,))
        return np.asarray(cv2.filter2D(view, -1, kernel / kernel.sum()), dtype=np.float32)
    if kind < 0.4:
        smaller = max(8, round(size / (1 + deviation)))
        small = cv2.resize(view, (smaller, smaller), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    if deviation < 0.2:
        return view
    return np.asarray(cv2.GaussianBlur(view, (0, 0), deviation), dtype=np.float32)


def _compressed(view: Pixels, rng: np.random.Generator) -> Pixels:
    """Compress the view as JPEG and decode it."""
    quality = int(rng.integers(20, 91))
    _, data = cv2.imencode(".jpg", view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
