"""The main job on real photos: index a folder, search it with altered copies that were never trained on.

    python examples/demo.py [OUT]

The photos are crops of those inside the scikit-image wheel. Pictures of textures and the star field are left out, since
exact nearest neighbours find only 4 of 23 altered copies among their crops; see demo_collection.py. Writes OUT/demo.dsi
and the contact sheet OUT/results.html (OUT is demo-output by default).
"""

# CI runs this example.
from __future__ import annotations

import sys
from pathlib import Path

from demo_collection import build_collection

from vitdsi import ImageIndex
from vitdsi.cli.contact_sheet import Result, Row, write_contact_sheet
from vitdsi.neighbours import nearest
from vitdsi.progress import Progress


def show(progress: Progress) -> None:
    """One line now and then."""
    if progress.total and (progress.done % 50 == 0 or progress.done == progress.total):
        known = progress.indexing_accuracy
        accuracy = "" if known is None else f"  indexing accuracy {known:.3f}"
        print(f"\r{progress.phase:9} {progress.done}/{progress.total}{accuracy}   ", end="", file=sys.stderr)


def main(out: Path) -> None:
    """Build the collection, index it, search it, check the answers."""
    collection = build_collection(out / "photos")
    index = ImageIndex().fit(collection.images, on_progress=show)
    print(file=sys.stderr)
    index.save(out / "demo.dsi")
    index = ImageIndex.load(out / "demo.dsi")

    queries = sorted(path for path in collection.altered.rglob("*") if path.is_file())
    answers = index.search_many(queries, k=5)
    rows, found = [], 0
    for query, results in zip(queries, answers, strict=True):
        source = query.relative_to(collection.altered).as_posix()
        found += results[0].image_id == source
        shown = [
            Result(
                r.image_id, collection.images / r.image_id, r.score, True if r.image_id == source else None
            )
            for r in results
        ]
        rows.append(Row(query, shown))
    for query, results in list(zip(queries, answers, strict=True))[:5]:
        print(query.relative_to(collection.altered).as_posix())
        for r in results[:3]:
            print(f"  {r.rank}  {r.score:.3f}  {r.image_id}")
    inputs = index.reader.load(queries).features
    assert index.features_ is not None
    nearest_ids = nearest(inputs, index.features_, 1)[0][:, 0].tolist()
    exact = sum(
        index.image_ids_[i] == query.relative_to(collection.altered).as_posix()
        for i, query in zip(nearest_ids, queries, strict=True)
    )
    write_contact_sheet(out / "results.html", rows, title="vitdsi demo: altered photos and what was found")
    print(f"indexed {len(index.image_ids_)} photos in {index.report_.seconds:.0f} s")
    print(
        f"{found} of {len(queries)} altered photos found their source at rank 1 (chance: 1 in {len(index.image_ids_)})"
    )
    print(f"exact nearest neighbours on the same features: {exact} of {len(queries)}")
    print(f"look at {out / 'results.html'}")
    if found < 0.9 * exact:
        sys.exit("fewer than nine in ten of what exact search finds: something is wrong")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-output"))
