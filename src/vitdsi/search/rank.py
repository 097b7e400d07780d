"""From features to ranked ids: the width of the beam, and likeness beside probability."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import Trie
from vitdsi.search.beam import decode
from vitdsi.search.options import SearchOptions
from vitdsi.state import IndexState

MIN_BEAM_SIZE = 10  # a beam of this width lost nothing to an exhaustive search
MIN_RERANKED = 24  # results that likeness has to choose from
PROBABILITY_WEIGHT, LIKENESS_WEIGHT = (
    0.3,
    15.0,
)  # of a nat of log-probability and of a cosine (see the findings)
_MAX_BEAMS_IN_BATCH = 20_000
_BATCH = 64

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@torch.inference_mode()
def rank(
    state: IndexState, features: Tensor, options: SearchOptions, within: Trie | None = None
) -> tuple[Ids, Scores]:
    """Ids (B, min(k, n)) and scores of the best results for features (B, *shape), best first, of n ids in all.

    The score is p, the model's probability of the id, which sums to 1 over all n. With `options.rerank` the results of
    the beam are ordered by likeness too, and their scores are

        softmax_i (0.3 log p_i + 15 cos_i),

    where cos_i is the cosine of the query's embedding with the head's row for the last digit of id i, which started as
    the embedding of image i.

    Args:
        features: stored features, or what a `FeatureReader` gives for a query.
        options: of which k, beam_size and rerank are used here.
        within: a restriction of the index's trie, to search in it only.

    Raises:
        UsageError: the index has no head that compares, and `options.rerank` asks for it.
    """
    model, head = state.model, state.model.head
    rerank = state.ranks_by_likeness if options.rerank is None else options.rerank
    if rerank and not head.compares:
        raise UsageError("this index has no trie head to rerank with; build it with model.paper.head=trie")
    beam_size = options.beam_size or max(MIN_BEAM_SIZE, options.k)
    trie = state.trie if within is None else within
    memory, embedding = model.encode(features.to(next(model.parameters()).device))
    results = max(MIN_RERANKED, beam_size) if rerank else None
    ids, log_scores = decode(model, memory, embedding, trie, beam_size, results)
    if rerank:
        cosines = head.likeness(trie, ids, embedding)
        log_scores = (PROBABILITY_WEIGHT * log_scores + LIKENESS_WEIGHT * cosines).log_softmax(1)
        log_scores, order = log_scores.sort(dim=1, descending=True)
        ids = ids.gather(1, order)
    return ids[:, : options.k].cpu().numpy(), log_scores[:, : options.k].exp().cpu().numpy()


def rankings(state: IndexState, features: Tensor, options: SearchOptions) -> Ids:
    """Ids (Q, min(k, n)) for any number of queries (Q, *shape), in batches that bound the memory of the beams."""
    batch = max(1, min(_BATCH, _MAX_BEAMS_IN_BATCH // (options.beam_size or options.k)))
    return np.concatenate([rank(state, part, options)[0] for part in torch.split(features, batch)])


def indexing_accuracy(state: IndexState) -> float | None:
    """IA@1 of the live images, or None where the features were dropped or nothing is left."""
    live = state.trie.live_ids()
    if state.features is None or not len(live):
        return None
    return float((rankings(state, state.features[live], SearchOptions(k=1))[:, 0] == live.numpy()).mean())


def top_scores(state: IndexState, features: Tensor) -> Scores:
    """The score (Q,) of the best result for each query (Q, *shape)."""
    if not len(features):
        return np.empty(0, dtype=np.float32)
    only_best = SearchOptions(k=1)
    return np.concatenate([rank(state, part, only_best)[1][:, 0] for part in torch.split(features, _BATCH)])
