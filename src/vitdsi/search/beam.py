"""Constrained beam search: the most probable ids of a trie for each query."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie, leaf
from vitdsi.model.seq2seq import Memory, Seq2Seq


def beam_search(model: Seq2Seq, inputs: Tensor, trie: Trie, beam_size: int) -> tuple[Tensor, Tensor]:
    """Find the most probable ids of each query.

    At each step probabilities are renormalised over the tokens that the trie allows, so they sum to 1 over all ids
    of the trie. With beam_size >= N the search is exhaustive.

    Args:
        inputs: (B, *input_shape).
        trie: the ids to choose from, on the device of the model: all live ones, or a restriction to some of them.
        beam_size: the number of prefixes that are kept for each query.

    Returns:
        Ids (B, K) int64 and log-probabilities (B, K), best first, with K = min(beam_size, number of ids in the trie).
        Entries that the beam could not fill are -1 and -inf.
    """
    return decode(model, *model.encode(inputs), trie, beam_size)


def decode(
    model: Seq2Seq, memory: Memory, embedding: Tensor, trie: Trie, beam_size: int, results: int | None = None
) -> tuple[Tensor, Tensor]:
    """Run `beam_search` on queries that were encoded already.

    Args:
        memory: the memory that `Seq2Seq.encode` returned.
        embedding: (B, embedding_dim), the embeddings that it returned.
        trie, beam_size: as for `beam_search`.
        results: the number of ids that are kept at the last digit; None keeps beam_size.
    """
    batch = len(embedding)
    state = model.start(memory)
    # The place of a beam is an inner node (>= 0), a leaf (< NONE), or NONE for an empty beam.
    places = torch.zeros(batch, 1, dtype=torch.long, device=embedding.device)
    tokens = torch.full_like(places, model.vocabulary.bos)
    log_probs = torch.zeros(batch, 1, device=embedding.device)
    for position in range(trie.max_length):
        writing = places >= 0
        num_writing = int(writing.sum())
        if not num_writing:
            break
        children = trie.children(places.clamp(min=0))
        scores = model.step(tokens, places, position, embedding, state).float()
        following = scores.masked_fill(children == NONE, -torch.inf).log_softmax(-1) + log_probs[..., None]
        if num_writing < places.numel():
            following = following.masked_fill(~writing[..., None], -torch.inf)
            # A finished beam is kept as its own only continuation.
            following[..., 0] = torch.where(places < NONE, log_probs, following[..., 0])
            children[..., 0] = torch.where(places < NONE, places, children[..., 0])
        width = following.shape[2]
        kept = beam_size if results is None or position + 1 < trie.max_length else results
        log_probs, flat = following.flatten(1).topk(min(kept, places.shape[1] * width), dim=1)
        beam, tokens = flat // width, flat % width
        places = children.flatten(1).gather(1, flat).masked_fill(log_probs == -torch.inf, NONE)
        if position + 1 < trie.max_length:
            state.select(beam)
    found = int((log_probs > -torch.inf).sum(1).max())
    places, log_probs = places[:, :found], log_probs[:, :found]
    ids = torch.where(places < NONE, leaf(places), NONE)
    return ids, log_probs
