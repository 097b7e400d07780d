"""How many inliers make a result certain: hard views of indexed photos against photos of other things.

    python benchmarks/certain.py IMAGENETTE COCO [-o DIR] [--count N]

Indexes the photos of COCO. Searches with N hard views of them, in front of photos of IMAGENETTE/train, and with these N
photos themselves. Each view is verified against its own photo and the 99 that look most like the view, each other photo
against the 100 that look most like it. Writes certain.json to DIR (results/instances): how many of the N have 0, 1, ...
inliers with the right image, with the best wrong one, and with the best image of a photo from outside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from instances import Collection, from_outside, inliers, outsiders
from shared import pooled_reader

from vitdsi.files import write_atomically
from vitdsi.photos.decode import decode, to_square
from vitdsi.photos.find import find_images
from vitdsi.photos.hard_views import hard_view
from vitdsi.search.options import CANDIDATES
from vitdsi.search.verify import CERTAIN

_VIEW = 480  # side of a hard view in pixels
_MOST = 40  # inliers; more are counted as these


def measure(imagenette: Path, coco: Path, count: int) -> dict[str, Any]:
    """Count inliers."""
    reader = pooled_reader()
    given = Collection.read(find_images(coco), reader)
    right, wrong = [], []
    for i, path in enumerate(outsiders(imagenette, count)):
        own = i % len(given.paths)
        picture, background = (np.asarray(decode(source)) for source in (given.paths[own], path))
        view = hard_view(picture, background, _VIEW, np.random.default_rng([7, i]))
        square = torch.from_numpy(to_square(decode(view), reader.image_size).copy()).permute(2, 0, 1)
        near = given.nearest(reader.features(square[None]).numpy()).tolist()
        others = [j for j in near if j != own][: CANDIDATES - 1]
        first, *rest = inliers(view, given, [own, *others])
        right.append(first)
        wrong.append(max(rest))
    outside = [max(found) for found in from_outside(given, imagenette, count, reader)]
    counts = {"right image": right, "best wrong image": wrong, "best of a photo from outside": outside}
    return {
        "queries": count,
        "images": len(given.paths),
        "certain from": CERTAIN,
        "inliers": {
            name: np.bincount(np.minimum(found, _MOST), minlength=_MOST + 1).tolist()
            for name, found in counts.items()
        },
    }


def main() -> None:
    """Count inliers, print how many queries have at least so many, and write the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("imagenette", type=Path)
    parser.add_argument("coco", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/instances"), metavar="DIR")
    parser.add_argument("--count", type=int, default=1_000)
    given = parser.parse_args()
    run = measure(given.imagenette, given.coco, given.count)
    print(f"inliers: {', '.join(run['inliers'])}")
    for least in range(4, 21):
        print(least, *(sum(found[least:]) for found in run["inliers"].values()))
    given.output.mkdir(parents=True, exist_ok=True)
    with write_atomically(given.output / "certain.json") as stream:
        stream.write((json.dumps(run, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
