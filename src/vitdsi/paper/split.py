"""Splits of a labelled data set into images to index and queries for training, validation and test."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

import numpy as np

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.files import write_atomically
from vitdsi.photos.decode import content_hash, oriented_size
from vitdsi.photos.find import ImageRecord

__all__ = ["Split", "filter_by_aspect", "read_manifest", "split_per_class", "write_manifest"]

_FORMAT, _VERSION = "vitdsi-split", 1
_FILES_SHOWN = 3  # in an error message


@dataclass(frozen=True)
class Split:
    """Disjoint lists of records, each sorted by image_id.

    Attributes:
        indexing: the images to index.
        train, validation, test: the queries of each role.
    """

    indexing: list[ImageRecord]
    train: list[ImageRecord]
    validation: list[ImageRecord]
    test: list[ImageRecord]


_ROLES = tuple(field.name for field in fields(Split))


def filter_by_aspect(
    records: Iterable[ImageRecord], *, aspect_tolerance: float | None = None
) -> tuple[list[ImageRecord], list[tuple[ImageRecord, str]]]:
    """Keep the images that are nearly square.

    Args:
        records: the images to choose from.
        aspect_tolerance: keep images whose width / height is within [1 - t, 1 + t]; the paper uses t = 0.1. None keeps
            all images without opening a file.

    Returns:
        The records to keep, and each other record with the reason why it is left out: its shape, or a header that
        cannot be read.

    Raises:
        UsageError: if the tolerance is negative.
    """
    records = list(records)
    if aspect_tolerance is None:
        return records, []
    if aspect_tolerance < 0:
        raise UsageError(
            f"aspect_tolerance={aspect_tolerance}: must be at least 0, or None to keep every image"
        )
    kept, left_out = [], []
    for record in records:
        try:
            width, height = oriented_size(record.path)
        except ImageReadError as error:
            left_out.append((record, error.reason))
            continue
        # The obvious |w/h - 1| <= t would leave out 110 x 100, because 11/10 - 1 > 0.1 in floating point.
        if abs(width - height) <= aspect_tolerance * height * (1 + 1e-9):
            kept.append(record)
        else:
            left_out.append(
                (record, f"aspect ratio {width / height:.3f} is not within 1 ± {aspect_tolerance}")
            )
    return kept, left_out


def split_per_class(
    records: Iterable[ImageRecord],
    *,
    indexing_share: float = 0.25,
    retrieval: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int,
    max_images: int | None = None,
    num_classes: int | None = None,
    min_per_class: int = 1,
) -> Split:
    """Split the images of every class into images to index and train, validation and test queries.

    The order within a class depends only on the seed and the name of the class, so neither the order of the records nor
    the other classes change it. Counts are rounded to the nearest integer, except that at least one image of every
    class is indexed, because otherwise its queries would have no relevant image.

    Args:
        records: labelled images.
        indexing_share: share of each class to index, in (0, 1].
        retrieval: shares of train, validation and test queries among the other images; they sum to 1.
        seed: seed of the shuffle.
        max_images: keep this many images in total, spread over the classes as evenly as possible.
        num_classes: keep this many classes, the first ones by name whatever the seed.
        min_per_class: leave out classes with fewer images, before the other two limits apply.

    Raises:
        UsageError: if a value is out of range, a record has no label, two records have the same image_id, or there are
            fewer than `num_classes` classes.
    """
    if not 0 < indexing_share <= 1:
        raise UsageError(f"indexing_share={indexing_share}: must be above 0 and at most 1")
    if len(retrieval) != 3 or min(retrieval) < 0 or abs(sum(retrieval) - 1) > 1e-6:
        raise UsageError(
            f"retrieval={retrieval}: must be three shares of at least 0 that sum to 1, such as (0.8, 0.1, 0.1)"
        )
    for name, value in (
        ("max_images", max_images),
        ("num_classes", num_classes),
        ("min_per_class", min_per_class),
    ):
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}: must be at least 1")

    shuffled = _shuffled_classes(records, seed)
    names = [name for name in sorted(shuffled) if len(shuffled[name]) >= min_per_class]
    if len(names) < (num_classes or 1):
        raise UsageError(
            f"{num_classes or 1} classes of at least {min_per_class} images are needed, but there are {len(names)};"
            " ask for fewer, or give more images"
        )
    classes = _limit([shuffled[name] for name in names[:num_classes]], max_images)

    parts: dict[str, list[ImageRecord]] = {role: [] for role in _ROLES}
    for images in classes:
        indexed = max(1, _round_half_up(indexing_share * len(images))) if images else 0
        rest = len(images) - indexed
        cuts = [
            indexed,
            *(indexed + _round_half_up(share * rest) for share in np.cumsum(retrieval)[:2]),
            len(images),
        ]
        for role, start, stop in zip(_ROLES, [0, *cuts], cuts, strict=False):
            parts[role] += images[start:stop]
    return Split(**{role: sorted(part, key=lambda record: record.image_id) for role, part in parts.items()})


def write_manifest(path: Path, split: Split) -> None:
    """Write a split to a JSON file: the image_id, content hash, role and class of each image.

    The file is replaced atomically, and missing folders on the way to it are created.

    Raises:
        ImageReadError: if an image cannot be read.
        UsageError: if `path` cannot be written.
    """
    images = [
        {"file": record.image_id, "hash": content_hash(record.path), "role": role, "class": record.label}
        for role in _ROLES
        for record in getattr(split, role)
    ]
    text = json.dumps({"format": _FORMAT, "version": _VERSION, "images": images}, indent=1)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as stream:
            stream.write(f"{text}\n".encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); give another path") from error


def read_manifest(path: Path, root: Path) -> Split:
    """Read a split whose files lie in the folder `root`, and check the content hash of each file.

    Raises:
        UsageError: if there is no manifest at `path`, it is broken or of a newer version, or files are missing or
            changed.
    """
    entries = _read_entries(Path(path))
    parts: dict[str, list[ImageRecord]] = {role: [] for role in _ROLES}
    seen: set[str] = set()
    mismatches = []
    for entry in entries:
        file, role, label = entry["file"], entry["role"], entry["class"]
        relative = PurePosixPath(file)
        if role not in parts or file in seen or relative.is_absolute() or ".." in relative.parts:
            raise UsageError(
                f"{path}: bad entry {entry}; roles are {', '.join(_ROLES)}, and files are relative and unique"
            )
        seen.add(file)
        record = ImageRecord(file, Path(root) / relative, label)
        try:
            if content_hash(record.path) != entry["hash"]:
                mismatches.append(f"{file} (changed)")
        except ImageReadError as error:
            mismatches.append(f"{file} ({error.reason})")
        parts[role].append(record)
    if mismatches:
        shown = ", ".join(mismatches[:_FILES_SHOWN]) + (", ..." if len(mismatches) > _FILES_SHOWN else "")
        raise UsageError(
            f"{root}: {len(mismatches)} of {len(entries)} files differ from those of {path}: {shown};"
            " give the folder that the manifest was made from, or make a new split"
        )
    return Split(**parts)


def _shuffled_classes(records: Iterable[ImageRecord], seed: int) -> dict[str, list[ImageRecord]]:
    """Return the images of each class in the order that the seed and the name of the class determine."""
    classes: dict[str, list[ImageRecord]] = defaultdict(list)
    seen: set[str] = set()
    for record in sorted(records, key=lambda record: record.image_id):
        if record.label is None:
            raise UsageError(f"{record.image_id}: has no class; scan the folder with labels='folder'")
        if record.image_id in seen:
            raise UsageError(f"{record.image_id}: two records have this image_id; split one folder at a time")
        seen.add(record.image_id)
        classes[record.label].append(record)
    shuffled = {}
    for label, images in classes.items():
        key = int.from_bytes(hashlib.blake2b(os.fsencode(label), digest_size=8).digest(), "big")
        order = np.random.default_rng([seed, key]).permutation(len(images))
        shuffled[label] = [images[i] for i in order]
    return shuffled


def _limit(classes: Sequence[list[ImageRecord]], max_images: int | None) -> list[list[ImageRecord]]:
    """Take one image from each class in turn, in order, until there are `max_images`."""
    turns = sorted((turn, i) for i, images in enumerate(classes) for turn in range(len(images)))
    counts = [0] * len(classes)
    for _, i in turns[:max_images]:
        counts[i] += 1
    return [images[:count] for images, count in zip(classes, counts, strict=True)]


def _round_half_up(value: float) -> int:
    """Round to the nearest integer, half up also where floating point is slightly below half."""
    return int(value + 0.5 + 1e-9)


def _read_entries(path: Path) -> list[dict[str, str]]:
    """Read the entries of a manifest, and check that they have the right keys and types."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); give a manifest that write_manifest made"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); make a new split") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise UsageError(f"{path}: not a {_FORMAT} manifest; make a new split")
    if manifest.get("version") != _VERSION:
        version = manifest.get("version")
        raise UsageError(
            f"{path}: version {version}, but this vitdsi reads version {_VERSION}; update vitdsi, or make a new split"
        )
    entries = manifest.get("images")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("file", "hash", "role"))
        and isinstance(entry.get("class"), str | None)
        for entry in entries
    ):
        raise UsageError(
            f"{path}: 'images' is not a list of objects with file, hash, role and class; make a new split"
        )
    return entries
