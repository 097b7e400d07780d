"""Decoding an id for one query: the log-probabilities of the branches of nodes, each computed once."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vitdsi.exported.heads import Head
from vitdsi.exported.trie import NONE, ExportedTrie

__all__ = ["Decoding", "Step"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Step(Protocol):
    """One step of the decoder."""

    def __call__(
        self, tokens: Array, depth: int, embedding: Floats, memory: Floats, past: Floats
    ) -> tuple[Floats, Floats]:
        """Read the tokens (P,) that were written last, `depth` tokens before the next one.

        Args:
            tokens: (P,).
            depth: how many tokens have been written before the next.
            embedding: (E,) of the query.
            memory: (2 D, H, S, W), the keys and values of the query in D layers.
            past: (2 D, P, H, t, W), those of the tokens that were written before.

        Returns:
            What the head reads (P, ...), and the past with these tokens (2 D, P, H, t + 1, W).
        """
        ...


class Decoding:
    """The branches of the trie for one query.

    Args:
        step: the decoder.
        head: the head.
        trie: all ids that have a code.
        memory, embedding: of the query.
        bos: the decoder's first input.
    """

    def __init__(
        self, step: Step, head: Head, trie: ExportedTrie, memory: Floats, embedding: Floats, bos: int
    ) -> None:
        self._step, self._head, self._trie, self._bos = step, head, trie, bos
        self._memory, self._embedding = memory, embedding
        self._log_probs: dict[int, Floats] = {}
        self._pasts: dict[int, Floats] = {}  # of nodes with inner children

    def branches(self, nodes: Array) -> Floats:
        """Return the log-probabilities (P, V) of the tokens in nodes (P,) of one depth, whose parents were asked for.

        They are normalised over all branches of a node, and -inf where there is none.
        """
        missing = [node for node in nodes.tolist() if node not in self._log_probs]
        if missing:
            self._compute(np.array(missing))
        return np.stack([self._log_probs[node] for node in nodes.tolist()])

    def log_probs_of(self, ids: Array) -> Floats:
        """Return log p(id | query) (K,) of ids (K,), which may be removed or outside of a filter."""
        paths = self._trie.paths(ids)
        total = np.zeros(len(ids), np.float32)
        for depth in range(max(map(len, paths), default=0)):
            rows = [row for row, path in enumerate(paths) if depth < len(path)]
            nodes, tokens = np.array([paths[row][depth] for row in rows]).T
            distinct, places = np.unique(nodes, return_inverse=True)
            total[rows] += self.branches(distinct)[places, tokens]
        return total

    def _compute(self, nodes: Array) -> None:
        trie, depth = self._trie, int(self._trie.depth[nodes[0]])
        tokens = trie.token[nodes] if depth else np.full(len(nodes), self._bos)
        layers, heads, _, width = self._memory.shape
        past = np.zeros((layers, len(nodes), heads, 0, width), np.float32)
        if depth:
            past = np.stack([self._pasts[parent] for parent in trie.parent[nodes].tolist()], axis=1)
        given, present = self._step(tokens, depth, self._embedding, self._memory, past)
        scores = np.where(trie.child[nodes] == NONE, -np.inf, self._head.scores(given, nodes))
        most = scores.max(1, keepdims=True)
        log_probs = scores - most - np.log(np.exp(scores - most).sum(1, keepdims=True))
        for row, node in enumerate(nodes.tolist()):
            self._log_probs[node] = log_probs[row]
            if trie.inner[node]:
                self._pasts[node] = present[:, row]
