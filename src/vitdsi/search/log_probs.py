"""The log-probabilities of given ids."""

from __future__ import annotations

import torch
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
    """
    device = embedding.device
    known = ids.clamp(min=0).cpu()
    nodes, codes = (path.to(device) for path in trie.tree.paths_of(known))
    state = model.start(memory)
    tokens, at = torch.full_like(codes[:, :1, 0], model.vocabulary.bos), nodes[:, :1, 0]
    total = torch.zeros(ids.shape, device=device)
    if not ids.numel():
        return total
    for place in range(trie.max_length if depth is None else depth):
        scores = model.step(tokens, at, place, embedding, state).float()
        branches = trie.tree.children_of(at.cpu()).to(device) != NONE
        scores = scores.masked_fill(~branches, -torch.inf).log_softmax(-1).expand(-1, ids.shape[1], -1)
        written = nodes[..., place] != NONE
        digits = codes[..., place : place + 1].clamp(max=scores.shape[-1] - 1)
        total += torch.where(written, scores.gather(2, digits).squeeze(2), 0.0)
        if place == 0:  # All ids share the first step.
            state.select(torch.zeros_like(ids))
        if place + 1 < trie.max_length:
            tokens, at = codes[..., place], nodes[..., place + 1].clamp(min=0)
    return total.masked_fill(ids == NONE, -torch.inf)
