"""From a list of images to everything training needs: inputs, ids, model, relevance, held-out views."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitdsi.config import IndexConfig
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.features import InputLoader, Loaded
from vitdsi.ids import IdContext, assign
from vitdsi.images import Source, altered_copy
from vitdsi.model.initialise import initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.relevance import nearest, neighbour_weights
from vitdsi.training.loop import Progress, TrainingData
from vitdsi.training.targets import GroupRelevance, Relevance, WeightedRelevance
from vitdsi.training.views import FeatureViews, PixelViews, Views
from vitdsi.trie import Trie

OnProgress = Callable[[Progress], None] | None

_HELD_OUT = 256  # rows that the held-out retrieval loss is measured on
_MAX_MEASURED = 400  # altered copies passed through the backbone, whatever the size of the collection


@dataclass(frozen=True)
class Collection:
    """The readable images of a collection: ids are positions in it."""

    image_ids: list[str]
    labels: list[str] | None
    sources: list[Source]
    inputs: Tensor
    hashes: list[str]
    skipped: list[ImageReadError]

    def duplicates(self) -> list[list[str]]:
        """Groups of image_ids whose files have the same bytes."""
        groups: dict[str, list[str]] = {}
        for image_id, name in zip(self.image_ids, self.hashes, strict=True):
            if name:
                groups.setdefault(name, []).append(image_id)
        return [group for group in groups.values() if len(group) > 1]


def read_collection(
    image_ids: Sequence[str],
    sources: Sequence[Source],
    labels: Sequence[str] | None,
    loader: InputLoader,
    on_progress: OnProgress,
) -> Collection:
    """Decode every image, and run the backbone over those that the cache does not hold."""
    loaded = loader.load(sources, progress=_reporter("reading", on_progress))
    kept = loaded.kept.tolist()
    return Collection(
        [image_ids[i] for i in kept],
        None if labels is None else [labels[i] for i in kept],
        [sources[i] for i in kept],
        loaded.inputs,
        loaded.hashes,
        loaded.errors,
    )


def default_base(scheme: str, count: int) -> int:
    """Decimal digits for numbers, as in the paper; for semantic ids the power of two that writes most collections
    in two digits with clusters half full (measured in EXPERIMENTS.md: fewer, wider steps lose fewer neighbours)."""
    if scheme not in ("semantic", "residual"):
        return 10
    return min(256, max(16, 1 << math.ceil(math.log2(math.sqrt(3 * max(count, 1))))))


def build_trie(config: IndexConfig, collection: Collection) -> Trie:
    """Give every image its code."""
    count = len(collection.image_ids)
    base = config.ids.base or default_base(config.ids.scheme, count)
    features = _summary(collection.inputs).numpy() if config.model.stem != "pixels" else None
    context = IdContext(
        count,
        base,
        seed=config.seed,
        variable_length=config.ids.variable_length,
        labels=collection.labels,
        features=features,
    )
    return Trie(assign(config.ids.scheme, context), base)


def build_model(config: IndexConfig, trie: Trie, inputs: Tensor) -> Seq2Seq:
    """A seeded model, initialised from the features where there are any."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Seq2Seq(config.model, trie, tuple(inputs.shape[1:]))
    initialise(model, trie, inputs, config.seed)
    return model


