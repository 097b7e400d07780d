"""Learning images that were added to an index: a short training run with replay of old images, where that is needed.

IncDSI (Kishore et al. 2023) also solves for the new documents alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitdsi.backbones.features import are_pixels, pooled
from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.placement import places_by_model
from vitdsi.collection.read import Collection
from vitdsi.collection.recall import recall
from vitdsi.config import TrainingConfig
from vitdsi.model.coding import with_row_bytes
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.progress import OnProgress
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank, rankings
from vitdsi.state import HeldOut, IndexState
from vitdsi.training.alterations import (
    MAX_HELD_OUT,
    imagine_alterations,
    measure_alterations,
    read_altered,
    views_of,
)
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.targets import Relevance, WeightedRelevance
from vitdsi.training.teacher import label_relevance, own_relevance, teacher_relevance

__all__ = ["held_out_with", "learn_added"]

REPLAYED_PER_IMAGE = 4  # old images that are replayed for each new one
MIN_REPLAYED = 500  # old images that are replayed at least
SHORT_EPOCHS, SHORT_STEPS = 6.0, 20  # length of the short run; the longer one counts
SUFFICIENT_ACCURACY = 0.98  # IA@1 of the new images below which all weights are trained
REMEMBERED_RESULTS = 20  # results of the old model that serve as targets if there is nothing to replay
ANCHOR_STRENGTH = 1.0  # weight of the penalty on moved weights
HELD_OUT_SHARE = 0.25  # of new images, of which an altered copy calibrates the scores


@dataclass(frozen=True)
class _Replay:
    """What training reads: the features of the new images, and of old ones to replay.

    Attributes:
        features: (Q, *shape) stored features.
        rows: (Q,) the ids that they belong to, ascending, or None for 0, 1, ...
        old: (r,) old ids whose features are among them, ascending.
    """

    features: Tensor
    rows: Tensor | None
    old: Tensor


def learn_added(
    before: IndexState,
    grown: IndexState,
    fresh: Collection,
    hard: Tensor | None,
    reader: FeatureReader,
    on_progress: OnProgress,
) -> IndexState:
    """Train the model of `grown` on the new images and with replay of old ones, if that is needed.

    If ids follow the features, the rows that the new images were given are mostly enough. Then nothing is trained.

    Features that the index does not keep are read from the feature cache. If it has none of them either, replay is
    impossible. Then the results of the old model for the new images are targets (learning without forgetting, Li and
    Hoiem 2016), and changes of the weights are penalised.

    Args:
        before: the index without the new images.
        grown: the index with them, whose model starts from their features.
        fresh: the new images, which have the last ids.
        hard: (n, V, *shape) their hard views, or None.
        reader: reads photos and the cache.
        on_progress: as for `ImageIndex.fit`.
    """
    config, first = grown.resolved, len(before.image_ids)
    new_ids = torch.arange(first, len(grown.image_ids))
    if places_by_model(grown):
        found = rankings(grown, fresh.features, SearchOptions(k=1))[:, 0] == new_ids.numpy()
        if found.mean() >= SUFFICIENT_ACCURACY:
            return grown
    replay = _replay(before, grown, fresh, new_ids, reader)
    has_replay = len(replay.old) > 0
    if len(grown.differences):
        differences = grown.differences.float()
        alterations = imagine_alterations(config, replay.features, differences, new_ids, replay.rows)
    else:
        alterations = measure_alterations(config, fresh.sources, fresh.features, reader, on_progress)
        alterations = replace(alterations, rows=alterations.rows + first)
    alterations = replace(alterations, hard=hard, first_hard=first)
    remembered = None if has_replay else _remembered(before, fresh.features)
    rows = torch.cat([replay.old, new_ids.repeat(max(1, round(len(replay.old) / len(new_ids))))])
    data = TrainingData(
        grown.trie,
        rows,
        views_of(replay.features, alterations, replay.rows),
        remembered or _relevance(grown, torch.unique(rows)),
        rows,
        alterations.inputs,
        alterations.rows,
    )
    model = with_row_bytes(grown.model, grown.trie, None)
    penalty = None if has_replay else _anchor(model)
    training = _short_run(config.training, len(rows))
    train(model, data, training, seed=config.seed + first, on_progress=on_progress, penalty=penalty)
    model = with_row_bytes(model.eval(), grown.trie, grown.model.row_bytes, config.seed)
    return replace(grown, model=model)


def _replay(
    before: IndexState, grown: IndexState, fresh: Collection, new_ids: Tensor, reader: FeatureReader
) -> _Replay:
    """Draw the old images that are replayed."""
    generator = torch.Generator().manual_seed(before.resolved.seed + len(before.image_ids))
    old = before.trie.live_ids()
    wanted = max(REPLAYED_PER_IMAGE * len(new_ids), MIN_REPLAYED)
    old = old[torch.randperm(len(old), generator=generator)[:wanted]].sort().values
    if grown.features is not None:
        return _Replay(grown.features, None, old)
    old, features = recall(before, old, reader)
    return _Replay(torch.cat([features, fresh.features]), torch.cat([old, new_ids]), old)


def _short_run(training: TrainingConfig, rows: int) -> TrainingConfig:
    """Return the settings of the short run over this number of rows."""
    epochs = max(SHORT_EPOCHS, training.batch_size * SHORT_STEPS / rows)
    paper = replace(training.paper, schedule="joint", warmup_steps=1, weight_decay=0.0)
    return replace(training, minutes=None, max_epochs=epochs, evaluate_every=10, patience=2, paper=paper)


def _anchor(model: Seq2Seq) -> Callable[[], Tensor]:
    """Return a penalty on the squared distance of the trainable weights from their present values."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}

    def penalty() -> Tensor:
        moved = [
            (value - before[name]).square().sum()
            for name, value in model.named_parameters()
            if value.requires_grad
        ]
        return ANCHOR_STRENGTH * torch.stack(moved).sum()

    return penalty


