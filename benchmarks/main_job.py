"""Quality and speed of the main job: compared with exact kNN on the same features, and with the backbone's time.

    python benchmarks/main_job.py unlabelled IMAGENETTE [key=value ...]    index 2,000 images without labels
    python benchmarks/main_job.py labelled IMAGENETTE [key=value ...]      index 25 %, with classes and random ids
    python benchmarks/main_job.py build IMAGENETTE [key=value ...]         index 5,000 images; time over a backbone pass
    python benchmarks/main_job.py search IMAGENETTE [key=value ...]        one search; time over the backbone alone

IMAGENETTE is a folder with train/<class>/ and val/<class>/. Each job writes one JSON object to stdout.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared import (
    altered_features,
    first_of_each_class,
    fit,
    mean,
    pooled_reader,
    relevant_ids,
    show_evaluation,
    timed,
)

from vitdsi import ImageIndex
from vitdsi.backbones.reader import FeatureReader
from vitdsi.config import load_config
from vitdsi.evaluation.metrics import average_precision_at, precision_at
from vitdsi.neighbours import nearest
from vitdsi.paper.split import split_per_class
from vitdsi.photos.decode import load_square
from vitdsi.photos.find import ImageRecord, scan_folder
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank

_SEEDS = (0, 1, 2)


def hits_of_classes(ids: np.ndarray, records: list[ImageRecord], queries: list[ImageRecord]) -> float:
    """Share of the results (Q, K) that have the class of their query."""
    classes = np.array([r.label for r in records])
    return float((classes[ids] == np.array([q.label for q in queries])[:, None]).mean())


def unlabelled(root: Path, overrides: list[str]) -> dict[str, Any]:
    """IA@1, altered copies at rank 1, and class purity of the top 10; the last two also of exact cosine kNN."""
    records = first_of_each_class(root / "train", 200)
    photos = scan_folder(root / "val", "folder")
    runs = []
    for seed in _SEEDS:
        config = load_config(overrides=["labels=none", f"seed={seed}", *overrides])
        index = fit(config, records)
        reader = pooled_reader()
        altered = altered_features(reader, records)
        val = reader.load([r.path for r in photos]).features
        own = np.arange(len(records))
        stored = index.features_
        assert stored is not None
        found = rank(index.state_, altered, SearchOptions(k=1)).ids
        top = rank(index.state_, val, SearchOptions(k=10)).ids
        exact = nearest(altered, stored, 1)[0].numpy()
        exact_top = nearest(val, stored, 10)[0].numpy()
        runs.append(
            {
                "seed": seed,
                "IA@1": index.report_.indexing_accuracy,
                "altered@1": float((found[:, 0] == own).mean()),
                "altered@1 exact kNN": float((exact[:, 0] == own).mean()),
                "purity@10": hits_of_classes(top, records, photos),
                "purity@10 exact kNN": hits_of_classes(exact_top, records, photos),
                "steps": index.report_.steps,
                "seconds": index.report_.seconds,
            }
        )
        print(runs[-1], file=sys.stderr, flush=True)
    return {"runs": runs, "mean": mean(runs)}


def labelled(root: Path, overrides: list[str]) -> dict[str, Any]:
    """IA@1, and MAP, MAP@10 and P@10 of held-out photos with random ids and of exact cosine kNN."""
    runs = []
    for seed in _SEEDS:
        split = split_per_class(scan_folder(root / "train", "folder"), seed=seed)
        config = load_config(overrides=["labels=folder", "ids.scheme=random", f"seed={seed}", *overrides])
        index = fit(
            config,
            split.indexing,
            queries=[r.path for r in split.train],
            query_labels=[r.label for r in split.train],
        )
        paths, labels = [r.path for r in split.test], [r.label or "" for r in split.test]
        metrics = index.evaluate(paths, labels)
        test = pooled_reader().load(paths).features
        assert index.features_ is not None
        exact = nearest(test, index.features_, len(split.indexing))[0].numpy()
        relevant = relevant_ids(split.indexing, split.test)
        runs.append(
            {
                "seed": seed,
                **{name: metric.value for name, metric in metrics.items()},
                "MAP@10 chance": metrics["MAP@10"].chance,
                "MAP@10 exact kNN": float(average_precision_at(exact, relevant, 10).mean()),
                "MAP exact kNN": float(average_precision_at(exact, relevant, None).mean()),
                "P@10 exact kNN": float(precision_at(exact, relevant, 10).mean()),
                "queries": len(paths),
                "steps": index.report_.steps,
                "seconds": index.report_.seconds,
            }
        )
        print(runs[-1], file=sys.stderr, flush=True)
    return {"runs": runs, "mean": mean(runs)}


def build(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Seconds to index 5,000 images from files, over seconds to decode them and run the backbone once, uncached."""
    records = first_of_each_class(root / "train", 500)
    paths = [r.path for r in records]
    config = load_config(overrides=overrides)
    once = timed(lambda: FeatureReader("pooled").load(paths))
    with tempfile.TemporaryDirectory() as folder:
        index = ImageIndex(config)
        seconds = timed(lambda: index.fit(paths, on_progress=show_evaluation).save(Path(folder) / "out.dsi"))
    return {
        "images": len(paths),
        "backbone pass s": once,
        "build s": seconds,
        "ratio": seconds / once,
        "IA@1": index.report_.indexing_accuracy,
        "steps": index.report_.steps,
    }


def search(root: Path, overrides: list[str]) -> dict[str, Any]:
    """Milliseconds from pixels to ids at N = 5,000, over those of the backbone alone; medians of alternating runs."""
    records = first_of_each_class(root / "train", 500)
    index = fit(load_config(overrides=["training.max_epochs=2", *overrides]), records)
    backbone = index.reader.backbone
    assert backbone is not None
    photo = load_square(records[0].path, index.reader.image_size)
    pixels = torch.tensor(photo).permute(2, 0, 1)[None]
    alone, whole = [], []
    with torch.inference_mode():
        for _ in range(300):
            alone.append(timed(lambda: index.reader.features(pixels)))
            whole.append(
                timed(lambda: rank(index.state_, index.reader.features(pixels), SearchOptions(k=10)))
            )
    ours, base = float(np.median(whole[50:])), float(np.median(alone[50:]))
    return {"N": len(records), "search ms": ours * 1e3, "backbone ms": base * 1e3, "ratio": ours / base}


if __name__ == "__main__":
    jobs = {"unlabelled": unlabelled, "labelled": labelled, "build": build, "search": search}
    if len(sys.argv) < 3 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    print(json.dumps(jobs[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:]), indent=1))
