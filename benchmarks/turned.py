"""Are photos found that were turned by 90, 180 or 270 degrees?

    python benchmarks/turned.py IMAGENETTE [key=value ...]      as duplicates, and by searching with them

IMAGENETTE is a folder with val/<class>/. 500 of its photos are turned and compressed as JPEG 75. Writes one JSON object
to stdout. Seed 0 is run, unless seed=S is given.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from shared import first_of_each_class, fit

from vitdsi.config import load_config
from vitdsi.photos.decode import decode
from vitdsi.photos.find import ImageRecord
from vitdsi.search.options import SearchOptions

_COPIES = 500
_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def turned(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Find the pairs of turned copies with their originals, and search for the copies among the photos alone.

    Near-identical photos of the data set itself count as mistakes of precision.
    """
    config = load_config(overrides=overrides)
    records = first_of_each_class(root / "val", 1000)
    rng = np.random.default_rng(config.seed)
    originals, turns = rng.choice(len(records), _COPIES, replace=False), rng.integers(0, 3, _COPIES)
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for n, (i, turn) in enumerate(zip(originals, turns, strict=True)):
            path = Path(folder) / f"{n}.jpg"
            decode(records[i].path).transpose(_TURNS[turn]).save(path, quality=75)
            copies.append(ImageRecord(path.name, path, records[i].label))
        index = fit(config, records + copies)
        run: dict[str, Any] = {"photos": len(records), "copies": _COPIES}
        for name, any_rotation in (("as it is", False), ("in any rotation", True)):
            options = SearchOptions(1, allow=range(len(records)), any_rotation=any_rotation)
            found = index.search_with([copy.path for copy in copies], options)
            first = np.array([results[0].id for results in found])
            run[f"original first, {name}"] = float((first == originals).mean())
    started = time.perf_counter()
    groups = index.near_identical()
    run["seconds for duplicates"] = time.perf_counter() - started
    number = {image_id: i for i, image_id in enumerate(index.image_ids_)}
    truth = {(int(i), len(records) + n) for n, i in enumerate(originals)}
    pairs = {(number[a], number[b]) for group in groups for n, a in enumerate(group) for b in group[n + 1 :]}
    run["precision"] = len(pairs & truth) / max(len(pairs), 1)
    run["recall"] = len(pairs & truth) / len(truth)
    return run


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(json.dumps(turned(Path(sys.argv[1]), sys.argv[2:]), indent=1))
