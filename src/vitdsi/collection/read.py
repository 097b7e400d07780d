"""Reading a collection: names, classes, features and facts of the photos that the user gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import ImageReadError, UnreadableImagesError, UsageError
from vitdsi.facts.exif import read_facts
from vitdsi.facts.sidecar import join, read_sidecar
from vitdsi.photos.decode import Source
from vitdsi.photos.find import scan_folder
from vitdsi.progress import OnProgress

Images: TypeAlias = "str | Path | Sequence[Source]"
Metadata: TypeAlias = "str | Path | Mapping[str, Mapping[str, Any]]"


@dataclass(frozen=True)
class Collection:
    """The photos of a collection that could be read; each has a position in it.

    Attributes:
        image_ids: the names of the photos: paths relative to the folder, or for a sequence paths as given or positions.
        labels: the class of each photo, or None without classes.
        sources: the photos as they were given: paths, images, arrays or encoded files.
        features: (N, *shape) stored features.
        thumbnails: (N, 32, 32) uint8 grey thumbnails.
        hashes: the content hash of each photo, "" for photos that are not files.
        skipped: the files that could not be read.
        duplicates: groups of image_ids whose files have the same bytes.
        facts: facts about the photos, by position.
        unmatched: names in the metadata that no photo has.
    """

    image_ids: list[str]
    labels: list[str] | None
    sources: list[Source]
    features: Tensor
    thumbnails: Tensor
    hashes: list[str]
    skipped: tuple[ImageReadError, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, positions: Sequence[int]) -> Collection:
        """Return the photos at these positions, in this order."""
        return replace(
            self,
            image_ids=[self.image_ids[i] for i in positions],
            labels=None if self.labels is None else [self.labels[i] for i in positions],
            sources=[self.sources[i] for i in positions],
            features=self.features[list(positions)],
            thumbnails=self.thumbnails[list(positions)],
            hashes=[self.hashes[i] for i in positions],
            facts={new: self.facts[old] for new, old in enumerate(positions) if old in self.facts},
        )

    def with_facts(self, metadata: Metadata | None) -> Collection:
        """Return the same photos with the facts in their files and in `metadata`, which takes precedence."""
        given = read_sidecar(Path(metadata)) if isinstance(metadata, (str, Path)) else metadata or {}
        more, unmatched = join(self.image_ids, given)
        facts = {
            i: {**(read_facts(source) if isinstance(source, (str, Path)) else {}), **more.get(i, {})}
            for i, source in enumerate(self.sources)
        }
        return replace(self, facts=facts, unmatched=tuple(unmatched))


def read_collection(
    images: Images,
    labels: Sequence[str] | None,
    reader: FeatureReader,
    on_progress: OnProgress = None,
    *,
    by_folder: bool,
    prefix: str = "",
    strict: bool = False,
) -> Collection:
    """Read a folder or a sequence of photos.

    Args:
        images: a folder, a file, or a sequence of paths, Pillow images, uint8 arrays or encoded files.
        labels: the class of each photo.
        by_folder: the first sub-folder of a folder is the class, unless `labels` are given.
        prefix: a text to put before each image_id.
        strict: raise an error if any file cannot be read, instead of skipping it.

    Raises:
        UsageError: the folder cannot be read, or there are not as many labels as photos.
        UnreadableImagesError: `strict`, and some files cannot be read.
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
    read = reader.load(sources, on_progress=on_progress)
    if strict and read.errors:
        raise UnreadableImagesError(read.errors)
    kept = read.kept.tolist()
    image_ids = [prefix + names[i] for i in kept]
    return Collection(
        image_ids,
        None if found is None else [found[i] for i in kept],
        [sources[i] for i in kept],
        read.features,
        read.thumbnails,
        read.hashes,
        tuple(read.errors),
        _duplicates(image_ids, read.hashes),
    )


def _names(sources: Sequence[Source]) -> Iterator[str]:
    """Name the photos of a sequence: paths as given, positions for photos without one. Repeated names are numbered."""
    seen: dict[str, int] = {}
    for position, source in enumerate(sources):
        name = Path(source).as_posix() if isinstance(source, (str, Path)) else f"{position:06d}"
        count = seen[name] = seen.get(name, 0) + 1
        yield name if count == 1 else f"{name}#{count}"


def _duplicates(image_ids: Sequence[str], hashes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Group the image_ids with the same content hash; "" is the hash of no file."""
    groups: dict[str, list[str]] = {}
    for image_id, content in zip(image_ids, hashes, strict=True):
        if content:
            groups.setdefault(content, []).append(image_id)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
