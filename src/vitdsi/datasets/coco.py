"""COCO: photos with several categories each."""

from __future__ import annotations

import contextlib
import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vitdsi.errors import UsageError

__all__ = ["CocoRecord", "load_coco"]


@dataclass(frozen=True)
class CocoRecord:
    """One photo: its name in the annotations, its path, its categories, and that of its largest object."""

    image_id: str
    path: Path
    labels: frozenset[str]
    largest: str | None


def load_coco(
    images_dir: Path, instances_json: Path, *, unlabelled: Literal["keep", "exclude", "error"] = "keep"
) -> list[CocoRecord]:
    """The photos of an instances file, sorted by image_id.

    Args:
        images_dir: where the photos lie.
        instances_json: COCO object instances (categories, images, annotations).
        unlabelled: photos without annotations are kept (no labels, no largest), excluded, or an error.

    `largest` is the category of the annotation with the largest area; crowd regions count only where there is
    nothing else, as their area is that of many objects.

    Raises:
        UsageError: pycocotools is missing, the file is no instances file, photos are missing, or there are
            unlabelled ones and they are an error.
    """
    if unlabelled not in ("keep", "exclude", "error"):
        raise UsageError(f"unlabelled={unlabelled!r}: use 'keep', 'exclude' or 'error'")
    images_dir = Path(images_dir)
    coco = _open(Path(instances_json))
    records = []
    try:
        names = {category: coco.cats[category]["name"] for category in coco.getCatIds()}
        for number in coco.getImgIds():
            file = coco.imgs[number]["file_name"]
            objects = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
            ranked = sorted((bool(o.get("iscrowd")), -o["area"], names[o["category_id"]]) for o in objects)
            labels = frozenset(name for _, _, name in ranked)
            records.append(CocoRecord(file, images_dir / file, labels, ranked[0][2] if ranked else None))
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{instances_json}: no COCO instances file ({error!r}); give instances_*.json"
        ) from error

    missing = [record.image_id for record in records if not record.path.is_file()]
    if missing or not records:
        found = f"{len(missing)} of its {len(records)} photos are missing" + (
            f", first {missing[0]}" if missing else ""
        )
        raise UsageError(
            f"{images_dir}: by {instances_json}, {found}; give the folder of exactly these photos"
        )
    bare = [record.image_id for record in records if not record.labels]
    if bare and unlabelled == "error":
        raise UsageError(
            f"{instances_json}: {len(bare)} photos have no annotation, first {bare[0]}; exclude them"
        )
    if unlabelled == "exclude":
        records = [record for record in records if record.labels]
    return sorted(records, key=lambda record: record.image_id)


def _open(path: Path) -> Any:
    try:
        module = importlib.import_module("pycocotools.coco")
    except ImportError as error:
        raise UsageError("reading COCO annotations needs pycocotools: pip install pycocotools") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return module.COCO(str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a COCO instances file") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UsageError(f"{path}: no COCO instances file ({error}); give instances_*.json") from error
