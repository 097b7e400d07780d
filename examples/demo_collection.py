"""A collection of real photos without a download: crops of the pictures inside the scikit-image wheel.

    python examples/demo_collection.py [OUT]

OUT/images has one folder for each picture; OUT/altered has altered copies of some crops, each under the name of
the crop it was made from. The same seed gives the same files.
"""

# CI runs this example.

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.files import replace_folder
from vitdsi.photos.alter import altered_copy

# Left out of the wheel's pictures: test patterns and text; the right one of the stereo pair; and textures (brick,
# grass, gravel) and the star field, whose crops look alike to people too: among them, exact nearest neighbours over
# the backbone's features found the source of 4 of 23 altered copies, among the others of 34 of 37.
PICTURES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
ALTERED = 60

_SIDES = (96, 288)  # pixels of a crop's side
_MAX_OVERLAP = 0.35  # intersection over union of two crops of one picture
_MIN_DETAIL = 20.0  # standard deviation of the grey values: no crop is empty sky
_EACH = 48  # crops of a picture, fewer where no more fit
_TRIES = 2000
_MADE_BY = "demo_collection.json"

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CollectionPaths:
    """The two folders of a collection."""

    images: Path
    altered: Path


def build_collection(out: Path, *, seed: int = 0) -> CollectionPaths:
    """Write the collection to `out`, replacing one that this function made there before.

    Raises:
        UsageError: scikit-image is not installed, or `out` holds something else.
    """
    if out.exists() and not (out / _MADE_BY).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: exists and is no demo collection; give an empty or a new folder")
    pictures = _pictures()
    with replace_folder(out) as folder:
        names = []
        for number, path in enumerate(pictures):
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            (folder / "images" / path.stem).mkdir(parents=True)
            for count, box in enumerate(choose_boxes(picture, np.random.default_rng([seed, number]))):
                names.append(f"{path.stem}/{count:03}.jpg")
                picture.crop(box).save(folder / "images" / names[-1], quality=92)
        rng = np.random.default_rng([seed, len(pictures)])
        for index in sorted(rng.choice(len(names), ALTERED, replace=False)):
            target = folder / "altered" / names[index]
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(folder / "images" / names[index]) as image:
                altered_copy(image, rng, crop=(0.7, 0.95)).save(target, quality=95)
        (folder / _MADE_BY).write_text(json.dumps({"seed": seed, "images": len(names), "altered": ALTERED}))
    return CollectionPaths(out / "images", out / "altered")


def choose_boxes(picture: Image.Image, rng: np.random.Generator) -> list[Box]:
    """Up to 48 boxes (left, top, right, bottom) of varied size and place that overlap little and show something."""
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    boxes: list[Box] = []
    low, high = _SIDES[0], min(_SIDES[1], *picture.size)
    for _ in range(_TRIES):
        width, height = rng.integers(low, high, size=2, endpoint=True).tolist()
        left = int(rng.integers(picture.width - width, endpoint=True))
        top = int(rng.integers(picture.height - height, endpoint=True))
        box = (left, top, left + width, top + height)
        if not 0.6 <= width / height <= 1.6 or any(overlap(box, other) > _MAX_OVERLAP for other in boxes):
            continue
        if grey[top : top + height, left : left + width].std() < _MIN_DETAIL:
            continue
        boxes.append(box)
        if len(boxes) == _EACH:
            break
    return boxes


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _pictures() -> list[Path]:
    if importlib.util.find_spec("skimage") is None:
        raise UsageError(
            "the photos are inside scikit-image, which is not installed; pip install scikit-image"
        )
    folder = Path(str(importlib.resources.files("skimage"))) / "data"
    return [folder / name for name in PICTURES]


if __name__ == "__main__":
    paths = build_collection(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-output/photos"))
    for made in (paths.images, paths.altered):
        print(f"{made}: {sum(1 for _ in made.rglob('*.jpg'))} photos")
