"""Ranking: features to ids in the order of their scores, by probability and embedding similarity."""

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
MIN_RERANKED = 24  # the fewest results of the beam that reranking chooses from
# Weights in the reranking score, of the log-probability in nats and of the cosine. EXPERIMENTS.md has the evidence.
PROBABILITY_WEIGHT = 0.3
COSINE_WEIGHT = 15.0
_MAX_BEAMS_IN_BATCH = 20_000
_BATCH = 64

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@torch.inference_mode()
def rank(
    state: IndexState, features: Tensor, options: SearchOptions, within: Trie | None = None
) -> tuple[Ids, Scores]:
    """Find the best of n ids for features (B, *shape): ids and scores (B, min(k, n)), best first.

    The score is p, the model's probability of the id, which sums to 1 over all n. With `options.rerank` the results of
    the beam are also ordered by the similarity of embeddings, and their scores are

        softmax_i (0.3 log p_i + 15 cos_i),

    where cos_i is the cosine of the query's embedding with the head's row for the last digit of id i, which started as
    the embedding of image i.

    Args:
        features: stored features, or those that a `FeatureReader` computed for queries.
        options: k, beam_size and rerank are used here.
        within: a restriction of the trie of the index; only its ids are searched.

    Raises:
        UsageError: `options.rerank` is set, and the head of the index keeps no vectors to compare with.
    """
    model, head = state.model, state.model.head
    rerank = state.reranks_by_default if options.rerank is None else options.rerank
    if rerank and not head.compares:
        raise UsageError("this index has no trie head to rerank with; build it with model.paper.head=trie")
    beam_size = options.beam_size or max(MIN_BEAM_SIZE, options.k)
    trie = state.trie if within is None else within
    memory, embedding = model.encode(features.to(next(model.parameters()).device))
    results = max(MIN_RERANKED, beam_size) if rerank else None
    ids, log_scores = decode(model, memory, embedding, trie, beam_size, results)
    if rerank:
        cosines = head.cosines(trie, ids, embedding)
        log_scores = (PROBABILITY_WEIGHT * log_scores + COSINE_WEIGHT * cosines).log_softmax(1)
        log_scores, order = log_scores.sort(dim=1, descending=True)
        ids = ids.gather(1, order)
    return ids[:, : options.k].cpu().numpy(), log_scores[:, : options.k].exp().cpu().numpy()


def rankings(state: IndexState, features: Tensor, options: SearchOptions) -> Ids:
    """Rank ids (Q, min(k, n)) for any number of queries (Q, *shape), in batches that bound the memory of the beams."""
    batch = max(1, min(_BATCH, _MAX_BEAMS_IN_BATCH // (options.beam_size or options.k)))
    return np.concatenate([rank(state, part, options)[0] for part in torch.split(features, batch)])


def indexing_accuracy(state: IndexState) -> float | None:
    """Measure IA@1 of the live images. None if the features were dropped or no image is left."""
    live = state.trie.live_ids()
    if state.features is None or not len(live):
        return None
    return float((rankings(state, state.features[live], SearchOptions(k=1))[:, 0] == live.numpy()).mean())


def top_scores(state: IndexState, features: Tensor) -> Scores:
    """Return the score (Q,) of the best result for each query (Q, *shape)."""
    if not len(features):
        return np.empty(0, dtype=np.float32)
    only_best = SearchOptions(k=1)
    return np.concatenate([rank(state, part, only_best)[1][:, 0] for part in torch.split(features, _BATCH)])
