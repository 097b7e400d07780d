"""Ranking: features to ids, by their relevance or their probability, with calibrated scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.search.evidence import claims, first_place, probability, relevance
from vitdsi.search.options import BEAM_SIZE, MAX_EXPANSIONS, SearchOptions
from vitdsi.search.ranking import Ids, Ranking, Scores
from vitdsi.search.searched import Searched, WholeIndex
from vitdsi.state import IndexState

ORIENTATIONS = 4  # of a photo: as it is, and turned by 90, 180 and 270 degrees
_MIN_RERANKED = 24  # the fewest of the most probable ids that reranking chooses from
# The same for searches that do not compare pictures, and where log p says little of a single image: in indexes of few
# images, which learn in few steps, and of very many, whose branches are crowded.
_MORE_RERANKED = 100
_FEW, _MANY = 1000, 2**18  # images
_ABOVE_ALL = 1000.0  # a score that no relevance reaches
_FIRST = 10  # results that may show what a photo shows
_MAX_PREFIXES_IN_BATCH = 20_000
_BATCH = 64
MAX_MEASURED = 5000  # images that IA@1 is measured on


@dataclass(frozen=True)
class Candidates:
    """The candidates of B queries, most relevant first.

    Attributes:
        ids: (B, K) ids, NONE where fewer were found.
        evidence: (B, K, 3) what speaks for them; see `vitdsi.search.evidence`.
        parts: (B, K) the part of the query that is most like each of them.
        proven: (B,) whether it is proven that no other allowed id is more probable than these.
        places: (B, K) see `Ranking.picture_places`.
    """

    ids: Tensor
    evidence: Tensor
    parts: Tensor
    proven: Tensor
    places: Tensor


@torch.inference_mode()
def candidates(
    state: IndexState,
    features: Tensor,
    options: SearchOptions,
    within: Trie | None = None,
    parts: int = 1,
    *,
    embedded: bool = False,
) -> Candidates:
    """Find the most probable ids for features (B * parts, *shape), at least offset + k of them, and order them.

    The arguments are those of `rank`.
    """
    return _candidates(state, WholeIndex(state, features, within, parts, embedded=embedded), options)


def _candidates(state: IndexState, searched: Searched, options: SearchOptions, alike: int = 0) -> Candidates:
    """Find the most probable ids for queries, at least offset + k of them, and order them.

    The `alike` images that look most like any part of a query are candidates as well.
    With several parts, the candidates are those of any part, and the probability of an id is its mean over the parts.
    The first place may belong to another one than the most relevant (see `first_place`).
    With any rotation, each orientation is a query of its own, and a candidate has the best of its four answers.
    The candidates are ordered in blocks of at least k, so that the pages of a long list are parts of it.
    """
    parts = searched.parts
    rerank = state.reranks_by_default if options.rerank is None else options.rerank
    if rerank and not state.model.head.compares:
        raise UsageError("this index has no trie head to rerank with; build it with model.paper.head=trie")
    wanted = options.offset + options.k
    reranked = min_reranked(state) if options.pictures else _MORE_RERANKED
    block = max(reranked, options.k) if rerank else options.k
    found = searched.find(
        block * -(-wanted // block),
        options.beam_size or max(BEAM_SIZE, wanted),
        0 if options.beam_size else MAX_EXPANSIONS,
    )
    ids, proven = found.ids, found.proven.view(-1, parts).all(1)
    blocks = torch.arange(ids.shape[1], device=ids.device).div(block, rounding_mode="floor").expand_as(ids)
    more = _in_turns(searched.alike(alike).ids) if alike else ids.new_empty(len(proven), 0)
    several = parts > 1 or alike > 0
    if several:
        ids, blocks = (each.reshape(len(proven), parts * ids.shape[1]) for each in (ids, blocks))
        ids, blocks = torch.cat([ids, more], dim=1), torch.cat([blocks, torch.zeros_like(more)], dim=1)
        ids, blocks = _union(ids, blocks)
    described = searched.describe(ids, None if several else found.log_probs)
    seen, part, _ = described
    score = relevance(state, seen, options.pictures) if rerank else seen[..., 0]
    first = first_place(state, parts) if rerank and options.pictures else None
    if first is not None and ids.shape[1]:
        claim = claims(described, first).masked_fill((ids == NONE) | (blocks > 0), -torch.inf)
        score = _with_first(score, claim, first.above)
    if options.any_rotation:
        ids, seen, part, score, blocks = (
            answers.reshape(len(ids) // ORIENTATIONS, -1, *answers.shape[2:])
            for answers in (ids, seen, part, score, blocks)
        )
        proven = proven.view(-1, ORIENTATIONS).all(1)
        more = _in_turns(more.view(len(ids), ORIENTATIONS, more.shape[1]))
    order = _order(ids, blocks, score)
    ids = ids.gather(1, order)
    if options.any_rotation:
        ids, kept = _first_of_each(ids)
        order = order.gather(1, kept)
    return Candidates(
        ids,
        seen.gather(1, order[..., None].expand(*order.shape, seen.shape[-1])),
        part.gather(1, order),
        proven,
        _places(ids, more),
    )


def _with_first(score: Tensor, claim: Tensor, above: float | None) -> Tensor:
    """Raise the score of the candidate with the strongest claim (B, K) over all others, if the claim is that strong."""
    best, place = claim.max(dim=1, keepdim=True)
    raised = _ABOVE_ALL + best
    if above is not None:
        raised = torch.where(best > above, raised, score.gather(1, place))
    return score.scatter(1, place, raised)


def min_reranked(state: IndexState) -> int:
    """Return the fewest of the most probable ids that reranking chooses from, for queries that show pictures."""
    return _MIN_RERANKED if _FEW < state.report.images <= _MANY else _MORE_RERANKED


def _in_turns(ids: Tensor) -> Tensor:
    """Return the first K distinct ids (B, K) of lists (B, R, K), the best of each list, then the second of each."""
    distinct, _ = _first_of_each(ids.mT.flatten(1))
    return distinct[:, : ids.shape[2]]


def _places(ids: Tensor, of: Tensor) -> Tensor:
    """Return the columns (B, K) of ids (B, K) in `of` (B, P), NONE for those that are not there."""
    if not of.shape[1]:
        return torch.full_like(ids, NONE)
    same = (ids[:, :, None] == of[:, None]) & (ids != NONE)[:, :, None]
    return torch.where(same.any(2), same.byte().argmax(2), NONE)


def _order(ids: Tensor, blocks: Tensor, score: Tensor) -> Tensor:
    """Return the columns of candidates (B, K) by their block, and by their score within it; those of NONE come last."""
    order = score.masked_fill(ids == NONE, -torch.inf).argsort(dim=1, descending=True, stable=True)
    last = blocks.masked_fill(ids == NONE, torch.iinfo(blocks.dtype).max).gather(1, order)
    return order.gather(1, last.argsort(dim=1, stable=True))


def _first_of_each(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct ids of each row (B, K), filled up with NONE, and the columns in which they are first."""
    same = (ids[:, :, None] == ids[:, None, :]).tril(-1).any(2)
    ids = ids.masked_fill(same, NONE)
    kept = same.byte().argsort(dim=1, stable=True)
    return ids.gather(1, kept), kept


