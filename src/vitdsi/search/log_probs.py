"""The log-probabilities of given ids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Memory, Seq2Seq


@torch.no_grad()
def log_probs_of(
    model: Seq2Seq, memory: Memory, embedding: Tensor, trie: Trie, ids: Tensor, depth: int | None = None
) -> Tensor:
    """Return log p(id | image) in nats (B, K), as `vitdsi.search.best_first` defines it, for ids (B, K) of each image.

    Args:
        model: the model.
        memory: the memory that `Seq2Seq.encode` returned.
        embedding: (B, embedding_dim), the embeddings that it returned.
        trie: the trie of the ids. They may be removed, or outside of a filter.
        ids: the ids; where they are NONE, the result is -inf.
        depth: how many tokens of each id count, so that the result is that of its prefix; None is all.

    Ids that begin alike share the steps of their common prefix.
    """
    device = embedding.device
    total = torch.zeros(ids.shape, device=device)
    if not ids.numel():
        return total
    nodes, codes = (path.to(device) for path in trie.tree.paths_of(ids.clamp(min=0).cpu()))
    state, read = model.start(memory), torch.full_like(ids, model.vocabulary.bos)
    node_of = torch.zeros_like(ids)  # the place of the node of each id among those of the last step
    for place in range(trie.max_length if depth is None else depth):
        at, written = nodes[..., place], codes[..., place]
        columns, places = _distinct(at.clamp(min=0))
        state.select(node_of.gather(1, columns))
        inside = at.clamp(min=0).gather(1, columns)
        scores = model.step(read.gather(1, columns), inside, place, embedding, state).float()
        branches = trie.tree.children_of(inside.cpu()).to(device) != NONE
        log_probs = scores.masked_fill(~branches, -torch.inf).log_softmax(-1)
        tokens = log_probs.shape[-1]
        chosen = log_probs.flatten(1).gather(1, places * tokens + written.clamp(max=tokens - 1))
        total += torch.where(at != NONE, chosen, 0.0)
        read, node_of = written, places
    return total.masked_fill(ids == NONE, -torch.inf)


def _distinct(nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for nodes (B, K), a column (B, D) of each distinct one in a row, and the place (B, K) of each in D.

    Rows with fewer distinct nodes are filled up with the first column.
    """
    ordered, order = nodes.sort(dim=1)
    number = F.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(1), (1, 0))
    columns = order.new_zeros(len(nodes), int(number.max()) + 1).scatter_(1, number, order)
    return columns, torch.empty_like(order).scatter_(1, order, number)
