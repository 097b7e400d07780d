"""From a list of images to everything training needs: inputs, ids, model, relevance, held-out views."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitdsi.config import IndexConfig
from vitdsi.datasets.folder import scan_folder
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.facts import join, read_facts, read_sidecar
from vitdsi.features import InputLoader, Loaded
from vitdsi.ids import IdContext, assign
from vitdsi.images import Source, altered_copy
from vitdsi.model.initialise import initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.relevance import nearest, neighbour_weights, neighbours_among, teacher_weights
from vitdsi.training.loop import Progress, TrainingData
from vitdsi.training.targets import GroupRelevance, Relevance, WeightedRelevance
from vitdsi.training.views import FeatureViews, PixelViews, Views
from vitdsi.trie import Trie

OnProgress = Callable[[Progress], None] | None
Images = str | Path | Sequence[Source]
Metadata = str | Path | Mapping[str, Mapping[str, Any]]

_HELD_OUT = 256  # rows that the held-out retrieval loss is measured on
_MOST_IN_ROWS = 2**26
_NARROWEST = 32
_MAX_MEASURED = 512  # altered copies passed through the backbone, whatever the size of the collection


@dataclass(frozen=True)
class Collection:
    """The readable images of a collection: ids are positions in it.

    inputs and thumbnails are as in `features.Loaded`; facts: what is known about each image, by position.
    """

    image_ids: list[str]
    labels: list[str] | None
    sources: list[Source]
    inputs: Tensor
    thumbnails: Tensor
    hashes: list[str]
    skipped: list[ImageReadError]
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)

    def take(self, positions: Sequence[int]) -> Collection:
        """These images only, as positions 0, 1, ..."""
        return Collection(
            [self.image_ids[i] for i in positions],
            None if self.labels is None else [self.labels[i] for i in positions],
            [self.sources[i] for i in positions],
            self.inputs[list(positions)],
            self.thumbnails[list(positions)],
            [self.hashes[i] for i in positions],
            self.skipped,
            {new: self.facts[old] for new, old in enumerate(positions) if old in self.facts},
        )

    def named(self, prefix: str) -> Collection:
        """With `prefix` before each image_id."""
        return replace(self, image_ids=[prefix + image_id for image_id in self.image_ids])

    def duplicates(self) -> list[list[str]]:
        """Groups of image_ids whose files have the same bytes."""
        groups: dict[str, list[str]] = {}
        for image_id, name in zip(self.image_ids, self.hashes, strict=True):
            if name:
                groups.setdefault(name, []).append(image_id)
        return [group for group in groups.values() if len(group) > 1]


def read_images(
    images: Images,
    labels: Sequence[str] | None,
    loader: InputLoader,
    on_progress: OnProgress,
    *,
    by_folder: bool,
) -> Collection:
    """Decode a folder or a sequence of images, and run the backbone over those that the cache does not hold.

    by_folder: without `labels`, the first sub-folder of a folder is the class.
    Raises UsageError where the folder cannot be read or there are not as many labels as images.
    """
    found: list[str] | None = None
    sources: list[Source]
    if isinstance(images, (str, Path)):
        records = scan_folder(Path(images), "folder" if by_folder and labels is None else "none")
        names, sources = [record.image_id for record in records], [record.path for record in records]
        if by_folder and labels is None:
            found = [record.label or "" for record in records]
    else:
        sources = list(images)
        names = list(_names(sources))
    if labels is not None:
        if len(labels) != len(sources):
            raise UsageError(f"{len(labels)} labels were given for {len(sources)} images")
        found = list(labels)
    loaded = loader.load(sources, progress=_reporter("reading", on_progress))
    kept = loaded.kept.tolist()
    return Collection(
        [names[i] for i in kept],
        None if found is None else [found[i] for i in kept],
        [sources[i] for i in kept],
        loaded.inputs,
        loaded.thumbnails,
        loaded.hashes,
        loaded.errors,
    )


def _names(sources: Sequence[Source]) -> Iterator[str]:
    """image_ids of a sequence: the paths as given, positions for images without one; repeated ones are numbered."""
    seen: dict[str, int] = {}
    for position, source in enumerate(sources):
        name = Path(source).as_posix() if isinstance(source, (str, Path)) else f"{position:06d}"
        count = seen[name] = seen.get(name, 0) + 1
        yield name if count == 1 else f"{name}#{count}"


def with_facts(collection: Collection, metadata: Metadata | None) -> tuple[Collection, list[str]]:
    """The collection with what its files say about themselves and what `metadata` adds, which wins; and the names in
    `metadata` that no image has."""
    given = read_sidecar(Path(metadata)) if isinstance(metadata, (str, Path)) else metadata or {}
    more, unknown = join(collection.image_ids, given)
    facts = {
        i: {**(read_facts(source) if isinstance(source, (str, Path)) else {}), **more.get(i, {})}
        for i, source in enumerate(collection.sources)
    }
    return replace(collection, facts=facts), unknown


def default_base(scheme: str, count: int) -> int:
    """The power of two that writes most collections in two digits: numbers as they are, clusters half full (measured
    in EXPERIMENTS.md: fewer, wider steps lose fewer neighbours, and are learned faster)."""
    room = 3 if scheme in ("semantic", "residual") else 1
    return min(256, max(16, 1 << math.ceil(math.log2(math.sqrt(room * max(count, 1))))))


def sized(config: IndexConfig, count: int, queries: int = 0) -> IndexConfig:
    """The config with what the size of the collection decides: `count` images, and photos that train retrieval too.

    The trie head has a row of head_dim numbers for each branch, about two an image, so head_dim is halved until they
    are `_MOST_IN_ROWS` or fewer, but not below `_NARROWEST`: 384 up to 87,381 images, 48 from 349,526 on.
    Queries raise the share of retrieval examples, so that each photo is drawn as often, and the number of batches.
    Training without a limit of its own ends after `epochs_for` the images.
    """
    width = config.model.head_dim
    while width >= 2 * _NARROWEST and 2 * count * width > _MOST_IN_ROWS:
        width //= 2
    photos, ratio = count + queries, config.training.retrieval_ratio
    drawn = ratio * photos + (1 - ratio) * count
    training = replace(config.training, retrieval_ratio=ratio * photos / drawn)
    if training.max_epochs is None and training.minutes is None:
        training = replace(training, max_epochs=epochs_for(count) * photos / drawn)
    return replace(config, model=replace(config.model, head_dim=width), training=training)


def epochs_for(count: int) -> float:
    """How often each of `count` images is seen at most: 25 times, and oftener where there are few (EXPERIMENTS.md)."""
    return max(25.0, 1800 / math.sqrt(count))


def build_trie(config: IndexConfig, collection: Collection) -> Trie:
    """Give every image its code."""
    count = len(collection.image_ids)
    base = config.ids.base or default_base(config.ids.scheme, count)
    features = summary(collection.inputs).numpy() if config.model.stem != "pixels" else None
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


@dataclass(frozen=True)
class Alterations:
    """What alterations do to model inputs.

    Attributes:
        differences: (D, *shape) features of an altered copy minus features of the image; none for pixels.
        rows, inputs: (H,) images and (H, *shape) altered copies of them, held out of training.
    """

    differences: Tensor
    rows: Tensor
    inputs: Tensor


def training_data(
    config: IndexConfig,
    trie: Trie,
    collection: Collection,
    queries: Collection | None,
    alterations: Alterations,
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
    views = views_of(config, inputs, alterations)
    # the paper's retrieval phase sees its own photos only; a joint batch learns from all
    only_extra = config.labels == "folder" and extra and config.training.schedule == "sequential"
    rows = np.setdiff1d(np.arange(count if only_extra else 0, count + extra), held_out)
    view_rows, view_inputs = alterations.rows, alterations.inputs
    if len(held_out):
        view_rows, view_inputs = torch.from_numpy(held_out), views.clean(torch.from_numpy(held_out))
    return TrainingData(
        trie, torch.arange(count), views, relevance, torch.from_numpy(rows), view_inputs, view_rows
    )


def views_of(config: IndexConfig, inputs: Tensor, alterations: Alterations, first: int = 0) -> Views:
    """Views of inputs (Q, *shape) of the rows from `first` on."""
    if config.model.stem == "pixels":
        return PixelViews(inputs, first)
    return FeatureViews(inputs, alterations.differences, first)


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
    vectors = summary(inputs)
    k = neighbours_among(count, config.training.neighbours)
    own = torch.arange(count)[:, None]
    if count == 1:
        return WeightedRelevance(torch.zeros(len(inputs), 1, dtype=torch.long), torch.ones(len(inputs), 1))
    if config.model.stem == "pixels":
        # no teacher without a backbone: an altered copy should find its source
        return WeightedRelevance(own, torch.ones(count, 1))
    ids, cosines = nearest(vectors[:count], vectors[:count], k, exclude_own=True)
    ids = torch.cat([own, ids], dim=1)
    weights = teacher_weights(cosines, config.training.temperature, config.training.own_mass)
    if len(inputs) > count:
        more, cosines = nearest(vectors[count:], vectors[:count], ids.shape[1], exclude_own=False)
        ids = torch.cat([ids, more])
        weights = torch.cat([weights, neighbour_weights(cosines, config.training.temperature)])
    return WeightedRelevance(ids, weights)


def measure_alterations(
    config: IndexConfig, collection: Collection, loader: InputLoader, on_progress: OnProgress
) -> Alterations:
    """Pass altered copies of a few images through the loader: three quarters teach what an alteration does to
    features, the rest is held out."""
    rng = np.random.default_rng(config.seed)
    count = len(collection.sources)
    wanted = min(count, _MAX_MEASURED, max(32, round(count * config.training.measured_views)))
    chosen = np.sort(rng.choice(count, wanted, replace=False))

    def alter(image: Image.Image, index: int) -> Image.Image:
        return altered_copy(image, np.random.default_rng([config.seed, index]))

    loaded: Loaded = loader.load(
        [collection.sources[i] for i in chosen], alter=alter, progress=_reporter("views", on_progress)
    )
    rows = torch.from_numpy(chosen[loaded.kept])
    inputs = ready(loaded.inputs)
    if config.model.stem == "pixels":
        return Alterations(torch.empty(0), rows[:_HELD_OUT], inputs[:_HELD_OUT])
    held = min(len(rows) // 4, _HELD_OUT)
    differences = inputs[held:] - collection.inputs[rows[held:]].float()
    return Alterations(differences, rows[:held], inputs[:held])


def imagine_alterations(
    config: IndexConfig, inputs: Tensor, differences: Tensor, rows: Tensor, first: int = 0
) -> Alterations:
    """Alterations without the images: what was measured before, applied to `rows` (R,) of inputs, is held out."""
    generator = torch.Generator().manual_seed(config.seed)
    rows = rows[torch.randperm(len(rows), generator=generator)[:_HELD_OUT]]
    known = Alterations(differences, rows, inputs[:0])
    return replace(known, inputs=views_of(config, inputs, known, first).altered(rows, generator))


def ready(inputs: Tensor) -> Tensor:
    """Stored inputs as the model reads them: pixels are stored as bytes, features in half precision."""
    return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()


def summary(inputs: Tensor) -> Tensor:
    """One vector an image (N, F) from features: the pooled vector, or the mean of a map's cells."""
    return inputs.float() if inputs.dim() == 2 else inputs.float().mean(1)


def _reporter(phase: str, on_progress: OnProgress) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    report = on_progress
    return lambda done, total: report(Progress(phase, done, total))
