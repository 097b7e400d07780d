"""The heads of an exported index, in NumPy: from what the decoder gives to the scores of tokens."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vitdsi.exported.trie import NONE

__all__ = ["CodedRows", "DigitHead", "FloatRows", "Head", "Rows", "TrieHead"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_AT_ONCE = 16  # queries, to bound the memory
_ROWS_AT_ONCE = 512  # rows that are compared with queries, to bound the memory


class Rows(Protocol):
    """A table of vectors of E numbers; see `vitdsi.model.heads.rows`."""

    def take(self, numbers: Array) -> Floats:
        """Return the vectors (n, E) of rows `numbers` (n,)."""
        ...

    def products(self, queries: Floats, at: Array, numbers: Array) -> Floats:
        """Return the inner products (n,) of queries[at] with the vectors of rows `numbers` (n,)."""
        ...

    def cosines(self, queries: Floats, numbers: Array) -> Floats:
        """Return the cosines (n, R) of unit vectors (R, D) with the first D numbers of the vectors of `numbers`."""
        ...


class FloatRows:
    """A table of floats (n, E)."""

    def __init__(self, values: Array) -> None:
        self._values = values

    def take(self, numbers: Array) -> Floats:
        return np.asarray(self._values[numbers], np.float32)

    def products(self, queries: Floats, at: Array, numbers: Array) -> Floats:
        found: Floats = np.einsum("ne,ne->n", queries[at], self.take(numbers))
        return found

    def cosines(self, queries: Floats, numbers: Array) -> Floats:
        found = np.empty((len(numbers), len(queries)), np.float32)
        for start in range(0, len(numbers), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            vectors = self.take(numbers[some])[:, : queries.shape[1]]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            found[some] = vectors @ queries.T / np.maximum(lengths, 1e-12)
        return found


class CodedRows:
    """A table of codes of a product quantizer.

    Args:
        codes: (n, B) uint8.
        centres: (B, 256, E / B); part b of a vector has its numbers b, b + B, b + 2 B, ...
    """

    def __init__(self, codes: Array, centres: Array) -> None:
        self._codes, self._centres = codes, np.asarray(centres, np.float32)
        self._first = np.arange(len(centres)) * centres.shape[1]  # of each part in a table of products

    def take(self, numbers: Array) -> Floats:
        parts, _, each = self._centres.shape
        found = self._centres[np.arange(parts), self._codes[numbers]]  # (n, B, E / B)
        return found.swapaxes(1, 2).reshape(len(found), parts * each)

    def products(self, queries: Floats, at: Array, numbers: Array) -> Floats:
        """Sum the products of the parts of a query with the centres, without decoding any vector."""
        parts, centres, each = self._centres.shape
        divided = queries.reshape(len(queries), each, parts).transpose(2, 0, 1)
        table = (divided @ self._centres.swapaxes(1, 2)).swapaxes(0, 1).reshape(-1)
        places = self._codes[numbers] + self._first + (at * (parts * centres))[:, None]
        found: Floats = table[places].sum(1)
        return found

    def cosines(self, queries: Floats, numbers: Array) -> Floats:
        """Sum the products and the squares of the parts, without decoding any vector."""
        parts, _, each = self._centres.shape
        used = (np.arange(parts * each) < queries.shape[1]).reshape(each, parts, 1).transpose(1, 2, 0)
        padded = np.pad(queries, ((0, 0), (0, parts * each - queries.shape[1])))
        divided = padded.reshape(len(queries), each, parts).transpose(2, 1, 0)
        squares = (self._centres**2 * used).sum(2, keepdims=True)
        table = np.concatenate([self._centres @ divided, squares], axis=2).reshape(-1, len(queries) + 1)
        found = np.empty((len(numbers), len(queries)), np.float32)
        for start in range(0, len(numbers), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            sums = table[self._codes[numbers[some]] + self._first].sum(1)
            found[some] = sums[:, :-1] / np.sqrt(np.maximum(sums[:, -1:], 1e-24))
        return found


class Head(Protocol):
    """Turns what the decoder gives into scores."""

    def scores(self, given: Floats, nodes: Array) -> Floats:
        """Return the scores (P, V) of all tokens in nodes (P,), for what the decoder gives there (P, ...)."""
        ...


class DigitHead:
    """The decoder gives the scores themselves."""

    def scores(self, given: Floats, nodes: Array) -> Floats:
        return given


class TrieHead:
    """Scores of the branches of each node, for the queries that the decoder gives; see `vitdsi.model.heads.trie_head`.

    Args:
        child: (M, V), as in `vitdsi.exported.trie`.
        leaves: N rows, the vector of each id.
        leaf_bias: (N,).
        branches: M (1 + P) rows, first those of the branch that leads to node 0.
        branch_bias: (M, 1 + P).
    """

    def __init__(
        self, child: Array, leaves: Rows, leaf_bias: Array, branches: Rows, branch_bias: Array
    ) -> None:
        self._child, self.leaves, self._branches = child, leaves, branches
        self._leaf_bias, self._branch_bias = leaf_bias, branch_bias

    def scores(self, given: Floats, nodes: Array) -> Floats:
        scores = np.full((len(nodes), self._child.shape[1]), -np.inf, np.float32)
        for start in range(0, len(nodes), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            self._write(scores[some], given[some], self._child[nodes[some]])
        return scores

    def _write(self, scores: Floats, queries: Floats, children: Array) -> None:
        """Write the scores (p, V) of the branches to `children` (p, V)."""
        at, tokens = np.nonzero(children < NONE)
        if len(at):
            ids = -2 - children[at, tokens].astype(np.int64)
            scores[at, tokens] = self.leaves.products(queries, at, ids) + self._leaf_bias[ids]
        at, tokens = np.nonzero(children >= 0)
        if len(at):
            below, mixed = children[at, tokens].astype(np.int64), self._branch_bias.shape[1]
            rows = (below[:, None] * mixed + np.arange(mixed)).ravel()
            each = self._branches.products(queries, at.repeat(mixed), rows).reshape(-1, mixed)
            scores[at, tokens] = _logsumexp(each + self._branch_bias[below])


def _logsumexp(values: Floats) -> Floats:
    """Return log sum exp over the last axis."""
    most = values.max(-1)
    found: Floats = most + np.log(np.exp(values - most[..., None]).sum(-1))
    return found
