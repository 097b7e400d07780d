"""Constrained beam search: the most probable ids of each image. It knows no images, only inputs and a trie."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie, leaf
from vitdsi.model.seq2seq import Memory, Seq2Seq


def beam_search(model: Seq2Seq, inputs: Tensor, trie: Trie, beam_size: int) -> tuple[Tensor, Tensor]:
    """The best ids of every image.

    At each step probabilities are renormalised over the tokens that the trie allows, so they sum to 1 over all ids
    of the trie; with beam_size >= N the search is exhaustive.

    Args:
        inputs: (B, *input_shape).
        trie: the ids to choose from, on the model's device: all live ones, or a restriction to some.
        beam_size: prefixes kept an image.

    Returns:
        ids (B, K) int64 and log-probabilities (B, K), best first, K = min(beam_size, ids to be
        found). Places that the beam could not fill are -1 and -inf.
    """
    return decode(model, *model.encode(inputs), trie, beam_size)


def decode(
    model: Seq2Seq, memory: Memory, summary: Tensor, trie: Trie, beam_size: int, results: int | None = None
) -> tuple[Tensor, Tensor]:
    """`beam_search` for images that were encoded already: memory and summary (B, head_dim) of `Seq2Seq.encode`.

    `results`: how many ids are kept of all that the last prefixes lead to; beam_size where it is None.
    """
    batch = len(summary)
    state = model.start(memory)
    # a beam stands in an inner node (>= 0), on a leaf (< NONE), or is empty (NONE)
    places = torch.zeros(batch, 1, dtype=torch.long, device=summary.device)
    tokens = torch.full_like(places, model.vocabulary.bos)
    log_probs = torch.zeros(batch, 1, device=summary.device)
    for position in range(trie.max_length):
        writing = places >= 0
        at_work = int(writing.sum())
        if not at_work:
            break
        children = trie.children(places.clamp(min=0))
        scores = model.step(tokens, places, position, summary, state).float()
        following = scores.masked_fill(children == NONE, -torch.inf).log_softmax(-1) + log_probs[..., None]
        if at_work < places.numel():
            following = following.masked_fill(~writing[..., None], -torch.inf)
            # a finished beam goes on as its own only continuation
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
