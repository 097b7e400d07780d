"""Ranking: features to ids, by their relevance or their probability, with calibrated scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.search.best_first import BEAM_SIZE, MAX_EXPANSIONS, best_first_search
from vitdsi.search.evidence import evidence, probability, relevance
from vitdsi.search.options import SearchOptions
from vitdsi.state import IndexState

ORIENTATIONS = 4  # of a photo: as it is, and turned by 90, 180 and 270 degrees
MIN_RERANKED = 24  # the fewest of the most probable ids that reranking chooses from
_FIRST = 10  # results that may show what a photo shows
_MAX_PREFIXES_IN_BATCH = 20_000
_BATCH = 64

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The candidates of B queries, most relevant first.

    Attributes:
        ids: (B, K) ids, NONE where fewer were found.
        evidence: (B, K, 3) what speaks for them; see `vitdsi.search.evidence`.
        proven: (B,) whether it is proven that no other allowed id is more probable than these.
    """

    ids: Tensor
    evidence: Tensor
    proven: Tensor


@dataclass(frozen=True)
class Ranking:
    """The results of B queries.

    Attributes:
        ids: (B, K), best first; NONE where fewer were found.
        scores: (B, K) the calibrated probability that each result is right; 0 where the id is NONE.
        log_probs: (B, K) the model's log-probabilities of the ids, in nats.
        proven: (B,) whether it is proven that no other allowed id is more probable than the ids that were compared.
    """

    ids: Ids
    scores: Scores
    log_probs: Scores
    proven: npt.NDArray[np.bool_]


@torch.inference_mode()
def candidates(
    state: IndexState,
    features: Tensor,
    options: SearchOptions,
    within: Trie | None = None,
    *,
    embedded: bool = False,
) -> Candidates:
    """Find the most probable ids for features (B, *shape), at least `options.offset + options.k`, and order them.

    The arguments are those of `rank`.
    """
    model = state.model
    rerank = state.reranks_by_default if options.rerank is None else options.rerank
    if rerank and not model.head.compares:
        raise UsageError("this index has no trie head to rerank with; build it with model.paper.head=trie")
    device = next(model.parameters()).device
    encode = model.encode_embeddings if embedded else model.encode
    memory, embedding = encode(features.to(device))
    trie = state.trie if within is None else within
    wanted = options.offset + options.k
    # Whole blocks are reranked, each by itself, so that the pages of a long list are parts of it.
    block = max(MIN_RERANKED, options.k) if rerank else wanted
    wanted = block * -(-wanted // block)
    found = best_first_search(
        model,
        memory,
        embedding,
        trie,
        wanted,
        beam_size=options.beam_size or max(BEAM_SIZE, options.offset + options.k),
        max_expansions=0 if options.beam_size else MAX_EXPANSIONS,
    )
    ids, seen = found.ids, evidence(state, found.ids, found.log_probs, embedding)
    values = relevance(state, seen) if rerank else found.log_probs
    if options.any_rotation:
        return _joined_orientations(ids, seen, values, found.proven, block)
    if rerank:
        order = _order_in_blocks(values.masked_fill(ids == NONE, -torch.inf), block)
        ids, seen = ids.gather(1, order), seen.gather(1, order[..., None].expand_as(seen))
    return Candidates(ids, seen, found.proven)


def _order_in_blocks(values: Tensor, block: int) -> Tensor:
    """Return the columns of each row (B, K) of values, highest first within each block of columns."""
    parts = torch.split(values, block, dim=1)
    return torch.cat([part.argsort(1, descending=True) + i * block for i, part in enumerate(parts)], dim=1)


def _joined_orientations(ids: Tensor, seen: Tensor, values: Tensor, proven: Tensor, block: int) -> Candidates:
    """Join the candidates of the four orientations of each query: (4 B, K) to (B, 4 K), each id once.

    An id is where its highest value puts it, within the first block of columns that has it in any orientation.
    """
    queries, width = len(ids) // ORIENTATIONS, ids.shape[1]
    blocks = torch.arange(width).div(block, rounding_mode="floor").repeat(ORIENTATIONS).numpy()
    joined_ids = torch.full((queries, ORIENTATIONS * width), NONE)
    places = torch.zeros_like(joined_ids)
    for row, (found, value) in enumerate(
        zip(ids.cpu().view(queries, -1).numpy(), values.cpu().view(queries, -1).numpy(), strict=True)
    ):
        order = np.lexsort((-value, blocks, found == NONE))
        first = np.sort(np.unique(found[order], return_index=True)[1])
        kept = torch.from_numpy(order[first[found[order[first]] != NONE]])
        joined_ids[row, : len(kept)], places[row, : len(kept)] = torch.from_numpy(found)[kept], kept
    seen = seen.reshape(queries, ORIENTATIONS * width, seen.shape[-1])
    seen = seen.gather(1, places.to(seen.device)[..., None].expand_as(seen))
    return Candidates(joined_ids.to(ids.device), seen, proven.view(queries, -1).all(1))


@torch.inference_mode()
def rank(
    state: IndexState,
    features: Tensor,
    options: SearchOptions,
    within: Trie | None = None,
    *,
    embedded: bool = False,
) -> Ranking:
    """Find the best of n ids for features (B, *shape): min(offset + k, n) of them, best first.

    With `options.rerank` the most probable ids are ordered by their relevance (`vitdsi.search.evidence.relevance`),
    otherwise by their probability. The score of a result is the calibrated probability that it is right.

    Args:
        features: stored features, or those that a `FeatureReader` computed for queries. With `options.any_rotation`
            they are (4 B, *shape): the four orientations of a query follow each other.
        options: k, offset, beam_size, rerank and any_rotation are used here.
        within: a restriction of the trie of the index; only its ids are searched.
        embedded: `features` are embeddings (B, E) instead; see `Seq2Seq.encode_embeddings`.

    Raises:
        UsageError: `options.rerank` is set, and the head of the index keeps no vectors to compare with.
    """
    found = candidates(state, features, options, within, embedded=embedded)
    wanted = options.offset + options.k
    ids, seen = found.ids[:, :wanted], found.evidence[:, :wanted]
    scores = probability(state, seen).masked_fill(ids == NONE, 0.0)
    return Ranking(
        ids.cpu().numpy(), scores.cpu().numpy(), seen[..., 0].cpu().numpy(), found.proven.cpu().numpy()
    )


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
    """Return the highest score (Q,) among the first results of each query (Q, *shape), 0 if there are none."""
    if not len(features):
        return np.empty(0, dtype=np.float32)
    first = SearchOptions(k=_FIRST)
    return np.concatenate(
        [rank(state, part, first).scores.max(1, initial=0.0) for part in torch.split(features, _BATCH)]
    )
