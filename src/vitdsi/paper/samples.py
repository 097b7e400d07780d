"""The images of one experiment: which are indexed, which are queries, and which ids are relevant to a query."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import UsageError, VitdsiError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.paper.split import Split, filter_by_aspect, read_manifest, split_per_class, write_manifest
from vitdsi.photos.find import ImageRecord, scan_folder
from vitdsi.training.targets import Relevance, WeightedRelevance
from vitdsi.training.teacher import label_relevance

Ids = npt.NDArray[np.int64]
RELEVANCE = ("class", "shared", "largest")
ROLES = ("indexing", "train", "validation", "test")
HUB = "hub:"


@dataclass(frozen=True)
class Dataset:
    """Labelled photos.

    Attributes:
        name: the folder's name, without where it lies.
        relevance: class (same folder), largest (category of the largest object) or shared (any category in common).
        records: one class each, by which the split is made; for COCO that of the largest object.
        labels: every label of an image, by image_id.
        split: that of a manifest; None where splits are made by seed.
    """

    name: str
    relevance: str
    records: list[ImageRecord]
    labels: dict[str, frozenset[str]]
    split: Split | None = None


def read_dataset(
    root: Path,
    *,
    instances: Path | None = None,
    relevance: str | None = None,
    aspect_tolerance: float | None = None,
    manifest: Path | None = None,
    downloads: Path | None = None,
) -> Dataset:
    """Class folders below `root` (or below its `train`, where it has both train and val), or COCO with `instances`.

    Args:
        root: hub:OWNER/NAME or hub:OWNER/NAME:SPLIT is a dataset of the Hugging Face hub, exported to `downloads`.
        manifest: take exactly its images, in its roles.

    Raises:
        UsageError: nothing to read, a relevance that does not fit the data set, or a manifest of other images.
    """
    allowed = ("class",) if instances is None else ("shared", "largest")
    relevance = relevance or allowed[0]
    if relevance not in allowed:
        kind = "class folders" if instances is None else "COCO"
        raise UsageError(f"relevance is {relevance!r}; choose {' or '.join(allowed)} for {kind}")
    name = root.resolve().name
    if name in ("train", "val", "images"):
        name = root.resolve().parent.name
    if instances is None:
        if root.as_posix().startswith(HUB):
            from vitdsi.paper.hub import load_hub

            given, _, part = root.as_posix().removeprefix(HUB).partition(":")
            name = given.rpartition("/")[2] + (f"-{part}" if part else "")
            records = load_hub(given, part or "train", downloads or Path("datasets"))
        else:
            folder = root / "train" if (root / "train").is_dir() and (root / "val").is_dir() else root
            records = scan_folder(folder, "folder")
        labels = {record.image_id: frozenset({record.label or ""}) for record in records}
    else:
        from vitdsi.paper.coco import load_coco

        photos = load_coco(root, instances, unlabelled="exclude")
        records = [ImageRecord(photo.image_id, photo.path, photo.largest) for photo in photos]
        labels = {
            photo.image_id: photo.labels if relevance == "shared" else frozenset({photo.largest or ""})
            for photo in photos
        }
    if manifest is not None:
        return Dataset(name, relevance, records, labels, _split_of(manifest, records))
    kept, _ = filter_by_aspect(records, aspect_tolerance=aspect_tolerance)
    if not kept:
        raise UsageError(f"{root}: no image has an aspect ratio within 1 ± {aspect_tolerance}")
    return Dataset(name, relevance, kept, labels)


def _split_of(manifest: Path, records: Sequence[ImageRecord]) -> Split:
    """The split of a manifest, which must know these records by the same classes."""
    folder = records[0].path.parents[len(PurePosixPath(records[0].image_id).parts) - 1]
    split = read_manifest(manifest, folder)
    classes = {record.image_id: record.label for record in records}
    for record in (record for role in ROLES for record in getattr(split, role)):
        if classes.get(record.image_id) != record.label:
            raise UsageError(
                f"{manifest}: {record.image_id} has the class {record.label!r}, among the images given it is "
                f"{classes.get(record.image_id)!r}; give those that the manifest was made from"
            )
    return split


@dataclass(frozen=True)
class Samples:
    """The split of one cell. Rows of images are the indexed ones, then train, validation and test queries.

    Attributes:
        dataset, split: what was split, and how.
        relevant: the relevant ids of every row, those of an indexed image included.
    """

    dataset: Dataset
    split: Split
    relevant: list[Ids]

    @property
    def indexed(self) -> int:
        """Indexed images, N."""
        return len(self.split.indexing)

    def rows(self, role: str) -> range:
        """The rows of one role."""
        sizes = [len(getattr(self.split, name)) for name in ROLES]
        start = sum(sizes[: ROLES.index(role)])
        return range(start, start + sizes[ROLES.index(role)])

    def records(self) -> list[ImageRecord]:
        """The image of every row."""
        return [record for role in ROLES for record in getattr(self.split, role)]

    def relevant_to(self, role: str) -> list[Ids]:
        """The relevant ids of the queries of one role."""
        return [self.relevant[row] for row in self.rows(role)]

    def pairs(self) -> int:
        """How many (train query, relevant image) pairs there are: the paper's Retrieval Dataset."""
        return sum(map(len, self.relevant_to("train")))

    def digest(self) -> str:
        """A hash of which image has which role and which labels."""
        content = [
            [role, record.image_id, *sorted(self.dataset.labels[record.image_id])]
            for role in ROLES
            for record in getattr(self.split, role)
        ]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()

    def pixels(self, size: int) -> Tensor:
        """uint8 (rows, 3, size, size). Raises VitdsiError where a file cannot be read: the split would not hold."""
        loaded = FeatureReader("pixels", size).load([record.path for record in self.records()])
        if loaded.errors:
            raise VitdsiError(
                f"unreadable images: {len(loaded.errors)}, first {loaded.errors[0]}; remove them"
            )
        return loaded.features

    def manifest(self, path: Path) -> None:
        """Write down which file has which role, once."""
        if not path.is_file():
            write_manifest(path, self.split)

    def cluster_labels(self) -> list[str]:
        """What clustered ids sort the indexed images by: the class, or the place in an order of label sets."""
        sets = [self.dataset.labels[record.image_id] for record in self.split.indexing]
        if self.dataset.relevance != "shared":
            return [next(iter(labels)) for labels in sets]
        width = len(str(len(sets)))
        place = np.argsort(label_set_order(sets))
        return [f"{number:0{width}}" for number in place.tolist()]

    def targets(self, trie: Trie) -> Relevance:
        """The relevant ids of every row, as training reads them."""
        if self.dataset.relevance != "shared":
            names = [next(iter(self.dataset.labels[record.image_id])) for record in self.records()]
            return label_relevance(trie, names[: self.indexed], names)
        ids = torch.full((len(self.relevant), max(map(len, self.relevant))), NONE)
        for row, wanted in enumerate(self.relevant):
            ids[row, : len(wanted)] = torch.from_numpy(wanted)
        return WeightedRelevance(ids, torch.ones(ids.shape))


