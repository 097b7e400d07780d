"""Best-first search in NumPy, for one query: the same search as `vitdsi.search.best_first`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitdsi.exported.decoding import Decoding
from vitdsi.exported.trie import NONE, ExportedTrie
from vitdsi.search.options import BEAM_SIZE, FIRST_ROUND, LARGEST_ROUND, MAX_EXPANSIONS

__all__ = ["Found", "best_first_search"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Found(NamedTuple):
    """The answer to a query: ids (K,), best first, their log-probabilities (K,), and whether no other is better."""

    ids: Array
    log_probs: Floats
    proven: bool


def best_first_search(
    decoding: Decoding,
    trie: ExportedTrie,
    live: Array,
    k: int,
    *,
    beam_size: int = BEAM_SIZE,
    max_expansions: int = MAX_EXPANSIONS,
) -> Found:
    """Find the k most probable of the ids that are marked in `live` (N,), or all of them if these are fewer.

    A search that reaches `max_expansions` before its answer is proven keeps the best ids found so far. 0 is a beam
    search with `beam_size` alone.
    """
    search = _Search(decoding, trie, live, k)
    search.follow_beam(beam_size)
    search.follow_best(max_expansions)
    return search.found()


class _Search:
    """The nodes and ids that were reached so far.

    Attributes:
        pending: (M,) log-probabilities of the nodes that were reached and not expanded, -inf for all others.
        ids, log_probs: the best ids, and their log-probabilities, best first.
        expansions: the number of nodes that were expanded.
    """

    def __init__(self, decoding: Decoding, trie: ExportedTrie, live: Array, k: int) -> None:
        self._decoding, self._trie, self._allowed = decoding, trie, trie.allowed(live)
        self._k = min(k, int(live.sum()))
        self.pending = np.full(len(trie.child), -np.inf, np.float32)
        self.ids, self.log_probs = np.empty(0, np.int64), np.empty(0, np.float32)
        self.expansions = 0

    @property
    def _worst(self) -> float:
        """The log-probability of the k-th best id, -inf if there are fewer yet."""
        return float(self.log_probs[self._k - 1]) if len(self.ids) == self._k else -np.inf

    def found(self) -> Found:
        proven = not self._k or float(self.pending.max()) <= self._worst
        return Found(self.ids, self.log_probs, proven)

    def follow_beam(self, size: int) -> None:
        """Search with a beam, of which finished ids are a part. What it does not keep remains pending."""
        places, log_probs = np.zeros(1, np.int64), np.zeros(1, np.float32)
        while self._k and (places >= 0).any():
            finished = places < NONE
            children, following = self._expand(places[~finished], log_probs[~finished])
            places = np.concatenate([places[finished], children])
            log_probs = np.concatenate([log_probs[finished], following])
            kept = _largest(log_probs, size)
            places, log_probs = places[kept], log_probs[kept]

    def follow_best(self, max_expansions: int) -> None:
        """Expand the most probable pending nodes, as long as one is more probable than the k-th best id."""
        width = FIRST_ROUND
        while self._k:
            nodes = _largest(self.pending, min(width, max(0, max_expansions - self.expansions)))
            nodes = nodes[self.pending[nodes] > self._worst]
            if not len(nodes):
                return
            width = min(2 * width, LARGEST_ROUND)
            log_probs, depths = self.pending[nodes], self._trie.depth[nodes]
            for depth in np.unique(depths):
                self._expand(nodes[depths == depth], log_probs[depths == depth])

    def _expand(self, nodes: Array, log_probs: Floats) -> tuple[Array, Floats]:
        """Expand nodes (P,) of one depth; return their allowed children, and the log-probabilities of these."""
        self.expansions += len(nodes)
        self.pending[nodes] = -np.inf
        at, tokens = np.nonzero(self._allowed[nodes])
        children = self._trie.child[nodes[at], tokens].astype(np.int64)
        following = self._decoding.branches(nodes)[at, tokens] + log_probs[at]
        inner = children >= 0
        self.pending[children[inner]] = following[inner]
        ids = np.concatenate([self.ids, -2 - children[~inner]])
        all_log_probs = np.concatenate([self.log_probs, following[~inner]])
        best = _largest(all_log_probs, self._k)
        self.ids, self.log_probs = ids[best], all_log_probs[best]
        return children, following


def _largest(values: Floats, count: int) -> Array:
    """Return the positions of the `count` largest values above -inf, largest first."""
    if count < len(values):
        chosen = np.argpartition(-values, count)[:count] if count else np.empty(0, np.int64)
    else:
        chosen = np.arange(len(values))
    chosen = chosen[np.argsort(-values[chosen], kind="stable")]
    return chosen[values[chosen] > -np.inf]
