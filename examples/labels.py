"""Photos with classes: what an index learns from them, measured on photos that it has not seen.

    python examples/labels.py [OUT]

The photos are crops of those inside the scikit-image wheel, one class for each picture; see demo_collection.py.
"""

# CI runs this example.

from __future__ import annotations

import sys
from pathlib import Path

from demo_collection import build_collection

from vitdsi import ImageIndex, IndexConfig


def main(out: Path) -> None:
    """Index half of the photos with and without their classes, and ask for the rest of each class."""
    photos = sorted(build_collection(out / "photos").images.rglob("*.jpg"))
    indexed, training, held_out = photos[::2], photos[1::4], photos[3::4]

    def classes(paths: list[Path]) -> list[str]:
        return [path.parent.name for path in paths]

    # The photos in `training` are not indexed, so they cannot be found, but retrieval learns from them.
    with_classes = ImageIndex(IndexConfig(labels="folder")).fit(
        indexed, classes(indexed), queries=training, query_labels=classes(training)
    )
    without = ImageIndex().fit(indexed, classes(indexed))

    measured = {
        name: index.evaluate(held_out, classes(held_out))
        for name, index in (("with classes", with_classes), ("without", without))
    }
    for name, metrics in measured.items():
        mean = metrics["MAP"]
        low, high = mean.ci95
        print(
            f"{name:<13} MAP {mean.value:.3f} ({low:.3f} to {high:.3f}; chance {mean.chance:.3f}),"
            f" indexing accuracy {metrics['IA@1'].value:.3f}"
        )
    if measured["with classes"]["MAP"].value <= measured["without"]["MAP"].value:
        sys.exit("the classes taught the index nothing")

    with_classes.save(out / "classes.dsi")
    query = held_out[0]
    print(f"results for {query.parent.name}/{query.name}:")
    for result in with_classes.search(query, k=3):
        print(f"  {result.rank}  {result.score:.3f}  {'/'.join(Path(result.image_id).parts[-2:])}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-output"))
