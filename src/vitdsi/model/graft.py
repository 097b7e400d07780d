"""Grafting: a model for a changed trie that keeps what the old model learned."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq


@torch.no_grad()
def graft(
    model: Seq2Seq, old: Trie, new: Trie, seed: int, ids: Tensor | None = None
) -> tuple[Seq2Seq, Tensor]:
    """A model over the trie `new` with the weights of `model`.

    Weights of a node move with the prefix that leads to the node, and those of an id with the id. What the old model
    does not have starts as in a new model: nodes and ids that are new, and positions of tokens beyond its longest id.

    Args:
        old: the trie of `model`, of the same base.
        seed: seeds the weights that are new. No other random draws are affected.
        ids: (N,) the number that each id of `new` had in the old trie. None keeps the numbers, and further ids are new.

    Returns:
        The new model, on the device and in the mode of `model`, and a mask (M,) of the nodes that the old trie had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grafted = Seq2Seq(model.config, new, model.input_shape, model.row_bytes)
    origin = _origin(old, new)
    grafted.stem.load_state_dict(model.stem.state_dict())
    grafted.summarise.load_state_dict(model.summarise.state_dict())
    grafted.encoder.load_state_dict(model.encoder.state_dict())
    grafted.decoder.graft(model.decoder)
    grafted.head.graft(model.head, origin, ids)
    return grafted.to(next(model.parameters()).device).train(model.training), origin != NONE


def _origin(old: Trie, new: Trie) -> Tensor:
    """The number (M,) that each node, by its prefix, had in the old trie; NONE for nodes that are new."""
    parents, tokens, depths = new.parents
    origin = torch.where(depths == 0, 0, NONE)
    for depth in range(1, new.max_length):
        nodes = torch.nonzero(depths == depth).squeeze(1)
        above = origin[parents[nodes]]
        found = old.tree.children_of(above.clamp(min=0), tokens[nodes])
        origin[nodes] = torch.where(above == NONE, NONE, found).clamp(min=NONE)
    return origin
