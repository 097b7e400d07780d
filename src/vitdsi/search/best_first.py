"""Best-first search: the most probable ids of a trie for each query, and whether that is proven.

    log p(id | image) = sum over the tokens of the id of log softmax(scores)[token],

where the softmax is over all branches that a node of the trie has. So the probability of a prefix bounds that of every
id below it, and once no prefix that was not expanded is more probable than the k-th best id, the k best are found
(best-first branch and bound). Removed ids and filters rule branches out without a change of any probability.

The search begins as a beam search, which finds most answers, and goes on from what the beam left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie, leaf
from vitdsi.model.architectures import KeysValues
from vitdsi.model.seq2seq import Memory, Seq2Seq
from vitdsi.search.options import BEAM_SIZE, FIRST_ROUND, LARGEST_ROUND, MAX_EXPANSIONS

__all__ = ["Found", "best_first_search"]


class Found(NamedTuple):
    """The answer to B queries.

    Attributes:
        ids: (B, K) int64, best first, filled up with NONE; K is k, or the number of live ids if that is smaller.
        log_probs: (B, K) log-probabilities of these ids in nats, -inf where there is none.
        proven: (B,) bool, whether no other live id is more probable than these.
        expansions: (B,) int64, the number of prefixes whose branches were scored.
    """

    ids: Tensor
    log_probs: Tensor
    proven: Tensor
    expansions: Tensor


@torch.no_grad()
def best_first_search(
    model: Seq2Seq,
    memory: Memory,
    embedding: Tensor,
    trie: Trie,
    k: int,
    *,
    beam_size: int = BEAM_SIZE,
    max_expansions: int = MAX_EXPANSIONS,
) -> Found:
    """Find the k most probable live ids of each query.

    A query that reaches `max_expansions` before its answer is proven keeps the best ids found so far. These are at
    least as probable, one by one, as those of a beam search with `beam_size`.

    Args:
        model: the model.
        memory: the memory that `Seq2Seq.encode` returned.
        embedding: (B, embedding_dim), the embeddings that it returned.
        trie: the ids to choose from: all live ones, or a restriction to some of them.
        k: the number of ids.
        beam_size: the number of prefixes that the beam keeps for each query.
        max_expansions: the number of prefixes from which on only the beam expands more; 0 is the beam search alone.
    """
    search = _Search(model, memory, embedding, trie, min(k, trie.live_count))
    search.follow_beam(beam_size, alone=max_expansions == 0)
    search.follow_best(max_expansions)
    return search.found()


class _Search:
    """The prefixes and ids that were reached so far.

    A prefix is known by its node. Tensors with a column for each node have one more, the last, for NONE.

    Attributes:
        pending: (B, M + 1) log-probabilities of the prefixes that were reached and not expanded, -inf for all others.
        slots: (B, M + 1) where `pasts` has the past of a prefix that was expanded.
        pasts: for each number of tokens, the keys and values of the prefixes that were expanded, in each layer
            (B, S, H, t, D / H). Prefixes with only leaves below them have no use for it, and may be missing.
        leaves, log_probs: (B, K) the best ids, as leaves of the trie.
        expansions: (B,) the number of prefixes that were expanded.
    """

    def __init__(self, model: Seq2Seq, memory: Memory, embedding: Tensor, trie: Trie, k: int) -> None:
        batch, device = len(embedding), embedding.device
        self.model, self.memory, self.embedding, self.length = model, memory, embedding, trie.max_length
        self.child, self.allowed = trie.tree.small_child.to(device), trie.allowed.to(device)
        self.parent, self.token, self.depth = (x.clamp(min=0).to(device) for x in trie.parents)
        self.rows = torch.arange(batch, device=device)
        self.pending = torch.full((batch, trie.num_nodes + 1), -torch.inf, device=device)
        self.slots = torch.zeros(self.pending.shape, dtype=torch.long, device=device)
        self.pasts: dict[int, list[KeysValues]] = {}
        self.leaves = torch.full((batch, k), NONE, device=device)
        self.log_probs = torch.full((batch, k), -torch.inf, device=device)
        self.expansions = torch.zeros(batch, dtype=torch.long, device=device)

    def found(self) -> Found:
        ids = leaf(self.leaves).masked_fill(self.log_probs == -torch.inf, NONE)
        proven = torch.ones_like(self.rows, dtype=torch.bool)
        if ids.shape[1]:
            proven = self.pending.amax(1) <= self.log_probs[:, -1]
        return Found(ids, self.log_probs, proven, self.expansions)

    def follow_beam(self, size: int, *, alone: bool) -> None:
        """Search with a beam, of which finished ids are a part. What it does not keep remains pending.

        If it is the whole search (`alone`), pasts are dropped as soon as the beam is longer.
        """
        # The place of a beam is an inner node (>= 0), a leaf (< NONE), or NONE for an empty beam.
        places = torch.zeros(len(self.rows), 1, dtype=torch.long, device=self.rows.device)
        log_probs = torch.zeros(places.shape, device=places.device)
        for depth in range(self.length):
            following, children = self._expand(self.rows, places.clamp(min=NONE), log_probs, depth)
            if alone:
                self.pasts.pop(depth - 1, None)
            if not bool((self.pending > -torch.inf).any()):
                break
            # A finished beam is kept as its own only continuation.
            finished = places < NONE
            following[..., 0] = torch.where(finished, log_probs, following[..., 0])
            children[..., 0] = torch.where(finished, places, children[..., 0])
            flat = following.flatten(1)
            log_probs, kept = flat.topk(min(size, flat.shape[1]), dim=1)
            places = children.flatten(1).gather(1, kept).masked_fill(log_probs == -torch.inf, NONE)
            filled = int((places != NONE).sum(1).max())
            places, log_probs = places[:, :filled], log_probs[:, :filled]
            if not bool((places >= 0).any()):
                break

    def follow_best(self, max_expansions: int) -> None:
        """Expand the most probable pending prefixes, as long as one is more probable than the k-th best id."""
        width = FIRST_ROUND
        while self.leaves.shape[1]:
            log_probs, nodes = self.pending.topk(min(width, self.pending.shape[1]), dim=1)
            wanted = log_probs > self.log_probs[:, -1:]
            left = max_expansions - self.expansions
            wanted &= torch.arange(wanted.shape[1], device=left.device) < left[:, None]
            if not bool(wanted.any()):
                return
            width = min(2 * width, LARGEST_ROUND)
            depths = torch.where(wanted, self.depth[nodes.clamp(max=len(self.depth) - 1)], NONE)
            for depth in torch.unique(depths[wanted]).tolist():
                chosen = depths == depth
                rows = torch.nonzero(chosen.any(1)).squeeze(1)
                chosen = chosen[rows]
                # Move what was chosen to the left, and cut off what no query needs.
                order = chosen.byte().argsort(dim=1, descending=True, stable=True)
                order = order[:, : int(chosen.sum(1).max())]
                found = nodes[rows].masked_fill(~chosen, NONE).gather(1, order)
                self._expand(rows, found, log_probs[rows].gather(1, order), depth)

    def _expand(self, rows: Tensor, nodes: Tensor, log_probs: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Score the branches of nodes (R, P), of the same depth or NONE, of the queries `rows` (R,).

        Returns log-probabilities (R, P, V), -inf for what is not allowed, and the children (R, P, V).
        """
        query, inside, at = rows[:, None], nodes >= 0, nodes
        some_missing = not bool(inside.all())
        if some_missing:  # There, another node of the query is scored again, which costs least.
            at = torch.where(inside, nodes, nodes.amax(1, keepdim=True).clamp(min=0))
        children, allowed = self.child[at].long(), self.allowed[at]
        if some_missing:
            children, allowed = children.masked_fill(~inside[..., None], NONE), allowed & inside[..., None]
        self.expansions[rows] += inside.sum(1)
        self.pending[query, nodes] = -torch.inf
        inner = children >= 0
        has_inner = bool(inner.any())
        scores = self._scores(rows, nodes, at, depth, keep=has_inner)
        following = scores.masked_fill(children == NONE, -torch.inf).log_softmax(-1) + log_probs[..., None]
        following = following.masked_fill(~allowed, -torch.inf)
        finished = following
        if has_inner:
            self.pending[query[..., None], children.clamp(min=NONE)] = following
            self.pending[:, NONE] = -torch.inf
            finished = following.masked_fill(inner, -torch.inf)
        if bool((children < NONE).any()):
            log_probs = torch.cat([self.log_probs[rows], finished.flatten(1)], dim=1)
            self.log_probs[rows], best = log_probs.topk(self.leaves.shape[1], dim=1)
            leaves = torch.cat([self.leaves[rows], children.flatten(1)], dim=1)
            self.leaves[rows] = leaves.gather(1, best)
        return following, children

    def _scores(self, rows: Tensor, nodes: Tensor, at: Tensor, depth: int, *, keep: bool) -> Tensor:
        """Compute the scores (R, P, V) of all tokens in nodes `at` (R, P), and keep the past of `nodes` if told to."""
        memory, embedding, query = self.memory, self.embedding, rows[:, None]
        if len(rows) < len(self.rows):
            memory, embedding = [(keys[rows], values[rows]) for keys, values in memory], embedding[rows]
        state = self.model.start(memory)
        tokens = self.token[at] if depth else torch.full_like(at, self.model.vocabulary.bos)
        if depth:
            slots = self.slots[query, self.parent[at]]
            past = self.pasts[depth - 1]
            state.past = [(keys[query, slots], values[query, slots]) for keys, values in past]
        scores = self.model.step(tokens, at, depth, embedding, state).float()
        if keep:
            self._keep(rows, nodes, depth, state.past)
        return scores

    def _keep(self, rows: Tensor, nodes: Tensor, depth: int, past: list[KeysValues]) -> None:
        """Store the past of these prefixes."""
        if len(rows) < len(self.rows):
            past = [(self._of_all(keys, rows), self._of_all(values, rows)) for keys, values in past]
        first = 0
        if depth in self.pasts:
            before = self.pasts[depth]
            first = before[0][0].shape[1]
            past = [
                (torch.cat([old[0], new[0]], dim=1), torch.cat([old[1], new[1]], dim=1))
                for old, new in zip(before, past, strict=True)
            ]
        self.pasts[depth] = past
        self.slots[rows[:, None], nodes] = first + torch.arange(nodes.shape[1], device=nodes.device)

    def _of_all(self, values: Tensor, rows: Tensor) -> Tensor:
        """Spread values (R, ...) of some queries over all of them, with zeros for the others."""
        return values.new_zeros(len(self.rows), *values.shape[1:]).index_copy_(0, rows, values)
