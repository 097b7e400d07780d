"""Codes for new images: placed by the model if possible, otherwise by the id scheme.

A new code begins with a prefix that the model already predicts for the image. The weights along the prefix need no
change, so no existing id becomes less probable, and only the last digit has to be learned.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.backbones.features import are_pixels, pooled
from vitdsi.collection.read import Collection
from vitdsi.ids import Growth, scheme_named
from vitdsi.ids.capacity import length_for
from vitdsi.ids.codes import Codes
from vitdsi.ids.insertion import codes_below
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.beam import beam_search
from vitdsi.state import IndexState

BEAM_SIZE = 24
_BATCH = 64


def places_by_model(state: IndexState) -> bool:
    """Return whether the model can place images: if ids follow the features and the head keeps vectors of images."""
    return state.model.head.compares and scheme_named(state.resolved.ids.scheme).follows_features


def codes_for(state: IndexState, fresh: Collection, embeddings: Tensor) -> Codes:
    """Return the codes (N + n, L) of all images, with those of `fresh` added. Codes of live images do not change.

    Removed images whose places are taken lose their codes; the rows of these are PAD.

    Args:
        embeddings: (n, embedding_dim) embeddings of the new images.

    Raises:
        UsageError: no code is free.
    """
    trie, pad, base = state.trie, state.trie.vocabulary.pad, state.trie.vocabulary.base
    codes = trie.codes.numpy()
    new: Codes = np.full((len(fresh), trie.max_length), pad, dtype=np.int64)
    live = trie.live.numpy()
    if places_by_model(state):
        length = length_for(codes, live, base, len(fresh))
        new = place(state.model, trie, fresh.features, embeddings, length)
    unplaced = np.flatnonzero(new[:, 0] == pad)
    codes = _stack(codes, new, pad)
    if len(unplaced):
        vectors, new_vectors = _vectors(state, embeddings, fresh.features)
        growth = Growth(
            codes,
            np.r_[live, np.ones(len(fresh), dtype=bool)],
            len(unplaced),
            base,
            seed=state.resolved.seed + len(trie.codes),
            features=None
            if vectors is None or new_vectors is None
            else np.concatenate([vectors, new_vectors]),
            new_features=None if new_vectors is None else new_vectors[unplaced],
            labels=None if state.labels is None else [*state.labels, *(fresh.labels or [])],
            new_labels=None if fresh.labels is None else [fresh.labels[i] for i in unplaced],
        )
        codes = _stack(codes, scheme_named(state.resolved.ids.scheme).grow(growth), pad)
        codes[len(trie.codes) + unplaced] = codes[len(codes) - len(unplaced) :]
        codes = codes[: len(trie.codes) + len(fresh)]
    codes[trie.clashing(codes[len(trie.codes) :])] = pad
    return codes


def place(model: Seq2Seq, trie: Trie, features: Tensor, embeddings: Tensor, length: int) -> Codes:
    """Choose codes (n, length) for images with stored features (n, *shape): a free digit in the most probable node that
    has one. Digits of removed images are free, too. If more images want a node than it has free digits, and `length`
    allows it, new nodes are made below it.

    The row of an image whose probable nodes are all full is PAD. The weights and the trie do not change.
    """
    base = trie.vocabulary.base
    free: dict[int, npt.NDArray[np.int64]] = {}
    wanted: dict[int, list[int]] = {}
    prefixes: dict[int, list[int]] = {}
    for i, nodes in enumerate(_likely_nodes(model, trie, features)):
        for node, sibling, depth in nodes:
            inside = wanted.setdefault(node, [])
            if node not in free:
                free[node] = np.flatnonzero(~trie.allowed[node, :base].numpy())
            if len(inside) < len(free[node]) * base ** (length - depth - 1):
                inside.append(i)
                prefixes[node] = trie.tree.codes_of(torch.tensor(sibling))[:depth].tolist()
                break
    codes = np.full((len(features), length), trie.vocabulary.pad, dtype=np.int64)
    for node, prefix in prefixes.items():
        inside = wanted[node]
        codes[inside] = codes_below(prefix, free[node], embeddings[inside].numpy(), base, length)
    return codes


@torch.inference_mode()
def _likely_nodes(model: Seq2Seq, trie: Trie, features: Tensor) -> Iterator[list[tuple[int, int, int]]]:
    """Yield for each image the nodes of its most probable ids, most probable first: (node, one of its ids, depth).

    Removed ids count, because they say where the model would look for the image.
    """
    trie = trie.with_removed()
    device = next(model.parameters()).device
    for part in torch.split(features, _BATCH):
        ids, log_probs = (x.cpu() for x in beam_search(model, part.to(device), trie, BEAM_SIZE))
        for found, probabilities in zip(ids, log_probs.exp(), strict=True):
            mass: dict[int, float] = {}
            at: dict[int, tuple[int, int]] = {}
            found = found[found != NONE]
            nodes, _ = trie.tree.paths_of(found)
            depths = (nodes != NONE).sum(1) - 1
            last = nodes.gather(1, depths[:, None]).squeeze(1)
            steps = zip(found.tolist(), probabilities.tolist(), depths.tolist(), last.tolist(), strict=False)
            for i, probability, depth, node in steps:
                mass[node] = mass.get(node, 0.0) + probability
                at[node] = (i, depth)
            yield [(node, *at[node]) for node in sorted(mass, key=mass.__getitem__, reverse=True)]


_Vectors = npt.NDArray[np.float32]


def _vectors(
    state: IndexState, embeddings: Tensor, features: Tensor
) -> tuple[_Vectors | None, _Vectors | None]:
    """Return vectors (N, F) of the existing images and (n, F) of the new ones for the id scheme, or None without any.

    If the features were dropped, the vectors of the head replace those of the existing images.
    """
    if are_pixels(features):
        return None, None
    if state.features is not None:
        return pooled(state.features).numpy(), pooled(features).numpy()
    if not state.model.head.compares:
        return None, None
    live = state.trie.live_ids()
    vectors = torch.zeros(len(state.trie.codes), embeddings.shape[1])
    vectors[live] = state.model.head.vectors(live).detach().cpu()
    return vectors.numpy(), embeddings.numpy()


def _stack(old: Codes, new: Codes, pad: int) -> Codes:
    """Stack codes into (N + n, L), padded to the longer of both."""
    length = max(old.shape[1], new.shape[1])
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, length - part.shape[1])), constant_values=pad) for part in (old, new)]
    )