def _union(ids: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct ids of each row (B, K), filled up with NONE, and the first block that each is in."""
    order = blocks.argsort(dim=1, stable=True)
    order = order.gather(1, ids.gather(1, order).argsort(dim=1, stable=True))
    ids, blocks = ids.gather(1, order), blocks.gather(1, order)
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = NONE
    found = ids != NONE
    order = found.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(found.sum(1).max()))]
    return ids.gather(1, order), blocks.gather(1, order)


@torch.inference_mode()
def rank(
    state: IndexState,
    features: Tensor,
    options: SearchOptions,
    within: Trie | None = None,
    parts: int = 1,
    *,
    embedded: bool = False,
    alike: int = 0,
) -> Ranking:
    """Find the best of n ids for features (B, *shape): min(offset + k, n) of them, best first.

    With `options.rerank` the most probable ids are ordered by their relevance (`vitdsi.search.evidence.relevance`),
    otherwise by their probability. The score of a result is the calibrated probability that it is right.

    Args:
        features: stored features, or those that a `FeatureReader` computed for queries.
        options: k, offset, beam_size, rerank and any_rotation are used here.
        within: a restriction of the trie of the index; only its ids are searched.
        parts: in how many parts each query was read. The features of its parts follow one another, those of the whole
            photo first. With `options.any_rotation` there are these of its four orientations, one after the other.
        embedded: `features` are embeddings (B, E) instead; see `Seq2Seq.encode_embeddings`.
        alike: this many images that look most like a query are candidates as well, whatever their probability, and all
            candidates are returned; see `vitdsi.search.searched.Searched.alike`.

    Raises:
        UsageError: `options.rerank` is set, and the head of the index keeps no vectors to compare with.
    """
    searched = WholeIndex(state, features, within, parts, embedded=embedded)
    return rank_searched(state, searched, options, alike)


@torch.inference_mode()
def rank_searched(state: IndexState, searched: Searched, options: SearchOptions, alike: int = 0) -> Ranking:
    """Find the best ids for queries in a whole index or in shards of it, as `rank` does.

    Args:
        state: what weighs the evidence and gives scores: the index, or the top of its shards.
        searched: what is searched, and the queries.
        options, alike: as for `rank`.

    Raises:
        UsageError: as for `rank`.
    """
    found = _candidates(state, searched, options, alike)
    wanted = None if alike else options.offset + options.k
    ids, seen = found.ids[:, :wanted], found.evidence[:, :wanted]
    scores = probability(state, seen).masked_fill(ids == NONE, 0.0)
    return Ranking(
        ids.cpu().numpy(),
        scores.cpu().numpy(),
        seen[..., 0].cpu().numpy(),
        found.parts[:, :wanted].cpu().numpy(),
        found.proven.cpu().numpy(),
        found.places[:, :wanted].cpu().numpy(),
    )


def rankings(state: IndexState, features: Tensor, options: SearchOptions, *, embedded: bool = False) -> Ids:
    """Rank ids (Q, min(k, n)) for any number of queries (Q, *shape), in batches that bound the memory of the search."""
    batch = max(1, min(_BATCH, _MAX_PREFIXES_IN_BATCH // (options.beam_size or options.k)))
    return np.concatenate(
        [rank(state, part, options, embedded=embedded).ids for part in torch.split(features, batch)]
    )


def indexing_accuracy(state: IndexState) -> tuple[float, int] | None:
    """Measure IA@1 of the live images, or in a large index of a random sample of 5,000 of them.

    Returns:
        IA@1, and how many images it was measured on. None if the features were dropped or no image is left.
    """
    live = state.trie.live_ids()
    if state.features is None or not len(live):
        return None
    if len(live) > MAX_MEASURED:
        generator = torch.Generator().manual_seed(state.resolved.seed)
        live = live[torch.randperm(len(live), generator=generator)[:MAX_MEASURED]].sort().values
    found = rankings(state, state.features[live], SearchOptions(k=1))[:, 0]
    return float((found == live.numpy()).mean()), len(live)


def top_scores(state: IndexState, features: Tensor) -> Scores:
    """Return the highest score (Q,) among the first results of each query (Q, *shape), 0 if there are none."""
    if not len(features):
        return np.empty(0, dtype=np.float32)
    first = SearchOptions(k=_FIRST)
    return np.concatenate(
        [rank(state, part, first).scores.max(1, initial=0.0) for part in torch.split(features, _BATCH)]
    )