def training_data(
    config: IndexConfig,
    trie: Trie,
    collection: Collection,
    queries: Collection | None,
    loader: InputLoader,
    on_progress: OnProgress,
) -> TrainingData:
    """Views, relevance and the held-out part."""
    count = len(collection.image_ids)
    rng = np.random.default_rng(config.seed)
    held_out = np.empty(0, dtype=np.int64)
    extra = 0
    inputs = collection.inputs
    if queries is not None and len(queries.image_ids):
        extra = len(queries.image_ids)
        inputs = torch.cat([inputs, queries.inputs])
        held_out = rng.permutation(np.arange(count, count + extra))[: min(_HELD_OUT, extra // 10)]
    relevance = _relevance(config, trie, collection, queries, inputs)
    differences, view_rows, view_inputs = _measure_views(config, collection, loader, rng, on_progress)
    views: Views = PixelViews(inputs) if config.model.stem == "pixels" else FeatureViews(inputs, differences)
    # the paper's retrieval phase sees its own photos only; a joint batch learns from all
    only_extra = config.labels == "folder" and extra and config.training.schedule == "sequential"
    rows = np.setdiff1d(np.arange(count if only_extra else 0, count + extra), held_out)
    if len(held_out):
        view_rows, view_inputs = torch.from_numpy(held_out), views.clean(torch.from_numpy(held_out))
    return TrainingData(trie, torch.arange(count), views, relevance, torch.from_numpy(rows), view_inputs, view_rows)


def _relevance(
    config: IndexConfig, trie: Trie, collection: Collection, queries: Collection | None, inputs: Tensor
) -> Relevance:
    if config.labels == "folder":
        if collection.labels is None:
            raise UsageError("labels=folder needs class folders, or labels given to fit()")
        known = {label: i for i, label in enumerate(sorted(set(collection.labels)))}
        labels = list(collection.labels)
        if queries is not None:
            unknown = sorted(set(queries.labels or []) - set(known))
            if queries.labels is None or unknown:
                given = "no classes" if queries.labels is None else f"classes {', '.join(unknown[:5])}"
                raise UsageError(f"the queries have {given}; the indexed images have {', '.join(known)}")
            labels += queries.labels
        groups = torch.tensor([known[label] for label in labels])
        return GroupRelevance(trie, groups[: len(collection.image_ids)], groups)
    count = len(collection.image_ids)
    summary = _summary(inputs)
    k = config.training.neighbours
    own = torch.arange(count)[:, None]
    if count == 1:
        return WeightedRelevance(torch.zeros(len(inputs), 1, dtype=torch.long), torch.ones(len(inputs), 1))
    if config.model.stem == "pixels":
        # no teacher without a backbone: an altered copy should find its source
        return WeightedRelevance(own, torch.ones(count, 1))
    ids, cosines = nearest(summary[:count], summary[:count], k, exclude_own=True)
    mass = config.training.own_mass
    ids = torch.cat([own, ids], dim=1)
    weights = torch.cat(
        [torch.full((count, 1), mass), (1 - mass) * neighbour_weights(cosines, config.training.temperature)],
        dim=1,
    )
    if len(inputs) > count:
        more, cosines = nearest(summary[count:], summary[:count], ids.shape[1], exclude_own=False)
        ids = torch.cat([ids, more])
        weights = torch.cat([weights, neighbour_weights(cosines, config.training.temperature)])
    return WeightedRelevance(ids, weights)


def _measure_views(
    config: IndexConfig,
    collection: Collection,
    loader: InputLoader,
    rng: np.random.Generator,
    on_progress: OnProgress,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pass altered copies of a few images through the loader: half teaches what an alteration does to features
    (D, *shape), half is held out as rows (H,) and inputs (H, *shape)."""
    count = len(collection.sources)
    wanted = min(count, _MAX_MEASURED, max(32, round(count * config.training.measured_views)))
    chosen = np.sort(rng.choice(count, wanted, replace=False))

    def alter(image: Image.Image, index: int) -> Image.Image:
        return altered_copy(image, np.random.default_rng([config.seed, index]))

    loaded: Loaded = loader.load(
        [collection.sources[i] for i in chosen], alter=alter, progress=_reporter("views", on_progress)
    )
    rows = torch.from_numpy(chosen[loaded.kept])
    inputs = loaded.inputs.float() if config.model.stem != "pixels" else loaded.inputs.float() / 255
    if config.model.stem == "pixels":
        return torch.empty(0), rows[:_HELD_OUT], inputs[:_HELD_OUT]
    held = min(len(rows) // 4, _HELD_OUT)
    differences = inputs[held:] - collection.inputs[rows[held:]].float()
    return differences, rows[:held], inputs[:held]


def _summary(inputs: Tensor) -> Tensor:
    """One vector an image (N, F) from features: the pooled vector, or the mean of a map's cells."""
    return inputs.float() if inputs.dim() == 2 else inputs.float().mean(1)


def _reporter(phase: str, on_progress: OnProgress) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    report = on_progress
    return lambda done, total: report(Progress(phase, done, total))


def read_folder(root: Path, labels: str) -> tuple[list[str], list[Source], list[str] | None]:
    """image_ids, files and, with labels="folder", classes of a folder."""
    from vitdsi.datasets.folder import scan_folder

    records = scan_folder(root, "folder" if labels == "folder" else "none")
    classes = [record.label or "" for record in records] if labels == "folder" else None
    return [record.image_id for record in records], [record.path for record in records], classes
