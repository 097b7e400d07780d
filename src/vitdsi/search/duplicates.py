"""Near-identical images: crops, mirror images and other versions of the same picture, found or left out of results.

The model proposes pairs and `Similarity` decides. Two images are compared only if each is among the results of a search
with the other. Turned copies are not found by such a search; they are proposed by `turn_free` descriptors of their
thumbnails, again only if each is among the nearest of the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.search.decisions import undecided
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import ORIENTATIONS, rank, rankings
from vitdsi.search.ranking import Ids, Ranking
from vitdsi.search.similarity import NEAR_IDENTICAL_SIMILARITY, Similarity
from vitdsi.search.stored_query import stored_queries
from vitdsi.search.turned import NUM_PROPOSED, nearest_turned
from vitdsi.state import IndexState

__all__ = ["connected_groups", "first_distinct", "near_identical", "search_distinct"]

_PROPOSALS = 10  # results of each image that are compared with it
_SEARCH_GROWTH = 3  # each search for distinct results asks for this many times as many as the one before


def near_identical(state: IndexState, threshold: float = NEAR_IDENTICAL_SIMILARITY) -> list[list[int]]:
    """Group the live ids whose images are near-identical, directly or through a chain of others.

    Pairs that somebody decided to keep both do not count; see `vitdsi.search.decisions`.

    Returns:
        Groups of at least two sorted ids, larger groups first.

    Raises:
        UsageError: the index keeps nothing that pictures can be compared by.
    """
    similarity = Similarity(state)
    live = state.trie.live_ids()
    if len(live) < 2:
        return []
    proposals = SearchOptions(k=min(_PROPOSALS + 1, len(live)))
    queries, embedded = stored_queries(state, live)
    found = rankings(state, queries, proposals, embedded=embedded)
    turned = nearest_turned(similarity.turn_free[live], similarity.turn_free[live], NUM_PROPOSED + 1)
    proposed = [_mutual(live.numpy(), found), _mutual(live.numpy(), live[turned].numpy())]
    pairs = np.unique(np.concatenate(proposed), axis=0)
    pairs = pairs[undecided(state, pairs)]
    return connected_groups(pairs[similarity.at_least(pairs, threshold)])


def _mutual(ids: Ids, found: Ids) -> Ids:
    """Return the pairs (P, 2) of ids (n,), i < j, in which each is among what was found (n, K) for the other."""
    first, second = np.repeat(ids, found.shape[1]), found.ravel()
    base = max(int(ids.max()), int(found.max())) + 1
    up, down = first < second, (second < first) & (second >= 0)
    both = np.intersect1d(first[up] * base + second[up], second[down] * base + first[down])
    return np.stack([both // base, both % base], axis=1)


def search_distinct(
    state: IndexState,
    features: Tensor,
    options: SearchOptions,
    similarity: Similarity,
    within: Trie | None = None,
    parts: int = 1,
    *,
    embedded: bool = False,
) -> Ranking:
    """Search as `rank` does, but leave out results that are near-identical to a better one.

    The search is repeated with more results until `options.offset + options.k` distinct ones are found or there are no
    more.

    Returns:
        offset + k results of each query, best first, filled up with ids of -1, scores of 0 and log-probabilities of
        -inf if there are too few distinct ones.
    """
    wanted, block = options.offset + options.k, _SEARCH_GROWTH * options.k
    queries = torch.split(features, parts * (ORIENTATIONS if options.any_rotation else 1))
    ids = np.full((len(queries), wanted), -1, dtype=np.int64)
    scores = np.zeros(ids.shape, dtype=np.float32)
    log_probs = np.full(ids.shape, -np.inf, dtype=np.float32)
    shown = np.zeros_like(ids)
    proven = np.zeros(len(ids), dtype=bool)
    for row, query in enumerate(queries):
        count, distinct = wanted, list[int]()
        while len(distinct) < wanted:
            count *= _SEARCH_GROWTH
            beam_size = None if options.beam_size is None else max(options.beam_size, count)
            more = replace(options, k=block, offset=count - block, beam_size=beam_size)
            found = rank(state, query, more, within, parts, embedded=embedded)
            distinct = first_distinct([i for i in found.ids[0].tolist() if i >= 0], wanted, similarity)
            if found.ids.shape[1] < count:
                break
        kept = np.isin(found.ids[0], distinct)
        ids[row, : len(distinct)] = distinct
        scores[row, : len(distinct)] = found.scores[0, kept]
        log_probs[row, : len(distinct)] = found.log_probs[0, kept]
        shown[row, : len(distinct)] = found.parts[0, kept]
        proven[row] = found.proven[0]
    return Ranking(ids, scores, log_probs, shown, proven, np.full_like(ids, NONE))


def first_distinct(
    ids: list[int], k: int, similarity: Similarity, threshold: float = NEAR_IDENTICAL_SIMILARITY
) -> list[int]:
    """Return the first k ids of a ranking that are not near-identical to one that was already taken."""
    distinct: list[int] = []
    for i in ids:
        pairs = np.array([(j, i) for j in distinct], dtype=np.int64).reshape(-1, 2)
        if not similarity.at_least(pairs, threshold).any():
            distinct.append(i)
        if len(distinct) == k:
            break
    return distinct


def connected_groups(pairs: npt.NDArray[np.int64]) -> list[list[int]]:
    """Group ids that pairs (P, 2) connect, directly or through a chain.

    Returns:
        Groups of sorted ids, larger groups first, and groups of equal size in the order of their ids.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    ids, nodes = np.unique(pairs, return_inverse=True)
    first, second = nodes.reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=(len(ids), len(ids)))
    _, group_of_node = connected_components(graph, directed=False)
    by_group = ids[np.argsort(group_of_node, kind="stable")]  # still sorted within each group
    ends = np.cumsum(np.bincount(group_of_node))
    groups = [group.tolist() for group in np.split(by_group, ends[:-1])]
    return sorted(groups, key=lambda group: (-len(group), group))
