"""Constrained beam search: ids of a trie that are probable for each query."""

from __future__ import annotations

from torch import Tensor

from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.best_first import best_first_search


def beam_search(model: Seq2Seq, inputs: Tensor, trie: Trie, beam_size: int) -> tuple[Tensor, Tensor]:
    """Find probable ids of each query with a beam, which is the first part of a best-first search.

    With beam_size >= N the search is exhaustive.

    Args:
        model: the model.
        inputs: (B, *input_shape).
        trie: the ids to choose from: all live ones, or a restriction to some of them.
        beam_size: the number of prefixes that are kept for each query.

    Returns:
        Ids (B, K) int64 and log-probabilities (B, K), best first, with K = min(beam_size, number of ids in the trie).
        Entries that the beam could not fill are -1 and -inf.
    """
    memory, embedding = model.encode(inputs)
    found = best_first_search(
        model, memory, embedding, trie, beam_size, beam_size=beam_size, max_expansions=0
    )
    return found.ids, found.log_probs
