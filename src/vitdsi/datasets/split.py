"""Which images are indexed, and which train, tune and test retrieval."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

import numpy as np

from vitdsi.datasets.folder import ImageRecord
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.images import oriented_size, read_bytes_hash

__all__ = ["Split", "prepare", "read_manifest", "split_per_class", "write_manifest"]

_FORMAT, _VERSION = "vitdsi-split", 1


@dataclass(frozen=True)
class Split:
    """Disjoint lists of records, each sorted by image_id."""

    indexing: list[ImageRecord]
    train: list[ImageRecord]
    validation: list[ImageRecord]
    test: list[ImageRecord]


_ROLES = tuple(field.name for field in fields(Split))


def prepare(
    records: Iterable[ImageRecord], *, aspect_tolerance: float | None = None
) -> tuple[list[ImageRecord], list[tuple[ImageRecord, str]]]:
    """The records to use, and the others with the reason.

    Args:
        aspect_tolerance: keep images whose width / height is within [1 - t, 1 + t]; the paper has t = 0.1.
            None keeps all and opens no file. Images whose header cannot be read are among the others.

    Raises:
        UsageError: a negative tolerance.
    """
    records = list(records)
    if aspect_tolerance is None:
        return records, []
    if aspect_tolerance < 0:
        raise UsageError(f"aspect_tolerance={aspect_tolerance}: must be 0 or more, or None")
    kept, others = [], []
    for record in records:
        try:
            width, height = oriented_size(record.path)
        except ImageReadError as error:
            others.append((record, error.reason))
            continue
        # Not |w/h - 1| <= t: 11/10 - 1 is above 0.1 in floating point.
        if abs(width - height) <= aspect_tolerance * height * (1 + 1e-9):
            kept.append(record)
        else:
            others.append((record, f"aspect ratio {width / height:.3f} is not within 1 ± {aspect_tolerance}"))
    return kept, others


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
    """Split every class by image into indexing, and train / validation / test queries.

    A class is shuffled by (seed, its name) alone, so neither the order of the records nor the other classes
    matter. Counts are rounded to the nearest; a class always has at least one indexed image, as its queries
    would have no answer otherwise.

    Args:
        records: labelled.
        indexing_share: share of a class that is indexed, in (0, 1].
        retrieval: shares of train, validation and test in the rest; they sum to 1.
        max_images: keep this many images in all, as evenly over the classes as they allow.
        num_classes: keep the first classes by name; the same ones for each seed.
        min_per_class: leave out classes with fewer images (before the other two limits).

    Raises:
        UsageError: a value out of range, a record without label, or two records with one image_id.
    """
    if not 0 < indexing_share <= 1:
        raise UsageError(f"indexing_share={indexing_share}: must be above 0 and at most 1")
    if len(retrieval) != 3 or min(retrieval) < 0 or abs(sum(retrieval) - 1) > 1e-6:
        raise UsageError(
            f"retrieval={retrieval}: three shares of at least 0 that sum to 1, such as (0.8, 0.1, 0.1)"
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
        wanted = f"{num_classes or 1} classes of at least {min_per_class} images"
        raise UsageError(f"{wanted} wanted, but there are {len(names)}; ask for fewer, or give more images")
    classes = _limit([shuffled[name] for name in names[:num_classes]], max_images)

    parts: dict[str, list[ImageRecord]] = {role: [] for role in _ROLES}
    for images in classes:
        indexed = max(1, _nearest(indexing_share * len(images))) if images else 0
        rest = len(images) - indexed
        cuts = [
            indexed,
            *(indexed + _nearest(share * rest) for share in np.cumsum(retrieval)[:2]),
            len(images),
        ]
        for role, start, stop in zip(_ROLES, [0, *cuts], cuts, strict=False):
            parts[role] += images[start:stop]
    return Split(**{role: sorted(part, key=lambda record: record.image_id) for role, part in parts.items()})


def write_manifest(path: Path, split: Split) -> None:
    """Write which file has which role as JSON: file (the image_id), hash of its content, role, class.

    Written beside and renamed, so that `path` is never half-written.

    Raises:
        ImageReadError: an image cannot be read.
        UsageError: `path` cannot be written.
    """
    images = [
        {"file": record.image_id, "hash": read_bytes_hash(record.path), "role": role, "class": record.label}
        for role in _ROLES
        for record in getattr(split, role)
    ]
    text = json.dumps({"format": _FORMAT, "version": _VERSION, "images": images}, indent=1)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp makes private files; a manifest is an ordinary one.
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); give another place") from error


def read_manifest(path: Path, root: Path) -> Split:
    """The split of a manifest, its files taken from `root` and compared with their hashes.

    Raises:
        UsageError: no manifest, a broken one or one of a newer version, or files that are missing or changed.
    """
    entries = _manifest_entries(Path(path))
    parts: dict[str, list[ImageRecord]] = {role: [] for role in _ROLES}
    seen: set[str] = set()
    wrong = []
    for entry in entries:
        file, role, label = entry["file"], entry["role"], entry["class"]
        relative = PurePosixPath(file)
        if role not in parts or file in seen or relative.is_absolute() or ".." in relative.parts:
            raise UsageError(
                f"{path}: bad entry {entry}; roles are {', '.join(_ROLES)}, files relative and unique"
            )
        seen.add(file)
        record = ImageRecord(file, Path(root) / relative, label)
        try:
            if read_bytes_hash(record.path) != entry["hash"]:
                wrong.append(f"{file} (changed)")
        except ImageReadError as error:
            wrong.append(f"{file} ({error.reason})")
        parts[role].append(record)
    if wrong:
        listed = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        hint = "give the folder that the manifest was made from, or make a new split"
        raise UsageError(
            f"{root}: {len(wrong)} of {len(entries)} files are not those of {path}: {listed}; {hint}"
        )
    return Split(**parts)


def _shuffled_classes(records: Iterable[ImageRecord], seed: int) -> dict[str, list[ImageRecord]]:
    classes: dict[str, list[ImageRecord]] = defaultdict(list)
    seen: set[str] = set()
    for record in sorted(records, key=lambda record: record.image_id):
        if record.label is None:
            raise UsageError(f"{record.image_id}: has no class; scan the folder with labels 'folder'")
        if record.image_id in seen:
            raise UsageError(f"{record.image_id}: two records have this image_id; one folder a split")
        seen.add(record.image_id)
        classes[record.label].append(record)
    shuffled = {}
    for label, images in classes.items():
        key = int.from_bytes(hashlib.blake2b(os.fsencode(label), digest_size=8).digest(), "big")
        order = np.random.default_rng([seed, key]).permutation(len(images))
        shuffled[label] = [images[i] for i in order]
    return shuffled


def _limit(classes: Sequence[list[ImageRecord]], max_images: int | None) -> list[list[ImageRecord]]:
    """Keep the first images of each class, one of each class in turn, until there are max_images."""
    turns = sorted((turn, number) for number, images in enumerate(classes) for turn in range(len(images)))
    kept = [0] * len(classes)
    for _, number in turns[:max_images]:
        kept[number] += 1
    return [images[:count] for images, count in zip(classes, kept, strict=True)]


def _nearest(value: float) -> int:
    return int(value + 0.5 + 1e-9)


def _manifest_entries(path: Path) -> list[dict[str, str]]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); give a manifest made by write_manifest"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); make a new split") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise UsageError(f"{path}: not a {_FORMAT} manifest; make a new split")
    if manifest.get("version") != _VERSION:
        version = manifest.get("version")
        raise UsageError(
            f"{path}: version {version}, this vitdsi reads {_VERSION}; update vitdsi, or make a new split"
        )
    entries = manifest.get("images")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("file", "hash", "role"))
        and isinstance(entry.get("class"), str | None)
        for entry in entries
    ):
        raise UsageError(f"{path}: 'images' is not a list of file, hash, role and class; make a new split")
    return entries
