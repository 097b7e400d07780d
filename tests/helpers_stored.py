"""Indexes made from features alone, in a second: no photos, no backbone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vitdsi.backbones.reader import ReadPhotos
from vitdsi.collection.add import add_new
from vitdsi.collection.build import learn
from vitdsi.collection.read import Collection
from vitdsi.collection.resolve import resolve_config
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.config import load_config
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.assign import assign_ids
from vitdsi.model.initialise import make_model
from vitdsi.photos.keypoints import DESCRIPTOR_BYTES, Keypoints, PhotoKeypoints
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings
from vitdsi.state import BuildReport, IndexState
from vitdsi.training.alterations import Alterations

DIM = 48
CLASSES = 5
_SMALL = [
    "training.hard_views=0",
    "device=cpu",
    "model.embed_dim=32",
    "model.mlp_dim=32",
    "model.embedding_dim=32",
    "model.prototypes=4",
    "training.batch_size=64",
    "training.paper.warmup_steps=10",
    "training.evaluate_every=20",
    "training.max_epochs=60",
]


def features(count: int, seed: int) -> torch.Tensor:
    """(count, DIM) around CLASSES centres, image i at centre i % CLASSES."""
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return (centres[torch.arange(count) % CLASSES] + 0.7 * noise).half()


def collection(count: int, seed: int = 0, *, name: str = "old", labels: bool = False) -> Collection:
    """Images that are never opened, with features, thumbnails and facts."""
    generator = torch.Generator().manual_seed(seed)
    return Collection(
        [f"{name}/{i:03}.jpg" for i in range(count)],
        [f"class {i % CLASSES}" for i in range(count)] if labels else None,
        [str(i).encode() for i in range(count)],
        features(count, seed),
        torch.randint(0, 256, (count, 32, 32), generator=generator, dtype=torch.uint8),
        [content(name, i) for i in range(count)],
        facts={i: {"width": 100 + i, "album": f"a{i % 3}"} for i in range(count)},
    )


def content(name: str, i: int) -> str:
    """The content hash of an image of `collection`."""
    return hashlib.blake2b(f"{name} {i}".encode(), digest_size=16).hexdigest()


def keypoints(count: int, seed: int = 0) -> Keypoints:
    """Random keypoints of images, from none to four of each."""
    rng = np.random.default_rng(seed)
    return Keypoints.of(
        [
            PhotoKeypoints(
                rng.integers(0, 256, (i % 5, DESCRIPTOR_BYTES), dtype=np.uint8),
                rng.integers(0, 65536, (i % 5, 2), dtype=np.uint16),
                (64, 48),
            )
            for i in range(count)
        ]
    )


class AlteredReader:
    """Gives noisy features of the images of a collection, whose sources are their positions."""

    cache_folder = None

    def __init__(self, given: Collection) -> None:
        self.features = given.features

    def recall(self, hashes: Sequence[str]) -> tuple[np.ndarray, torch.Tensor]:
        return np.zeros(len(hashes), dtype=bool), torch.empty(len(hashes), DIM, dtype=torch.float16)

    def load(self, sources: Sequence[bytes], **_: Any) -> ReadPhotos:
        rows = [int(source) for source in sources]
        noise = torch.randn(len(rows), DIM, generator=torch.Generator().manual_seed(7))
        return ReadPhotos(
            np.arange(len(rows)),
            (self.features[rows].float() + 0.1 * noise).half(),
            torch.zeros(len(rows), 32, 32, dtype=torch.uint8),
            [""] * len(rows),
            [],
        )


@functools.cache
def stored(
    count: int = 60, scheme: str = "semantic", base: int = 8, *, labels: bool = False, former: bool = False
) -> IndexState:
    """A trained index. The same object is given again, so do not change its tensors in place.

    With `former` its embeddings have no part for categories, as up to format 3, and its rows are floats.
    """
    relevance = "folder" if labels else "none"
    requested = load_config(
        overrides=[
            *_SMALL,
            *(["model.category_dim=0", "vector_bytes=null"] if former else []),
            f"ids.scheme={scheme}",
            f"ids.base={base}",
            f"labels={relevance}",
        ]
    )
    given = collection(count, labels=labels)
    config = resolve_config(requested, count)
    trie = assign_ids(config, given.features, given.labels)
    differences = 0.1 * torch.randn(20, DIM, generator=torch.Generator().manual_seed(5))
    rows = torch.arange(8)
    alterations = Alterations(differences, rows, given.features[rows].float() + differences[:8])
    state = IndexState(
        requested,
        config,
        make_model(config.model, trie, given.features, config.seed),
        trie,
        Names.of(given.image_ids),
        None if given.labels is None else Labels.of(given.labels),
        ContentHashes.of(given.hashes),
        given.features,
        Thumbnails.of(given.thumbnails),
        differences.half(),
        MetadataStore.create(given.facts),
        BuildReport(count),
        keypoints=None if former else keypoints(count),
    )
    return learn(state, None, alterations)


def add(index: IndexState, count: int, seed: int = 1, name: str = "new") -> IndexState:
    """The index with `count` more images."""
    fresh = collection(count, seed, name=name, labels=index.labels is not None)
    return add_new(index, fresh, AlteredReader(fresh))  # type: ignore[arg-type]


def own_first(index: IndexState, ids: range) -> float:
    """IA@1 of some ids."""
    assert index.features is not None
    found = rankings(index, index.features[list(ids)], SearchOptions(k=1))[:, 0]
    return float((found == np.array(ids)).mean())
