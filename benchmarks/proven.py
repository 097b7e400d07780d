"""How many images have to be verified, and from how many inliers should one come first?

    python benchmarks/proven.py INDEX.dsi --backgrounds FOLDER [--queries 400] > results/instances/proven.json

INDEX.dsi is an index that `instances.py` made, whose image_ids are paths. Synthetic photos of `--queries` of its
pictures (hard views of 448 pixels on photos of --backgrounds; see `photographed.py`) are searched in five parts. The
images that look most like each photo are verified. One that has the most inliers of the first 50 or 100, and at least
so many, comes first; otherwise the first result does. Printed are, for each of these bounds, how often the right
picture is first (R@1), and how often a wrong one is because of its inliers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from locked import commit_of
from photographed import SEED, photograph

from vitdsi import ImageIndex, SearchOptions
from vitdsi.photos.find import find_images
from vitdsi.photos.keypoints import detect_in_query
from vitdsi.search.options import CANDIDATES
from vitdsi.search.queries import photo_queries
from vitdsi.search.searcher import Searcher
from vitdsi.search.verify import (
    VERIFIED_AT_ONCE,
    chosen_for_proof,
    options_for_candidates,
    prove,
)

_BOUNDS = (6, 7, 8, 9, 10, 12, 14)


def measure(path: Path, backgrounds: list[Path], count: int) -> dict[str, Any]:
    """Search and verify; count what comes first under each bound."""
    index = ImageIndex.load(path, device="cpu")
    searcher, keypoints = Searcher(index.state_), index.state_.keypoints
    assert keypoints is not None
    wanted = np.random.default_rng(SEED).choice(len(index.image_ids_), count, replace=False).tolist()
    options = options_for_candidates(SearchOptions())
    first: list[bool] = []
    likely: list[tuple[list[bool], list[int]]] = []
    for i, own in enumerate(wanted):
        photo = photograph(i, Path(index.image_ids_[own]), backgrounds)
        features, regions = photo_queries(index.state_, index.reader, [photo], options)
        (found,) = searcher.search(features, options, regions, to_verify=True)
        chosen = [found[place].id for place in chosen_for_proof(found)]
        points = detect_in_query(photo)
        first.append(found[0].id == own)
        likely.append(
            ([each == own for each in chosen], [proof.inliers for proof in prove(points, keypoints, chosen)])
        )
        print(i, first[-1], max(likely[-1][1]), file=sys.stderr, flush=True)
    return {
        "images": len(index.image_ids_),
        "queries": count,
        "R@1 without verification": float(np.mean(first)),
        "verified": {str(most): with_bounds(first, likely, most) for most in (VERIFIED_AT_ONCE, CANDIDATES)},
    }


def with_bounds(first: list[bool], likely: list[tuple[list[bool], list[int]]], most: int) -> dict[str, Any]:
    """What comes first if the `most` images that look most alike are verified."""
    best = [(right[at], inliers[at]) for right, inliers in likely for at in [int(np.argmax(inliers[:most]))]]
    return {
        "among them": float(np.mean([any(right[:most]) for right, _ in likely])),
        "from inliers": {
            str(bound): {
                "R@1": float(
                    np.mean(
                        [
                            right if inliers >= bound else was_first
                            for (right, inliers), was_first in zip(best, first, strict=True)
                        ]
                    )
                ),
                "wrong by inliers": sum(inliers >= bound and not right for right, inliers in best),
            }
            for bound in _BOUNDS
        },
    }


def main() -> None:
    """Measure, and print everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("--backgrounds", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=400)
    given = parser.parse_args()
    commit, _ = commit_of(Path(__file__).parents[1], allow_dirty=True)
    found = measure(given.index, find_images(given.backgrounds)[::7], given.queries)
    print(json.dumps({"commit": commit, **found}, indent=1))


if __name__ == "__main__":
    main()
