"""What several benchmarks need: collections of photos, indexes of them, altered copies, times and means."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alterations import KNOWN, VERSION, alterations, generator_for
from torch import Tensor

from vitdsi import ImageIndex, IndexConfig
from vitdsi.backbones.cache import FeatureCache, default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.photos.decode import content_hash
from vitdsi.photos.find import ImageRecord, scan_folder
from vitdsi.progress import OnProgress, Progress


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


def fit(
    config: IndexConfig,
    records: Sequence[ImageRecord],
    on_progress: OnProgress = show_evaluation,
    **queries: Any,
) -> ImageIndex:
    """Index the records, with their classes if the configuration uses labels, and keep their features.

    `queries` are arguments of `fit`.
    """
    labels = [r.label or "" for r in records] if config.labels == "folder" else None
    index = ImageIndex(config, cache=default_cache())
    return index.fit(
        [r.path for r in records], labels, keep_features=True, on_progress=on_progress, **queries
    )


def altered_features(
    reader: FeatureReader, photos: Sequence[ImageRecord], name: str = KNOWN, others: Sequence[Path] = ()
) -> Tensor:
    """Features (N, F) of an altered copy of each photo, kept in the feature cache for the next time.

    Args:
        reader: a reader of pooled features.
        photos: the photos. A photo is altered in the same way whichever others there are.
        name: the alteration, one of `alterations`.
        others: the photos that collages are made with.
    """
    paths = [photo.path for photo in photos]
    hashes = [content_hash(path) for path in paths]
    alteration, partners = alterations(others)[name], ""
    if name == "collage":
        partners = hashlib.blake2b("".join(map(content_hash, others)).encode(), digest_size=8).hexdigest()
    key = "-".join(
        (reader.backbone.cache_key() or "", reader.kind, VERSION, name.replace(" ", "_"), partners)
    )
    cache = FeatureCache(default_cache(), key)
    features = torch.empty(len(paths), *reader.backbone.shapes[reader.kind], dtype=reader.backbone.dtype)
    thumbnails = np.empty((len(paths), 32, 32), dtype=np.uint8)
    missing = np.flatnonzero(~cache.read(hashes, features.numpy(), thumbnails))
    read = reader.load(
        [paths[i] for i in missing],
        alter=lambda image, i: alteration(image, generator_for(name, hashes[missing[i]])),
    )
    features[torch.from_numpy(missing)] = read.features
    cache.add([hashes[i] for i in missing], read.features.numpy(), read.thumbnails.numpy())
    return features


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
