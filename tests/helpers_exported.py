"""Random models with torch as the decoder, read by the NumPy parts of `vitdsi.exported`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from helpers_codes import small_model

from vitdsi.export.graphs import _stacked, _Step
from vitdsi.exported.decoding import Decoding
from vitdsi.exported.heads import DigitHead, FloatRows, Head, TrieHead
from vitdsi.exported.trie import ExportedTrie
from vitdsi.ids.trie import Trie
from vitdsi.model.heads import TrieHead as TorchTrieHead
from vitdsi.model.seq2seq import Seq2Seq

Array = npt.NDArray[Any]


class TorchStep:
    """One step of the decoder, by torch."""

    def __init__(self, model: Seq2Seq) -> None:
        self._step = _Step(model)

    @torch.no_grad()
    def __call__(
        self, tokens: Array, depth: int, embedding: Array, memory: Array, past: Array
    ) -> tuple[Array, Array]:
        given, present = self._step(
            torch.from_numpy(tokens)[None],
            torch.tensor([depth]),
            torch.from_numpy(embedding)[None],
            torch.from_numpy(memory)[:, None],
            torch.from_numpy(past)[:, None],
        )
        return given[0].numpy(), present[:, 0].numpy()


def random_model(trie: Trie, head: str = "trie", seed: int = 0, **settings: Any) -> Seq2Seq:
    return small_model(trie, head, seed=seed, **settings).float()


def exported_trie(trie: Trie) -> ExportedTrie:
    return ExportedTrie(trie.child.numpy().astype(np.int32), trie.live.numpy())


def exported_head(model: Seq2Seq, trie: ExportedTrie) -> Head:
    head = model.head
    if not isinstance(head, TorchTrieHead):
        return DigitHead()
    values = {name: value.numpy() for name, value in head.state_dict().items()}
    return TrieHead(
        trie.child,
        FloatRows(values["leaves.weight"]),
        values["leaf_bias"],
        FloatRows(values["branches.weight"]),
        values["branch_bias"],
    )


@torch.no_grad()
def decoding(model: Seq2Seq, trie: ExportedTrie, features: torch.Tensor) -> Decoding:
    """The decoding of one query with these features (F,)."""
    memory, embedding = model.encode(features[None])
    return Decoding(
        TorchStep(model),
        exported_head(model, trie),
        trie,
        _stacked(memory)[:, 0].numpy(),
        embedding[0].numpy(),
        model.vocabulary.bos,
    )