def sample(
    dataset: Dataset,
    size: int,
    seed: int,
    *,
    indexing_share: float = 0.25,
    num_classes: int | None = None,
    min_per_class: int = 1,
) -> Samples:
    """A split of `size` images in all: DB size as in the paper's Table 1. UsageError where there are too few.

    The other arguments are those of `split_per_class`; where the data set has a split, that is taken as it is.
    """
    split = dataset.split or split_per_class(
        dataset.records,
        indexing_share=indexing_share,
        seed=seed,
        max_images=size,
        num_classes=num_classes,
        min_per_class=min_per_class,
    )
    records = [record for role in ROLES for record in getattr(split, role)]
    if len(records) != size:
        source = "the manifest" if dataset.split else f"{dataset.name} ({num_classes or 'all'} classes)"
        raise UsageError(f"{source} has {len(records)} images; a DB size of {size} needs as many")
    if not split.test or not split.train or not split.validation:
        raise UsageError(
            f"{size} images leave a role without any: {len(split.train)} to train, "
            f"{len(split.validation)} to validate, {len(split.test)} to test; take a larger size"
        )
    by_label: dict[str, list[int]] = {}
    for number, record in enumerate(split.indexing):
        for label in dataset.labels[record.image_id]:
            by_label.setdefault(label, []).append(number)
    relevant = [
        np.array(
            sorted({i for label in dataset.labels[record.image_id] for i in by_label.get(label, [])}),
            dtype=np.int64,
        )
        for record in records
    ]
    return Samples(dataset, split, relevant)


def label_set_order(sets: Sequence[frozenset[str]]) -> list[int]:
    """An order in which neighbours share many labels: a chain from each image to the most similar one left.

    Similarity is Jaccard's (labels in common / labels of either); the chain starts at the image with most labels.
    Photos with several labels have no single class to be sorted by, but ids that begin alike should mean alike.
    """
    names = sorted(set().union(*sets))
    has = np.array([[name in labels for name in names] for labels in sets], dtype=np.float64)
    common = has @ has.T
    sizes = has.sum(1)
    similarity = common / np.maximum(sizes[:, None] + sizes[None] - common, 1)
    order = [int(sizes.argmax())]
    left = np.ones(len(sets), dtype=bool)
    left[order[0]] = False
    while left.any():
        following = int(np.where(left, similarity[order[-1]], -1).argmax())
        left[following] = False
        order.append(following)
    return order
