"""What several benchmarks need: collections of photos, indexes of them, altered copies, times and means."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vitdsi import ImageIndex, IndexConfig
from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.photos.alter import altered_copy
from vitdsi.photos.find import ImageRecord, scan_folder
from vitdsi.progress import Progress


def first_of_each_class(folder: Path, count: int) -> list[ImageRecord]:
    """The first `count` images of each class folder, by name."""
    records = scan_folder(folder, "folder")
    classes = sorted({record.label or "" for record in records})
    return [r for label in classes for r in [r for r in records if r.label == label][:count]]


def named_folders(arguments: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Split NAME=FOLDER from key=value: an argument whose value is a folder names a set of photos."""
    sets: dict[str, Path] = {}
    overrides = []
    for text in arguments:
        name, _, value = text.partition("=")
        if value and Path(value).is_dir():
            sets[name] = Path(value)
        else:
            overrides.append(text)
    return sets, overrides


def pooled_reader() -> FeatureReader:
    """A reader of pooled features that uses the cache of the user."""
    return FeatureReader("pooled", cache=default_cache())


def show_evaluation(progress: Progress) -> None:
    """Print a line on stderr at each evaluation."""
    if progress.loss is not None and progress.done % 50 == 0:
        print(progress, file=sys.stderr, flush=True)


def fit(config: IndexConfig, records: Sequence[ImageRecord], **queries: Any) -> ImageIndex:
    """Index the records, with their classes if the configuration uses labels. `queries` are arguments of `fit`."""
    labels = [r.label or "" for r in records] if config.labels == "folder" else None
    index = ImageIndex(config, cache=default_cache())
    return index.fit([r.path for r in records], labels, on_progress=show_evaluation, **queries)


def altered_features(reader: FeatureReader, records: Sequence[ImageRecord], seed: int) -> Tensor:
    """Features (N, *shape) of an altered copy of each record. Training with the same seed makes other copies."""
    return reader.load(
        [r.path for r in records],
        alter=lambda image, i: altered_copy(image, np.random.default_rng([seed + 1000, i])),
    ).features


def relevant_ids(indexed: Sequence[ImageRecord], queries: Sequence[ImageRecord]) -> list[np.ndarray]:
    """The ids of the indexed images of the same class, for each query."""
    classes = np.array([r.label for r in indexed])
    return [np.flatnonzero(classes == r.label) for r in queries]


def timed(run: Callable[[], object]) -> float:
    """Seconds of wall-clock time that `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def mean(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean of each value over runs with different seeds."""
    return {key: float(np.mean([run[key] for run in runs])) for key in runs[0] if key != "seed"}
