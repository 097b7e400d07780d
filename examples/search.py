"""Searching: one photo, many photos, only some photos, and photos that are not in the collection.

    python examples/search.py [OUT]

The photos are crops of those inside the scikit-image wheel; see demo_collection.py.
"""

# CI runs this example.

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from demo_collection import build_collection
from PIL import Image

from vitdsi import ImageIndex, SearchOptions


def main(out: Path) -> None:
    """Build an index without the photos of the rocket, and ask it in four ways."""
    collection = build_collection(out / "photos")
    outside = out / "outside"
    shutil.rmtree(outside, ignore_errors=True)
    shutil.move(collection.images / "rocket", outside)
    shutil.rmtree(collection.altered / "rocket")

    ImageIndex().fit(collection.images).save(out / "photos.dsi")
    index = ImageIndex.load(out / "photos.dsi")  # the photos are not needed from here on

    # One photo, an altered copy of one that is indexed.
    query = collection.altered / "astronaut" / "000.jpg"
    print("astronaut/000.jpg, altered:")
    for result in index.search(query, k=3):
        print(f"  {result.rank}  {result.score:.3f}  {result.image_id}")

    # Many photos at once: one list of results for each.
    queries = sorted(collection.altered.rglob("*.jpg"))
    sources = [path.relative_to(collection.altered).as_posix() for path in queries]
    answers = index.search_many(queries, k=5)
    found = sum(results[0].image_id == source for results, source in zip(answers, sources, strict=True))
    print(f"{found} of {len(queries)} altered photos found their source at rank 1")
    if found < 0.8 * len(queries):
        sys.exit("too few of the altered photos found their source")

    # Only photos for which a condition holds: the best of those, not what is left over of a longer list.
    large = index.search(query, k=5, where="width > 200 and height > 200")
    print("among large photos:", ", ".join(result.image_id for result in large))
    for result in large:
        with Image.open(collection.images / result.image_id) as image:
            if min(image.size) <= 200:
                sys.exit(f"{result.image_id} is not large")

    # Results below the score that 95 % of the altered copies reached which were held out of training are left out.
    threshold = index.report_.calibration.min_score
    if threshold is None:
        sys.exit("the index has no held-out copies")
    options = SearchOptions(k=1, min_score=threshold)
    others = sorted(outside.glob("*.jpg"))
    rejected = sum(not results for results in index.search_with(others, options))
    kept = sum(bool(results) for results in index.search_with(queries, options))
    print(f"with a score of at least {threshold:.2f}:")
    print(f"  {kept} of {len(queries)} altered photos of the collection have a result")
    print(f"  {rejected} of {len(others)} photos from outside have none")
    if rejected < 0.2 * len(others) or kept < 0.7 * len(queries):
        sys.exit("the threshold does not separate the collection from other photos")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-output"))
