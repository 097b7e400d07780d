"""How well does an index of 5,000 images stand additions, removals and filters? How well does it find duplicates?

    python benchmarks/living.py changes IMAGENETTE [key=value ...]      add 500 at once and 100 ten times, with and
                                                                        without stored features; remove 1,000; filter
    python benchmarks/living.py duplicates IMAGENETTE [key=value ...]   find 490 altered copies among 5,000 photos, and
                                                                        140 among 500, at several thresholds

IMAGENETTE is a folder with train/<class>/ and val/<class>/. Each job writes one JSON object to stdout. All three seeds
are run, and `changes` with and without labels, unless seed=S, labels=none or labels=folder is given.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alterations import alterations, generator_for
from shared import first_of_each_class, fit, mean, pooled_reader, timed

from vitdsi import ImageIndex
from vitdsi.collection.add import add
from vitdsi.collection.compact import compact
from vitdsi.collection.read import read_collection
from vitdsi.config import load_config
from vitdsi.neighbours import nearest
from vitdsi.photos.decode import decode
from vitdsi.photos.find import ImageRecord
from vitdsi.search.filters import Filters
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank, rankings
from vitdsi.state import IndexState

_SEEDS = (0, 1, 2)
_PER_CLASS = 500  # indexed images of each of the 10 classes
_LABELS = ("none", "folder")
_ADDITIONS = {"1 x 500": (1, 500), "10 x 100": (10, 100)}
_ALLOWED_SHARES = (0.01, 0.1, 0.5)
_COPIES = {50: 20, 500: 70}  # of each alteration, by the number of indexed photos of each class
_THRESHOLDS = (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08)  # of the similarity of near-identical photos


def changes(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Add with and without stored features and labels; remove and filter without labels."""
    results: dict[str, list[dict[str, Any]]] = {}
    for labels in _chosen("labels", _LABELS, overrides):
        for seed in map(int, _chosen("seed", _SEEDS, overrides)):
            config = load_config(overrides=[f"labels={labels}", f"seed={seed}", *overrides])
            index = fit(config, first_of_each_class(root / "train", _PER_CLASS))
            runs = {}
            for name in _ADDITIONS:
                runs[f"add {name}"] = measure_adding(index, root, seed, name)
                dropped = measure_adding(index, root, seed, name, keep_features=False)
                runs[f"add {name}, features dropped"] = dropped
            if labels == "none":
                runs["filter"] = measure_filters(index, root, seed)
                runs["remove"] = measure_removing(index, root, seed)
            for name, run in runs.items():
                results.setdefault(f"labels={labels}, {name}", []).append({"seed": seed, **run})
                print(labels, name, seed, run, file=sys.stderr, flush=True)
    return {name: {"runs": runs, "mean": mean(runs)} for name, runs in results.items()}


def _chosen(key: str, values: Iterable[Any], overrides: list[str]) -> Iterable[Any]:
    """The values that `overrides` give to a key, or all of them if there are none."""
    given = [text.partition("=")[2] for text in overrides if text.startswith(f"{key}=")]
    return given or values


def measure_adding(
    index: ImageIndex, root: Path, seed: int, name: str, *, keep_features: bool = True
) -> dict[str, Any]:
    """Add val photos; return IA@1 of old and new images, and milliseconds for each image besides the backbone's.

    The index stays as it is.
    """
    times, count = _ADDITIONS[name]
    photos = first_of_each_class(root / "val", 100)
    photos = [photos[i] for i in np.random.default_rng(seed).permutation(len(photos))[: times * count]]
    loaded = pooled_reader().load(
        [r.path for r in photos]
    )  # fills the cache, so that the backbone is not timed
    state, old = index.state_, np.arange(len(index.image_ids_))
    assert state.features is not None
    features = torch.cat([state.features, loaded.features])
    if not keep_features:
        state = compact(state, retrain=False, keep_features=False)
    started, started_computing = time.perf_counter(), time.process_time()
    for start in range(0, len(photos), count):
        part = photos[start : start + count]
        labels = None if state.labels is None else [r.label or "" for r in part]
        given = read_collection([r.path for r in part], labels, index.reader, by_folder=False)
        state, _ = add(state, given, index.reader)
    seconds, computing = time.perf_counter() - started, time.process_time() - started_computing
    return {
        "old IA@1 before": index.report_.indexing_accuracy,
        "old IA@1": indexing_accuracy(state, features, old),
        "new IA@1": indexing_accuracy(state, features, np.arange(len(old), len(features))),
        "ms an image": 1000 * seconds / len(photos),
        "CPU ms an image": 1000 * computing / len(photos),
    }


def indexing_accuracy(state: IndexState, features: torch.Tensor, ids: np.ndarray) -> float:
    """IA@1 of some ids, whose features are rows of `features`."""
    return float((rankings(state, features[ids], SearchOptions(k=1))[:, 0] == ids).mean())


