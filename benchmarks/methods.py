"""The methods of the quality benchmark: the peers, the product, and its ablation ladder.

A method is fitted on a cell and returns a search function. Methods of the product that differ only in the options of
the search share one index.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cell import Cell
from shared import fit
from torch import Tensor

from vitdsi import ImageIndex
from vitdsi.collection.storage import write_index
from vitdsi.config import ModelConfig, load_config
from vitdsi.evaluation.peers import peer_named
from vitdsi.evaluation.peers.base import best
from vitdsi.ids.trie import Trie
from vitdsi.model.heads import HEADS, TrieHead
from vitdsi.search.evidence import evidence, relevance
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import IndexState

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
Search = Callable[[Tensor, int], Found]
"""(features (Q, F), k) -> ids (Q, k) and scores (Q, k), best first."""

ROWS = {
    "product": [],
    "product, labels, random ids": ["labels=folder", "ids.scheme=random"],
    "product, labels, clustered ids": ["labels=folder", "ids.scheme=clustered"],
}
_LADDER = {
    "no training": ["training.max_epochs=0", "training.learning_rate=1e-12"],
    "steering frozen": ["model.paper.head=unsteered"],
    "sampled target": ["training.paper.target=sampled"],
    "shared digit head": ["model.paper.head=digits"],
}
_OPTIONS = {
    "product": ("no likeness", "likeness alone"),
    "product, labels, random ids": ("no likeness", "likeness alone"),
}
_SCORED_AT_ONCE = 20_000  # ids of all queries that are ranked together
_BATCH = 64
_FIRST = 10  # results that may show what a photo shows


class UnsteeredTrieHead(TrieHead):
    """The trie head whose query stays the embedding of the image at every digit."""

    def __init__(self, config: ModelConfig, trie: Trie, row_bytes: int | None = None) -> None:
        super().__init__(config, trie, row_bytes)
        self.steer.requires_grad_(False)


@dataclass(frozen=True)
class Fitted:
    """A method after `fit`: how to search with it, and what it took."""

    search: Search
    facts: dict[str, Any]


def product_methods() -> dict[str, tuple[str, list[str], str]]:
    """Return the row, the settings and the search option of each method of the product, by name.

    Methods with the same settings follow each other.
    """
    methods: dict[str, tuple[str, list[str], str]] = {}
    for row, settings in ROWS.items():
        methods[row] = (row, settings, "")
        for option in _OPTIONS.get(row, ()):
            methods[f"{row}: {option}"] = (row, settings, option)
        for step, more in _LADDER.items() if row in _OPTIONS else ():
            methods[f"{row}: {step}"] = (row, [*settings, *more], "")
    return methods


def fit_peer(name: str, cell: Cell) -> Fitted:
    """Fit a peer on the features of a cell."""
    peer = peer_named(name)
    start = time.process_time()
    peer.fit(
        cell.indexed_features.numpy(),
        [photo.label or "" for photo in cell.indexed],
        cell.training_features.numpy(),
        [photo.label or "" for photo in cell.training],
    )
    seconds = time.process_time() - start
    facts = {"bytes an image": round(peer.bytes_per_image, 1), "fit s": round(seconds, 2)}
    return Fitted(lambda features, k: peer.search(features.numpy(), k), facts)


def fit_product(settings: list[str], cell: Cell) -> tuple[ImageIndex, dict[str, Any]]:
    """Build an index of a cell; features come from the cache, so that its time is that of everything else."""
    HEADS.setdefault("unsteered", UnsteeredTrieHead)
    config = load_config(overrides=[f"seed={cell.seed}", *settings])
    more: dict[str, Any] = {}
    if config.labels == "folder":
        more["queries"] = [photo.path for photo in cell.training]
        more["query_labels"] = [photo.label for photo in cell.training]
    start = time.process_time()
    index = fit(config, cell.indexed, None, **more)
    seconds = time.process_time() - start
    size = _saved_bytes(index) / cell.size
    facts = {"bytes an image": round(size, 1), "fit s": round(seconds, 2), "steps": index.report_.steps}
    return index, facts


def search_of(index: ImageIndex, option: str) -> Search:
    """Return the search function of an index with a search option, one of `_OPTIONS` or empty for the default."""
    state = index.state_
    if option == "likeness alone":
        return lambda features, k: _by_likeness(state, features, k)
    rerank = False if option == "no likeness" else None

    def search(features: Tensor, k: int) -> Found:
        options = SearchOptions(k=max(k, _FIRST), rerank=rerank)
        batch = max(1, min(_BATCH, _SCORED_AT_ONCE // k))
        parts = [rank(state, part, options) for part in torch.split(features, batch)]
        scores = np.concatenate([part.scores for part in parts])
        # What tells whether a photo is in the collection is the highest score among the first results.
        scores[:, 0] = scores[:, :_FIRST].max(1)
        return np.concatenate([part.ids for part in parts])[:, :k], scores[:, :k]

    return search


@torch.inference_mode()
def _by_likeness(state: IndexState, features: Tensor, k: int) -> Found:
    """Order all images by what the embeddings say of them, without the log-probability."""
    model, live = state.model, state.trie.live_ids()
    ids, scores = [], []
    for part in torch.split(features, _BATCH):
        _, embedding = model.encode(part)
        every = live.expand(len(part), -1)
        seen = evidence(state, every, torch.zeros(every.shape), embedding)
        columns, found = best(relevance(state, seen).numpy(), min(k, len(live)))
        ids.append(live.numpy()[columns])
        scores.append(found)
    return np.concatenate(ids), np.concatenate(scores)


def _saved_bytes(index: ImageIndex) -> int:
    """Bytes of the index on disk, without features, which are in the feature cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "i.dsi"
        write_index(path, replace(index.state_, features=None))
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
