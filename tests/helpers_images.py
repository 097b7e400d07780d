"""Photos made in code; shared by the tests of images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """Smooth colours, so that JPEG and scaling change little."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


_INVERSE_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored_with(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels that a file with this EXIF orientation has to store, so that the image is shown upright."""
    return upright.transpose(_INVERSE_ORIENTATIONS[orientation]) if orientation > 1 else upright


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a: Image.Image | np.ndarray[Any, Any], b: Image.Image | np.ndarray[Any, Any]) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def textured(width: int = 240, height: int = 180, seed: int = 0) -> Image.Image:
    """Overlapping rectangles of many sizes and colours, with many keypoints, which are different for each seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), "white")
    for _ in range(150):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        right, bottom = (int(side) for side in rng.integers(3, 40, 2))
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
        image.paste(colour, (left, top, left + right, top + bottom))
    return image


def photographed(image: Image.Image, seed: int = 0) -> Image.Image:
    """The image in perspective on another one, as half of a photo of 400 x 300 pixels: its corners are `CORNERS`."""
    ground = textured(400, 300, 1000 + seed)
    left, top, right, bottom = 0, 0, image.width, image.height
    rows = []
    for (x, y), (u, v) in zip(
        CORNERS, [(left, top), (right, top), (right, bottom), (left, bottom)], strict=True
    ):
        x, y = 400 * x, 300 * y
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, u], [0, 0, 0, x, y, 1, -v * x, -v * y, v]]
    system = np.array(rows)
    inverse = np.linalg.solve(system[:, :8], system[:, 8])
    warped = image.transform(
        (400, 300), Image.Transform.PERSPECTIVE, inverse.tolist(), Image.Resampling.BICUBIC
    )
    mask = Image.new("L", image.size, 255).transform(
        (400, 300), Image.Transform.PERSPECTIVE, inverse.tolist()
    )
    ground.paste(warped, mask=mask)
    return ground


CORNERS = ((0.2, 0.15), (0.75, 0.2), (0.8, 0.85), (0.15, 0.8))
"""Those of the image in the photo that `photographed` makes, as shares of its width and height."""
