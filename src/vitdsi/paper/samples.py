"""The images of an experiment: those to index, the queries, and the relevant ids of each query."""

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
        name: the name of the folder, without its path.
        relevance: which images are relevant: those of the same `class`, those whose `largest` object has the same
            category, or those with any `shared` category.
        records: the images with the class by which they are split; for COCO the category of the largest object.
        labels: all labels of an image, by image_id.
        split: the split of a manifest; None if splits are made from a seed.
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
    """Read a data set of class folders, of COCO or of the Hugging Face hub.

    Args:
        root: folder of class folders, or with both train/ and val/, of which train/ is read; folder of COCO photos;
            or hub:OWNER/NAME[:SPLIT], a data set of the hub.
        instances: the instances file, for COCO.
        relevance: as in `Dataset`; `class` for class folders, `shared` (default) or `largest` for COCO.
        aspect_tolerance: keep images whose aspect ratio is within 1 ± this; None keeps all.
        manifest: use the images and roles of this file.
        downloads: folder to which data sets of the hub are exported.

    Raises:
        UsageError: there are no images, `relevance` does not suit the data set, or the manifest has other images.
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
    """Read the split of a manifest. Raises UsageError if its images are not among the records, with the same class."""
    folder = records[0].path.parents[len(PurePosixPath(records[0].image_id).parts) - 1]
    split = read_manifest(manifest, folder)
    classes = {record.image_id: record.label for record in records}
    for record in (record for role in ROLES for record in getattr(split, role)):
        if classes.get(record.image_id) != record.label:
            raise UsageError(
                f"{manifest}: {record.image_id} has the class {record.label!r}, but {classes.get(record.image_id)!r} "
                "among the given images; give those that the manifest was made from"
            )
    return split


@dataclass(frozen=True)
class Samples:
    """The images of one cell. Their rows are the indexed images, then train, validation and test queries.

    Attributes:
        dataset: the data set.
        split: which image has which role.
        relevant: the relevant ids of each row, also of the indexed images.
    """

    dataset: Dataset
    split: Split
    relevant: list[Ids]

    @property
    def indexed(self) -> int:
        """Number of indexed images, N."""
        return len(self.split.indexing)

    def rows(self, role: str) -> range:
        """The rows of a role."""
        sizes = [len(getattr(self.split, name)) for name in ROLES]
        start = sum(sizes[: ROLES.index(role)])
        return range(start, start + sizes[ROLES.index(role)])

    def records(self) -> list[ImageRecord]:
        """The record of each row."""
        return [record for role in ROLES for record in getattr(self.split, role)]

    def relevant_to(self, role: str) -> list[Ids]:
        """The relevant ids of each query of a role."""
        return [self.relevant[row] for row in self.rows(role)]

    def pairs(self) -> int:
        """Number of pairs of a train query and a relevant image: the size of the paper's Retrieval Dataset."""
        return sum(map(len, self.relevant_to("train")))

    def digest(self) -> str:
        """A hash of the roles and the labels of the images."""
        content = [
            [role, record.image_id, *sorted(self.dataset.labels[record.image_id])]
            for role in ROLES
            for record in getattr(self.split, role)
        ]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()

    def pixels(self, size: int) -> Tensor:
        """The images as uint8 (rows, 3, size, size). Raises VitdsiError if one cannot be read."""
        loaded = FeatureReader("pixels", size).load([record.path for record in self.records()])
        if loaded.errors:
            raise VitdsiError(
                f"unreadable images: {len(loaded.errors)}, first {loaded.errors[0]}; remove them"
            )
        return loaded.features

    def manifest(self, path: Path) -> None:
        """Write the role of each file to `path`, unless that file exists."""
        if not path.is_file():
            write_manifest(path, self.split)

    def cluster_labels(self) -> list[str]:
        """Labels by which clustered ids sort the indexed images: the class, or the position in `label_set_order`."""
        sets = [self.dataset.labels[record.image_id] for record in self.split.indexing]
        if self.dataset.relevance != "shared":
            return [next(iter(labels)) for labels in sets]
        width = len(str(len(sets)))
        place = np.argsort(label_set_order(sets))
        return [f"{number:0{width}}" for number in place.tolist()]

    def targets(self, trie: Trie) -> Relevance:
        """The relevant ids of each row, in the form that training reads."""
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
    """Split `size` images of a data set. The size counts the images of all roles, as in the paper's Table 1.

    The other arguments are those of `split_per_class`. If the data set has a split, it is used instead.

    Raises:
        UsageError: there are too few images for this size, or a role has no image.
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
            f"{len(split.validation)} to validate, {len(split.test)} to test; choose a larger size"
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
    """Order images such that neighbours share many labels, because several labels give no class to sort by.

    The order begins with the image that has most labels. Each image is followed by the most similar one of those
    left, by the Jaccard similarity (number of common labels / number of labels of either).
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