def _remembered(state: IndexState, features: Tensor) -> Relevance | None:
    """Return the results of the model for new images (n, *shape) as the relevance of rows N, N + 1, ...; None if the
    index is empty."""
    options = SearchOptions(k=REMEMBERED_RESULTS, rerank=False)
    found = [rank(state, part, options) for part in torch.split(features, 64)]
    ids = torch.from_numpy(np.concatenate([part.ids for part in found]))
    weights = torch.from_numpy(np.concatenate([part.log_probs for part in found])).softmax(1)
    return WeightedRelevance(ids, weights, len(state.image_ids)) if ids.shape[1] else None


def _relevance(grown: IndexState, rows: Tensor) -> Relevance:
    """Find the relevant ids of each image. Without labels, only those of `rows` are filled in."""
    if grown.labels is not None and grown.resolved.labels == "folder":
        return label_relevance(grown.trie, grown.labels, grown.labels)
    vectors = grown.category_vectors()
    if vectors is None:
        if grown.features is None or are_pixels(grown.features):
            return own_relevance(len(grown.image_ids))
        vectors = pooled(grown.features)
    return teacher_relevance(vectors, grown.trie.live_ids(), rows, grown.resolved.training)


def held_out_with(
    grown: IndexState, fresh: Collection, reader: FeatureReader, on_progress: OnProgress
) -> HeldOut | None:
    """Return the held-out views with altered copies of a quarter of the new images, none of which is trained on.

    A single image gets one with a probability of a quarter.
    """
    if grown.held_out is None:
        return None
    first = len(grown.image_ids) - len(fresh)
    rng = np.random.default_rng([grown.resolved.seed, first])
    wanted = min(int(HELD_OUT_SHARE * len(fresh) + rng.random()), MAX_HELD_OUT)
    if not wanted:
        return grown.held_out
    chosen = np.sort(rng.permutation(len(fresh))[:wanted])
    read = read_altered([fresh.sources[i] for i in chosen], reader, (grown.resolved.seed, first), on_progress)
    rows = chosen[read.kept]
    ids = torch.from_numpy(first + rows)
    labels = (
        None if grown.held_out.labels is None or fresh.labels is None else [fresh.labels[i] for i in rows]
    )
    views = grown.held_out.joined(HeldOut(read.features, ids, labels))
    kept = torch.from_numpy(np.sort(rng.permutation(len(views.ids))[:MAX_HELD_OUT]))
    return views.take(kept)
