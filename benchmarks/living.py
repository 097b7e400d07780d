"""Does a collection stay good while images come and go? 5,000 images indexed, three seeds.

    python benchmarks/living.py changes IMAGENETTE [key=value ...]      add 500 at once and 100 ten times, with and
                                                                        without tokens; remove 1,000; filter
    python benchmarks/living.py duplicates IMAGENETTE [key=value ...]   500 altered copies among 5,000

IMAGENETTE is a folder with train/<class>/ and val/<class>/. Each writes one JSON object to stdout. With seed=S, or
labels=none or folder, only these run.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from main_job import first_of_each_class, fit, mean, timed

from vitdsi import ImageIndex
from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.config import load_config
from vitdsi.photos.alter import altered_copy
from vitdsi.photos.decode import decode
from vitdsi.photos.find import ImageRecord
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank, rankings
from vitdsi.training.teacher import nearest

_SEEDS = (0, 1, 2)
_EACH = 500  # indexed images of each of the 10 classes
_LABELS = ("none", "folder")
_ADDED = {"1 x 500": (1, 500), "10 x 100": (10, 100)}
_ALLOWED = (0.01, 0.1, 0.5)


def changes(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Adding, with and without tokens and labels; removing and filtering, without labels."""
    results: dict[str, list[dict[str, Any]]] = {}
    for labels in _chosen("labels", _LABELS, overrides):
        for seed in map(int, _chosen("seed", _SEEDS, overrides)):
            config = load_config(overrides=[f"labels={labels}", f"seed={seed}", *overrides])
            index = fit(config, first_of_each_class(root / "train", _EACH))
            built = index.state_
            runs = {}
            for name in _ADDED:
                runs[f"add {name}"] = add(index, root, seed, name)
                index._put(built, ())
                runs[f"add {name}, tokens dropped"] = add(index, root, seed, name, keep_features=False)
                index._put(built, ())
            if labels == "none":
                runs["filter"] = filter(index, root, seed)
                runs["remove"] = remove(index, root, seed)
            for name, run in runs.items():
                results.setdefault(f"labels={labels}, {name}", []).append({"seed": seed, **run})
                print(labels, name, seed, run, file=sys.stderr, flush=True)
    return {name: {"runs": runs, "mean": mean(runs)} for name, runs in results.items()}


def _chosen(key: str, values: Iterable[Any], overrides: list[str]) -> Iterable[Any]:
    """What `overrides` say of a key, or else all its values."""
    given = [text.partition("=")[2] for text in overrides if text.startswith(f"{key}=")]
    return given or values


def add(index: ImageIndex, root: Path, seed: int, name: str, *, keep_features: bool = True) -> dict[str, Any]:
    """IA@1 of old and new images after val photos were added, and milliseconds an image beside the backbone's."""
    chunks, each = _ADDED[name]
    photos = first_of_each_class(root / "val", 100)
    photos = [photos[i] for i in np.random.default_rng(seed).permutation(len(photos))[: chunks * each]]
    loaded = FeatureReader("pooled", cache=default_cache()).load(
        [r.path for r in photos]
    )  # the backbone's part
    old, inputs = np.arange(len(index.image_ids_)), index.features_
    assert inputs is not None
    inputs = torch.cat([inputs, loaded.features])
    if not keep_features:
        index.compact(retrain=False, keep_features=False)
    seconds, began = 0.0, time.process_time()
    for c in range(chunks):
        part = photos[c * each : (c + 1) * each]
        labels = None if index.labels_ is None else [r.label or "" for r in part]
        seconds += timed(lambda p=part, q=labels: index.add([r.path for r in p], q))
    computing = time.process_time() - began
    return {
        "old IA@1 before": index.report_.indexing_accuracy,
        "old IA@1": own_first(index, inputs, old),
        "new IA@1": own_first(index, inputs, np.arange(len(old), len(inputs))),
        "ms an image": 1000 * seconds / (chunks * each),
        "CPU ms an image": 1000 * computing / (chunks * each),
    }


def own_first(index: ImageIndex, inputs: torch.Tensor, ids: np.ndarray) -> float:
    """IA@1 of some ids."""
    state = dataclasses.replace(index.state_, inputs=inputs)
    return float((rankings(state, inputs[ids], SearchOptions(k=1))[:, 0] == ids).mean())


