"""An id scheme of your own: number the photos in the order in which they were given.

    python examples/own_id_scheme.py [OUT]

A folder is read in the order of its paths, so photos of one sub-folder get ids that begin alike. The photos are crops
of those inside the scikit-image wheel; see demo_collection.py.
"""

# CI runs this example.

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from demo_collection import build_collection

from vitdsi import ImageIndex, load_config
from vitdsi.ids import SCHEMES, Growth, IdContext
from vitdsi.ids.free_numbers import FreeNumbers
from vitdsi.ids.number_scheme import Numbers, NumberScheme


class InOrderIds(NumberScheme):
    """Photo i gets the number i; photos that are added later get free numbers at random."""

    name = "in_order"

    def numbers(self, context: IdContext) -> Numbers:
        """Return 0 .. N-1."""
        return np.arange(context.count)

    def new_numbers(self, growth: Growth, free: FreeNumbers) -> Numbers:
        """Draw free numbers."""
        return free.draw(growth.count, np.random.default_rng(growth.seed))


def main(out: Path) -> None:
    """Register the scheme, index photos with it, search them, and add more."""
    SCHEMES[InOrderIds.name] = InOrderIds()  # from here on, it is a value of ids.scheme

    collection = build_collection(out / "photos")
    photos = sorted(collection.images.rglob("*.jpg"))
    config = load_config(overrides=["ids.scheme=in_order", "ids.base=20"])
    index = ImageIndex(config).fit(photos[:-5])
    print("the ids of the first photos:", index.trie_.codes[:3].tolist())

    # The scheme gives ids to new photos too.
    index.add(photos[-5:])
    print("the ids of the added photos:", index.trie_.codes[-5:].tolist())

    queries = sorted(collection.altered.rglob("*.jpg"))
    answers = index.search_many(queries, k=1)
    found = sum(
        Path(results[0].image_id) == collection.images / query.relative_to(collection.altered)
        for query, results in zip(queries, answers, strict=True)
    )
    accuracy = index.evaluate()["IA@1"].value
    print(f"indexing accuracy {accuracy:.3f}; {found} of {len(queries)} altered photos found their source")
    if accuracy < 0.95 or found < 0.7 * len(queries):
        sys.exit("the model did not learn these ids")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-output"))
