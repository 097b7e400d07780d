"""Ranking: features to ids in the order of their scores, by probability and embedding similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import Trie
from vitdsi.search.best_first import BEAM_SIZE, MAX_EXPANSIONS, best_first_search
from vitdsi.search.options import SearchOptions
from vitdsi.state import IndexState

MIN_RERANKED = 24  # the fewest of the most probable ids that reranking chooses from
# Weights in the reranking score, of the log-probability in nats and of the cosine. EXPERIMENTS.md has the evidence.
PROBABILITY_WEIGHT = 0.3
COSINE_WEIGHT = 15.0
_MAX_PREFIXES_IN_BATCH = 20_000
_BATCH = 64

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ranking:
    """The results of B queries.

    Attributes:
        ids: (B, K), best first; NONE where fewer were found.
        scores: (B, K) the scores that the results are ordered by.
        log_probs: (B, K) the model's log-probabilities of the ids, in nats.
        proven: (B,) whether it is proven that no other allowed id is more probable than the ids that were found. If
            results are reranked, these are the ids that were compared.
    """

    ids: Ids
    scores: Scores
    log_probs: Scores
    proven: npt.NDArray[np.bool_]


@torch.inference_mode()
def rank(state: IndexState, features: Tensor, options: SearchOptions, within: Trie | None = None) -> Ranking:
    """Find the best of n ids for features (B, *shape): min(k, n) of them, best first.

    The score is p, the model's probability of the id. With `options.rerank` the most probable ids are also ordered by
    the similarity of embeddings, and their scores are

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
    memory, embedding = model.encode(features.to(next(model.parameters()).device))
    trie = state.trie if within is None else within
    found = best_first_search(
        model,
        memory,
        embedding,
        trie,
        max(MIN_RERANKED, options.k) if rerank else options.k,
        beam_size=options.beam_size or max(BEAM_SIZE, options.k),
        max_expansions=0 if options.beam_size else MAX_EXPANSIONS,
    )
    ids, log_probs, scores = found.ids, found.log_probs, found.log_probs
    if rerank:
        cosines = head.cosines(trie, ids, embedding)
        scores = (PROBABILITY_WEIGHT * log_probs + COSINE_WEIGHT * cosines).log_softmax(1)
        scores, order = scores.sort(dim=1, descending=True)
        ids, log_probs = ids.gather(1, order), log_probs.gather(1, order)
    ids, scores, log_probs = (x[:, : options.k].cpu() for x in (ids, scores.exp(), log_probs))
    return Ranking(ids.numpy(), scores.numpy(), log_probs.numpy(), found.proven.cpu().numpy())


def rankings(state: IndexState, features: Tensor, options: SearchOptions) -> Ids:
    """Rank ids (Q, min(k, n)) for any number of queries (Q, *shape), in batches that bound the memory of the search."""
    batch = max(1, min(_BATCH, _MAX_PREFIXES_IN_BATCH // (options.beam_size or options.k)))
    return np.concatenate([rank(state, part, options).ids for part in torch.split(features, batch)])


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
    return np.concatenate(
        [rank(state, part, only_best).scores[:, 0] for part in torch.split(features, _BATCH)]
    )
