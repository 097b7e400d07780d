"""Constrained beam search: the most probable ids of each image. It knows no images, only inputs and a trie."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import NONE, Trie, leaf


def beam_search(model: Seq2Seq, inputs: Tensor, trie: Trie, beam_size: int) -> tuple[Tensor, Tensor]:
    """The best ids of every image.

    At each step probabilities are renormalised over the tokens that the trie allows, so they sum to 1 over all live
    ids; with beam_size >= N the search is exhaustive.

    Args:
        inputs: (B, *input_shape).
        trie: the live ids, on the model's device.
        beam_size: prefixes kept an image.

    Returns:
        ids (B, K) int64 and log-probabilities (B, K), best first, K = min(beam_size, live ids). Places that the beam
        could not fill are -1 and -inf.
    """
    memory, summary = model.encode(inputs)
    batch = len(inputs)
    state = model.start(memory)
    # a beam stands in an inner node (>= 0), on a leaf (< NONE), or is empty (NONE)
    places = torch.zeros(batch, 1, dtype=torch.long, device=inputs.device)
    tokens = torch.full_like(places, model.vocabulary.bos)
    log_probs = torch.zeros(batch, 1, device=inputs.device)
    for position in range(trie.max_length):
        writing = places >= 0
        if not bool(writing.any()):
            break
        children = trie.children(places.clamp(min=0))
        scores = model.step(tokens, places, position, summary, state)
        allowed = (children != NONE) & writing[..., None]
        following = scores.float().masked_fill(~allowed, -torch.inf).log_softmax(-1)
        following = following.masked_fill(~allowed, -torch.inf) + log_probs[..., None]
        # a finished beam goes on as its own only continuation
        following[..., 0] = torch.where(places < NONE, log_probs, following[..., 0])
        children[..., 0] = torch.where(places < NONE, places, children[..., 0])
        width = following.shape[2]
        keep = min(beam_size, int((following > -torch.inf).flatten(1).sum(1).max()))
        log_probs, flat = following.flatten(1).topk(keep, dim=1)
        beam, tokens = flat // width, flat % width
        places = children.flatten(1).gather(1, flat).masked_fill(log_probs == -torch.inf, NONE)
        if bool((places >= 0).any()):
            state.select(beam)
    ids = torch.where(places < NONE, leaf(places), NONE)
    return ids, log_probs
