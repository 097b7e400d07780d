"""Grafting: a model for a changed trie that keeps what the old model learned."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq


@torch.no_grad()
def graft(model: Seq2Seq, old: Tensor, new: Trie, seed: int) -> tuple[Seq2Seq, Tensor]:
    """A model over the trie `new` with the weights of `model`.

    Weights of a node move with the prefix that leads to the node. What the old model does not have starts as in a new
    model: nodes that are new, and positions of tokens beyond its longest id.

    Args:
        old: (N', L') the nodes, in the trie of `model`, of ids 0 .. N' - 1 of `new`. The codes of these ids must be
            the same in both tries.
        seed: seeds the weights that are new. No other random draws are affected.

    Returns:
        The new model, on the device and in the mode of `model`, and a mask (M,) of the nodes that the old trie had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grafted = Seq2Seq(model.config, new, model.input_shape)
    origin = _origin(old, new)
    grafted.stem.load_state_dict(model.stem.state_dict())
    grafted.summarise.load_state_dict(model.summarise.state_dict())
    grafted.encoder.load_state_dict(model.encoder.state_dict())
    grafted.decoder.graft(model.decoder)
    grafted.head.graft(model.head, origin)
    return grafted.to(next(model.parameters()).device).train(model.training), origin != NONE


def _origin(old: Tensor, new: Trie) -> Tensor:
    """The number (M,) that each node had in the old trie, NONE for nodes that are new."""
    origin = torch.full((new.num_nodes,), NONE)
    length = min(old.shape[1], new.max_length)
    before, after = old[:, :length], new.nodes[: len(old), :length]
    both = (before != NONE) & (after != NONE)
    origin[after[both]] = before[both]
    return origin
