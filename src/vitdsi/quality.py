"""What an index is worth: own images found, ranking of photos with classes, strangers told from its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from vitdsi.build import Images, OnProgress, read_images
from vitdsi.errors import UsageError
from vitdsi.evaluation.calibration import auroc, threshold_for
from vitdsi.evaluation.metrics import Metric, indexing_accuracy, summarise
from vitdsi.features import InputLoader
from vitdsi.ranking import rankings, top_scores
from vitdsi.storage import Stored


def evaluate(
    stored: Stored,
    loader: InputLoader,
    queries: Images | None,
    labels: Sequence[str] | None,
    outside: Images | None,
    beam_size: int | None,
    on_progress: OnProgress,
) -> dict[str, Metric]:
    """See `ImageIndex.evaluate`."""
    metrics: dict[str, Metric] = {}
    live = stored.trie.live_ids()
    if not len(live):
        raise UsageError("every image was removed, so there is nothing to evaluate; add images first")
    if stored.inputs is not None:
        own = rankings(stored, stored.inputs[live], 5, beam_size)
        metrics |= indexing_accuracy(own, live.numpy(), len(live))
    if queries is not None:
        metrics |= _ranking(stored, loader, queries, labels, beam_size, on_progress)
    if outside is not None:
        photos = read_images(outside, None, loader, on_progress, by_folder=False)
        inside = np.array(stored.report.get("inside_scores", []))
        metrics["AUROC"] = auroc(inside, top_scores(stored, photos.inputs))
    return metrics


def _ranking(
    stored: Stored,
    loader: InputLoader,
    queries: Images,
    labels: Sequence[str] | None,
    beam_size: int | None,
    on_progress: OnProgress,
) -> dict[str, Metric]:
    given = read_images(queries, labels, loader, on_progress, by_folder=True)
    if given.labels is None:
        raise UsageError("evaluate() needs the queries' classes: give labels, or a folder of class folders")
    classes = stored.labels or [image_id.split("/")[0] for image_id in stored.image_ids]
    live = stored.trie.live_ids().tolist()
    by_class: dict[str, list[int]] = {}
    for i in live:
        by_class.setdefault(classes[i], []).append(i)
    relevant = [np.array(by_class.get(label, []), dtype=np.int64) for label in given.labels]
    first = rankings(stored, given.inputs, 10, beam_size)
    all_ids = rankings(stored, given.inputs, len(live), len(live))
    return {
        **summarise(first, relevant, len(live), ("P@10", "MAP@10")),
        **summarise(all_ids, relevant, len(live), ("MAP", "Recall@100")),
    }


def calibrate(stored: Stored, altered: Tensor) -> dict[str, Any]:
    """For the report: scores of altered copies (H, *input_shape) that were not trained with, and the score that 95 %
    of them reach."""
    scores = [round(float(score), 6) for score in top_scores(stored, altered)]
    return {"inside_scores": scores, "min_score": threshold_for(np.array(scores))} if scores else {}
