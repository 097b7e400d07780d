"""COCO data sets, whose photos have several categories each."""

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
    """A photo with its categories.

    Attributes:
        image_id: the file name in the annotations.
        path: the file.
        labels: the categories of all objects, empty for a photo without annotations.
        largest: the category of the largest object, or None for a photo without annotations.
    """

    image_id: str
    path: Path
    labels: frozenset[str]
    largest: str | None


def load_coco(
    images_dir: Path, instances_json: Path, *, unlabelled: Literal["keep", "exclude", "error"] = "keep"
) -> list[CocoRecord]:
    """Read the photos of a COCO instances file, sorted by image_id.

    The largest object is the annotation with the largest area. A crowd region counts only if there are no other
    annotations, because its area is that of many objects.

    Args:
        images_dir: the folder of the photos.
        instances_json: COCO object instances (categories, images and annotations).
        unlabelled: whether to keep photos without annotations, exclude them, or raise an error.

    Raises:
        UsageError: if pycocotools is not installed, `instances_json` is not an instances file, photos are missing, or
            there are unlabelled photos and `unlabelled` is "error".
    """
    if unlabelled not in ("keep", "exclude", "error"):
        raise UsageError(f"unlabelled={unlabelled!r}: must be 'keep', 'exclude' or 'error'")
    images_dir = Path(images_dir)
    coco = _read_annotations(Path(instances_json))
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
            f"{instances_json}: not a COCO instances file ({error!r}); give instances_*.json"
        ) from error

    missing = [record.image_id for record in records if not record.path.is_file()]
    if not records:
        raise UsageError(f"{instances_json}: the file lists no photos; give another instances_*.json")
    if missing:
        raise UsageError(
            f"{images_dir}: {len(missing)} of the {len(records)} photos of {instances_json} are missing,"
            f" the first is {missing[0]}; give the folder that holds them"
        )
    without_labels = [record.image_id for record in records if not record.labels]
    if without_labels and unlabelled == "error":
        raise UsageError(
            f"{instances_json}: {len(without_labels)} photos have no annotation, the first is {without_labels[0]};"
            " exclude them"
        )
    if unlabelled == "exclude":
        records = [record for record in records if record.labels]
    return sorted(records, key=lambda record: record.image_id)


def _read_annotations(path: Path) -> Any:
    try:
        module = importlib.import_module("pycocotools.coco")
    except ImportError as error:
        raise UsageError("reading COCO annotations needs pycocotools; pip install pycocotools") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return module.COCO(str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a COCO instances file") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UsageError(f"{path}: not a COCO instances file ({error}); give instances_*.json") from error