def photos_with_classes(root: Path) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Features (Q, D) and classes (Q, 1) of the val photos, and the classes (N,) of the indexed images."""
    photos = first_of_each_class(root / "val", 100)
    features = pooled_reader().load([r.path for r in photos]).features
    classes = np.array([r.label for r in first_of_each_class(root / "train", _PER_CLASS)])
    return features, np.array([r.label for r in photos])[:, None], classes


def measure_filters(index: ImageIndex, root: Path, seed: int) -> dict[str, Any]:
    """P@10 by class with a filter, also of exact kNN, and the time of a filtered search over that of another one."""
    val, query_classes, classes = photos_with_classes(root)
    assert index.features_ is not None
    pixels = torch.zeros(1, 3, index.reader.image_size, index.reader.image_size, dtype=torch.uint8)
    run: dict[str, Any] = {}
    for share in _ALLOWED_SHARES:
        rng = np.random.default_rng([seed, int(100 * share)])
        allowed = np.sort(rng.choice(len(classes), round(share * len(classes)), replace=False))
        options = SearchOptions(k=10, allow=frozenset(allowed.tolist()))
        within = Filters(index.state_).trie_for(options)
        ids = np.concatenate([rank(index.state_, part, options, within).ids for part in torch.split(val, 64)])
        exact, _ = nearest(val, index.features_[allowed], 10)
        run[f"{share:.0%} P@10"] = float((classes[ids] == query_classes).mean())
        exact_classes = classes[allowed[exact.numpy()]]
        run[f"{share:.0%} P@10 exact kNN"] = float((exact_classes == query_classes).mean())
        run[f"{share:.0%} time over unfiltered"] = time_ratio(
            lambda w=within: rank(index.state_, index.reader.features(pixels), SearchOptions(k=10), w),
            lambda: rank(index.state_, index.reader.features(pixels), SearchOptions(k=10)),
        )
    return run


def time_ratio(first: Callable[[], object], second: Callable[[], object]) -> float:
    """Median time of `first` over that of `second`, measured alternately."""
    with torch.inference_mode():
        times = [(timed(first), timed(second)) for _ in range(150)][30:]
    numerator, denominator = np.median(times, axis=0)
    return float(numerator / denominator)


def measure_removing(index: ImageIndex, root: Path, seed: int) -> dict[str, Any]:
    """Remove 1,000 of 5,000 images.

    Measures milliseconds to remove them and to write the index, removed ids in the results of 10,000 searches, and the
    metrics of the other images before (without the 1,000 in the results) and after.
    """
    val, query_classes, classes = photos_with_classes(root)
    features = index.features_
    assert features is not None
    removed = np.random.default_rng(seed).choice(len(classes), 1000, replace=False)
    kept = np.setdiff1d(np.arange(len(classes)), removed)
    queries = torch.cat([features, val])
    queries = queries[torch.arange(10_000) % len(queries)]

    def metrics(when: str) -> dict[str, float]:
        ids = [row[~np.isin(row, removed)][:10] for row in rankings(index.state_, val, SearchOptions(k=60))]
        hits = classes[np.stack(ids)] == query_classes
        return {
            f"P@10 of the others {when}": float(hits.mean()),
            f"IA@1 of the others {when}": indexing_accuracy(index.state_, features, kept),
        }

    run = metrics("before")
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "i.dsi")
        run["remove ms"] = 1000 * timed(lambda: index.remove(removed.tolist()))
        run["write ms"] = 1000 * timed(lambda: index.save(Path(folder) / "i.dsi"))
    results = rankings(index.state_, queries, SearchOptions(k=10))
    run["removed ids found"] = float(np.isin(results, removed).sum())
    return {**run, "searches": len(queries), **metrics("after")}


def duplicates(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Precision and recall of the pairs of altered copies with their originals, among 500 and 5,000 photos.

    One copy in seven is altered as in training, the others in six ways that neither training nor the search for
    near-identical photos knows. Each has an original of its own. Near-identical photos of the data set itself count as
    mistakes.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    for per_class, copies in _COPIES.items():
        for seed in map(int, _chosen("seed", _SEEDS, overrides)):
            run = measure_duplicates(root, per_class, copies, seed, overrides)
            runs.setdefault(f"{10 * per_class} photos", []).append(run)
            print(per_class, run, file=sys.stderr, flush=True)
    return {name: {"runs": found, "mean": mean(found)} for name, found in runs.items()}


def measure_duplicates(
    root: Path, per_class: int, copies: int, seed: int, overrides: list[str]
) -> dict[str, Any]:
    """Index photos and `copies` altered copies for each alteration, and find the pairs at several thresholds."""
    records = first_of_each_class(root / "train", per_class)
    named = alterations([record.path for record in first_of_each_class(root / "val", 20)])
    names = [name for name in named for _ in range(copies)]
    originals = np.random.default_rng(seed).choice(len(records), len(names), replace=False)
    with tempfile.TemporaryDirectory() as folder:
        added = []
        for n, (i, name) in enumerate(zip(originals, names, strict=True)):
            path = Path(folder) / f"{n}.png"
            rng = generator_for(f"duplicates {seed} {name}", str(n))
            named[name](decode(records[i].path), rng).save(path)
            added.append(ImageRecord(path.name, path, records[i].label))
        index = fit(load_config(overrides=[f"seed={seed}", *overrides]), records + added)
    number = {image_id: i for i, image_id in enumerate(index.image_ids_)}
    truth = {
        (int(i), len(records) + n): name for n, (i, name) in enumerate(zip(originals, names, strict=True))
    }
    run: dict[str, Any] = {"seed": seed}
    for threshold in _THRESHOLDS:
        groups = index.near_identical(threshold)
        found = {
            (number[a], number[b]) for group in groups for n, a in enumerate(group) for b in group[n + 1 :]
        }
        right = [truth[pair] for pair in found if pair in truth]
        run[f"{threshold} precision"] = len(right) / max(len(found), 1)
        run[f"{threshold} other pairs"] = len(found) - len(right)
        run |= {f"{threshold} recall, {name}": right.count(name) / copies for name in named}
    run["seconds"] = timed(index.near_identical)
    return run


if __name__ == "__main__":
    jobs = {"changes": changes, "duplicates": duplicates}
    if len(sys.argv) < 3 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    print(json.dumps(jobs[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:]), indent=1))
