"""Evaluating an index: indexing accuracy, ranking of labelled photos, and out-of-collection detection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.read import Collection, Images, read_collection
from vitdsi.errors import UsageError
from vitdsi.evaluation.detection import auroc
from vitdsi.evaluation.metrics import Metric, indexing_accuracy, summarise
from vitdsi.progress import OnProgress
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings, top_scores
from vitdsi.state import IndexState
from vitdsi.training.alterations import read_altered

_ALTERATION_SEED = (2026, 11, 27)  # training never draws from it, since its seeds have two parts


def evaluate(
    state: IndexState,
    reader: FeatureReader,
    queries: Images | None = None,
    labels: Sequence[str] | None = None,
    *,
    outside: Images | None = None,
    beam_size: int | None = None,
    on_progress: OnProgress = None,
) -> dict[str, Metric]:
    """Compute metrics by name. The arguments are those of `ImageIndex.evaluate`."""
    metrics: dict[str, Metric] = {}
    live = state.trie.live_ids()
    if not len(live):
        raise UsageError("every image was removed, so there is nothing to evaluate; add images first")
    if state.features is not None:
        own = rankings(state, state.features[live], _options(5, beam_size))
        metrics |= indexing_accuracy(own, live.numpy(), len(live))
    if queries is not None:
        given = read_collection(queries, labels, reader, on_progress, by_folder=True)
        metrics |= _ranking(state, given, beam_size)
    if outside is not None:
        photos = read_collection(outside, None, reader, on_progress, by_folder=False)
        inside = np.array(state.report.calibration.inside_scores)
        metrics["AUROC"] = auroc(inside, top_scores(state, _as_held_out(state, photos, reader, on_progress)))
    return metrics


def _as_held_out(
    state: IndexState, photos: Collection, reader: FeatureReader, on_progress: OnProgress
) -> Tensor:
    """Return the features of photos from outside, altered if the held-out views of the index are altered copies."""
    if state.resolved.labels == "folder":
        return photos.features
    return read_altered(photos.sources, reader, _ALTERATION_SEED, on_progress).features


def _ranking(state: IndexState, queries: Collection, beam_size: int | None) -> dict[str, Metric]:
    if queries.labels is None:
        raise UsageError("evaluate() needs the queries' classes: give labels, or a folder of class folders")
    classes = list(state.labels or (image_id.split("/")[0] for image_id in state.image_ids))
    live = state.trie.live_ids().tolist()
    by_class: dict[str, list[int]] = {}
    for i in live:
        by_class.setdefault(classes[i], []).append(i)
    relevant = [np.array(by_class.get(label, []), dtype=np.int64) for label in queries.labels]
    first = rankings(state, queries.features, _options(10, beam_size))
    all_ids = rankings(state, queries.features, _options(len(live), len(live)))
    return {
        **summarise(first, relevant, len(live), ("P@10", "MAP@10")),
        **summarise(all_ids, relevant, len(live), ("MAP", "Recall@100")),
    }


def _options(k: int, beam_size: int | None) -> SearchOptions:
    return SearchOptions(k=k, beam_size=None if beam_size is None else max(beam_size, k))
