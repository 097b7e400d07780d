"""A collection that changes: photos are added and removed, and the other photos keep their ids.

    python examples/living_collection.py [OUT]

The photos are crops of those inside the scikit-image wheel; see demo_collection.py.
"""

# CI runs this example.

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from demo_collection import CollectionPaths, build_collection

from vitdsi import ImageIndex


def main(out: Path) -> None:
    """Index a folder, let it grow, remove photos from the index, and compact it."""
    collection = build_collection(out / "photos")
    later = out / "later"
    shutil.rmtree(later, ignore_errors=True)
    shutil.move(collection.images / "rocket", later / "rocket")

    index = ImageIndex().fit(collection.images)
    index.save(out / "living.dsi")
    print(
        f"indexed {len(index.image_ids_)} photos; {found(index, collection)} altered copies find their source"
    )
    ids_before = {image_id: number for number, image_id in enumerate(index.image_ids_)}

    # The folder has grown: it is given as a whole, and what the index holds already is left out.
    shutil.move(later / "rocket", collection.images / "rocket")
    result = index.add(collection.images)
    index.save(out / "living.dsi")  # writes what changed, as one transaction
    print(f"added {len(result.image_ids)} photos, {result.unchanged} were already there")
    print(f"now {found(index, collection)} altered copies find their source")
    moved = [name for name, number in ids_before.items() if index.image_ids_[number] != name]
    if moved or not all(image_id.startswith("rocket/") for image_id in result.image_ids):
        sys.exit("an existing id changed, or other photos than those of the rocket were added")

    # Removing is an edit of the trie of ids: it is exact, and takes no training.
    gone = [image_id for image_id in index.image_ids_ if image_id.startswith("astronaut/")]
    index.remove(gone)
    answers = index.search_many(sorted((collection.altered / "astronaut").glob("*.jpg")), k=10)
    if any(result.image_id in gone for results in answers for result in results):
        sys.exit("a removed photo was found")
    print(f"removed {len(gone)} photos; searches for them find others, at low scores:")
    print("  " + ", ".join(f"{results[0].score:.2f}" for results in answers))

    # What the removed photos left in the weights is dropped.
    before = len(index.image_ids_)
    index.compact(retrain=False)
    index.save(out / "living.dsi")
    print(f"compacted from {before} to {len(index.image_ids_)} ids")

    again = ImageIndex.load(out / "living.dsi")
    for change in again.info()["changes"]:
        print(f"  {change['verb']:<8} {change['images']:>4} photos")
    if len(again.image_ids_) != before - len(gone):
        sys.exit("the saved index holds other photos")


def found(index: ImageIndex, collection: CollectionPaths) -> str:
    """How many altered copies have their source as the first result."""
    queries = sorted(collection.altered.rglob("*.jpg"))
    answers = index.search_many(queries, k=1)
    right = sum(
        results[0].image_id == path.relative_to(collection.altered).as_posix()
        for path, results in zip(queries, answers, strict=True)
    )
    return f"{right} of {len(queries)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-output"))
