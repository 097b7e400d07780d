"""Indexes made from features alone, in a second: no photos, no backbone."""

from __future__ import annotations

import functools

import torch

from vitdsi.build import Alterations, Collection, build_model, build_trie, training_data
from vitdsi.config import load_config
from vitdsi.metadata import MetadataStore
from vitdsi.storage import Stored
from vitdsi.training.loop import train

DIM = 48
CLASSES = 5
_SMALL = [
    "device=cpu",
    "model.embed_dim=32",
    "model.mlp_dim=32",
    "model.head_dim=32",
    "model.prototypes=4",
    "training.batch_size=64",
    "training.warmup_steps=10",
    "training.evaluate_every=20",
    "training.max_epochs=60",
]


def features(count: int, seed: int) -> torch.Tensor:
    """(count, DIM) around CLASSES centres, image i at centre i % CLASSES."""
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return (centres[torch.arange(count) % CLASSES] + 0.7 * noise).half()


def collection(count: int, seed: int = 0, *, name: str = "old", labels: bool = False) -> Collection:
    generator = torch.Generator().manual_seed(seed)
    return Collection(
        [f"{name}/{i:03}.jpg" for i in range(count)],
        [f"class {i % CLASSES}" for i in range(count)] if labels else None,
        [b""] * count,
        features(count, seed),
        torch.randint(0, 256, (count, 32, 32), generator=generator, dtype=torch.uint8),
        [f"hash {name} {i}" for i in range(count)],
        [],
        {i: {"width": 100 + i, "album": f"a{i % 3}"} for i in range(count)},
    )


@functools.cache
def stored(count: int = 60, scheme: str = "semantic", base: int = 8, *, labels: bool = False) -> Stored:
    """A trained index. The same object is given again, so do not change its tensors in place."""
    relevance = "folder" if labels else "none"
    config = load_config(
        overrides=[*_SMALL, f"ids.scheme={scheme}", f"ids.base={base}", f"labels={relevance}"]
    )
    given = collection(count, labels=labels)
    trie = build_trie(config, given)
    model = build_model(config, trie, given.inputs)
    differences = 0.1 * torch.randn(20, DIM, generator=torch.Generator().manual_seed(5))
    rows = torch.arange(8)
    alterations = Alterations(differences, rows, given.inputs[rows].float() + differences[:8])
    train(model, training_data(config, trie, given, None, alterations), config.training, seed=0)
    return Stored(
        config,
        model.eval(),
        trie,
        given.image_ids,
        given.labels,
        given.hashes,
        given.inputs,
        given.thumbnails,
        differences.half(),
        MetadataStore.create(given.facts),
        {"images": count},
    )