def photos_with_classes(root: Path) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Inputs (1000, 1280) and classes (1000, 1) of val photos, and the classes (5000,) of the indexed images."""
    photos = first_of_each_class(root / "val", 100)
    inputs = FeatureReader("pooled", cache=default_cache()).load([r.path for r in photos]).features
    classes = np.array([r.label for r in first_of_each_class(root / "train", _EACH)])
    return inputs, np.array([r.label for r in photos])[:, None], classes


def filter(index: ImageIndex, root: Path, seed: int) -> dict[str, Any]:
    """Share of the top 10 that is of the query's class, ours and exact kNN's with the same filter, and milliseconds of
    a filtered search over those of one without."""
    val, wanted, classes = photos_with_classes(root)
    assert index.features_ is not None
    pixels = torch.zeros(1, 3, index.reader.image_size, index.reader.image_size, dtype=torch.uint8)
    run: dict[str, Any] = {}
    for share in _ALLOWED:
        rng = np.random.default_rng([seed, int(100 * share)])
        allowed = np.sort(rng.choice(len(classes), round(share * len(classes)), replace=False))
        within = index._filters.get(index.state_, None, allowed.tolist())
        found = np.concatenate(
            [rank(index.state_, part, SearchOptions(k=10), within)[0] for part in torch.split(val, 64)]
        )
        exact, _ = nearest(val, index.features_[allowed], 10, exclude_own=False)
        run[f"{share:.0%} P@10"] = float((classes[found] == wanted).mean())
        run[f"{share:.0%} P@10 exact kNN"] = float((classes[allowed[exact.numpy()]] == wanted).mean())
        run[f"{share:.0%} time over unfiltered"] = in_turn(
            lambda w=within: rank(index.state_, index.reader.features(pixels), SearchOptions(k=10), w),
            lambda: rank(index.state_, index.reader.features(pixels), SearchOptions(k=10)),
        )
    return run


def in_turn(one: Callable[[], object], other: Callable[[], object]) -> float:
    """Median seconds of `one` over those of `other`, measured in turn."""
    with torch.inference_mode():
        times = [(timed(one), timed(other)) for _ in range(150)][30:]
    ours, base = np.median(times, axis=0)
    return float(ours / base)


def remove(index: ImageIndex, root: Path, seed: int) -> dict[str, Any]:
    """Milliseconds to remove 1,000 of 5,000 images and to write that, removed ids in 10,000 searches, and the others'
    figures before (the 1,000 left out of the results) and after."""
    val, wanted, classes = photos_with_classes(root)
    inputs = index.features_
    assert inputs is not None
    gone = np.random.default_rng(seed).choice(len(classes), 1000, replace=False)
    kept = np.setdiff1d(np.arange(len(classes)), gone)
    queries = torch.cat([inputs, val])
    queries = queries[torch.arange(10_000) % len(queries)]

    def figures(when: str) -> dict[str, float]:
        found = [row[~np.isin(row, gone)][:10] for row in rankings(index.state_, val, SearchOptions(k=60))]
        hits = classes[np.stack(found)] == wanted
        return {
            f"P@10 of the others {when}": float(hits.mean()),
            f"IA@1 of the others {when}": own_first(index, inputs, kept),
        }

    run = figures("before")
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "i.dsi")
        run["remove ms"] = 1000 * timed(lambda: index.remove([int(i) for i in gone]))
        run["write ms"] = 1000 * timed(lambda: index.save(Path(folder) / "i.dsi"))
    run["removed ids found"] = float(
        np.isin(rankings(index.state_, queries, SearchOptions(k=10)), gone).sum()
    )
    return {**run, "searches": len(queries), **figures("after")}


def duplicates(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Precision and recall of the pairs that 500 altered copies among 5,000 photos make. Two photos of the set that
    are near-identical by themselves count as a mistake."""
    runs = []
    for seed in map(int, _chosen("seed", _SEEDS, overrides)):
        records = first_of_each_class(root / "train", _EACH)
        copied = np.random.default_rng(seed).choice(len(records), 500, replace=False)
        with tempfile.TemporaryDirectory() as folder:
            copies = []
            for n, i in enumerate(copied):
                path = Path(folder) / f"{n}.png"
                altered_copy(decode(records[i].path), np.random.default_rng([seed, n])).save(path)
                copies.append(ImageRecord(path.name, path, records[i].label))
            index = fit(load_config(overrides=[f"seed={seed}", *overrides]), records + copies)
        began = time.perf_counter()
        groups = index.near_identical()
        seconds = time.perf_counter() - began
        number = {image_id: i for i, image_id in enumerate(index.image_ids_)}
        truth = {(int(i), len(records) + n) for n, i in enumerate(copied)}
        found = {
            (number[a], number[b]) for group in groups for n, a in enumerate(group) for b in group[n + 1 :]
        }
        runs.append(
            {
                "seed": seed,
                "precision": len(found & truth) / max(len(found), 1),
                "recall": len(found & truth) / len(truth),
                "seconds": seconds,
            }
        )
        print(runs[-1], file=sys.stderr, flush=True)
    return {"runs": runs, "mean": mean(runs)}


if __name__ == "__main__":
    jobs = {"changes": changes, "duplicates": duplicates}
    if len(sys.argv) < 3 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    print(json.dumps(jobs[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:]), indent=1))
