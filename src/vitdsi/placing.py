"""Codes for new images where the model itself would look for them.

An image whose code begins as the model already writes it needs no change of the weights that lead there, so nobody
else's id gets less likely by them. Only its last digit has to be learned.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vitdsi.beam import beam_search
from vitdsi.ids.descend import fill
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.tokens import Codes
from vitdsi.trie import NONE, Trie

_BEAM = 24


def place(model: Seq2Seq, trie: Trie, inputs: Tensor, summaries: Tensor, length: int) -> Codes:
    """Codes (n, length) for images (n, *input_shape): a free digit in the most probable node that has one, or where
    more images want it than it has, and `length` allows, a free branch of a node that they open below it.

    Rows of PAD for images whose most probable nodes are all full. The weights and the trie stay as they are.
    """
    base = trie.vocabulary.base
    free = [np.flatnonzero(row[:base] == NONE) for row in trie.child.numpy()]
    wanted: dict[int, list[int]] = {}
    prefixes: dict[int, list[int]] = {}
    for i, nodes in enumerate(_likely(model, trie, inputs)):
        for node, sibling, depth in nodes:
            inside = wanted.setdefault(node, [])
            if len(inside) < len(free[node]) * base ** (length - depth - 1):
                inside.append(i)
                prefixes[node] = trie.codes[sibling, :depth].tolist()
                break
    codes = np.full((len(inputs), length), trie.vocabulary.pad, dtype=np.int64)
    for node, prefix in prefixes.items():
        inside = wanted[node]
        codes[inside] = fill(prefix, free[node], summaries[inside].numpy(), base, length)
    return codes


@torch.inference_mode()
def _likely(model: Seq2Seq, trie: Trie, inputs: Tensor) -> Iterator[list[tuple[int, int, int]]]:
    """For each image, the nodes with the most probable ids, most probable first: (node, one of its ids, depth)."""
    device = next(model.parameters()).device
    depths = (trie.nodes != NONE).sum(1) - 1
    for part in torch.split(inputs, 64):
        ids, log_probs = (x.cpu() for x in beam_search(model, part.to(device), trie, _BEAM))
        for found, scores in zip(ids, log_probs.exp(), strict=True):
            mass: dict[int, float] = {}
            place: dict[int, tuple[int, int]] = {}
            for i, score in zip(found[found != NONE].tolist(), scores.tolist(), strict=False):
                depth = int(depths[i])
                node = int(trie.nodes[i, depth])
                mass[node] = mass.get(node, 0.0) + score
                place[node] = (i, depth)
            yield [(node, *place[node]) for node in sorted(mass, key=mass.__getitem__, reverse=True)]
