"""A model for a changed trie that keeps what the old one learned."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.model.head import TrieHead
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import NONE, Trie

_OF_NODES = ("head.rows", "head.bias", "head.prototypes", "head.prototype_bias")


@torch.no_grad()
def graft(model: Seq2Seq, old: Tensor, new: Trie, seed: int) -> tuple[Seq2Seq, Tensor]:
    """A model over `new` with the weights of `model`, and which of its nodes (M,) the old trie had.

    `old` (N', L') are the nodes, in the trie of `model`, of the first N' ids of `new`; their codes must be the same
    in both. Weights of nodes move with their prefix; positions of digits that no id had before start as in a new
    model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grafted = Seq2Seq(model.config, new, model.input_shape)
    origin = _origin(old, new)
    known = origin != NONE
    values = grafted.state_dict()
    for name, value in model.state_dict().items():
        if isinstance(model.head, TrieHead) and name in _OF_NODES:
            if len(value):
                values[name][known] = value[origin[known]]
        elif name == "decoder.positions":
            shared = min(len(value), len(values[name]))
            values[name][:shared] = value[:shared]
        elif name not in ("head.inner_range", "head.inner_token"):  # these describe the trie
            values[name].copy_(value)
    return grafted.to(next(model.parameters()).device).train(model.training), known


def _origin(old: Tensor, new: Trie) -> Tensor:
    """The old number of each new node (M,), NONE for nodes that are new."""
    origin = torch.full((new.num_nodes,), NONE)
    length = min(old.shape[1], new.max_length)
    before, after = old[:, :length], new.nodes[: len(old), :length]
    both = (before != NONE) & (after != NONE)
    origin[after[both]] = before[both]
    return origin
