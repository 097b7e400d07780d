"""Image classification datasets of the Hugging Face hub, exported once to class folders."""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from vitdsi.datasets.folder import ImageRecord, scan_folder
from vitdsi.errors import UsageError

__all__ = ["load_hub"]

# Published as a loading script, which `datasets` no longer runs; the hub's conversion has one folder a size.
_CONVERTED = {"frgfm/imagenette": "320px"}
_MAGIC = {
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*": ".tif",
    b"MM\0*": ".tif",
}


def load_hub(name: str, split: str, cache_dir: Path, *, subset: str | None = None) -> list[ImageRecord]:
    """Records of a dataset such as frgfm/imagenette, zh-plus/tiny-imagenet or ILSVRC/imagenet-1k.

    The first call downloads and writes `cache_dir/NAME/SPLIT/CLASS/NUMBER.SUFFIX` with the original bytes;
    later calls read those. Classes are called NUMBER_NAME, since names repeat in ImageNet (two cranes).

    Args:
        name: OWNER/DATASET.
        split: as the dataset calls it: train, validation, valid.
        subset: the dataset's configuration; 160px, 320px (default) or full_size for frgfm/imagenette.

    Raises:
        UsageError: the `datasets` library is missing, the dataset cannot be had, or lacks images or classes.
    """
    if not all(re.fullmatch(r"\w[\w.-]*", part) for part in (*name.split("/"), split, subset or "none")):
        raise UsageError(
            f"{name!r}, split {split!r}, subset {subset!r}: give names such as frgfm/imagenette and train"
        )
    subset = subset or _CONVERTED.get(name)
    target = Path(cache_dir) / "--".join([*name.split("/"), *([subset] if subset else [])]) / split
    if not target.is_dir():
        dataset, library = _download(name, split, subset)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{split}.", dir=target.parent))
        try:
            _export(dataset, library, part, name)
            os.chmod(part, 0o755)
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return scan_folder(target, "folder")


def _download(name: str, split: str, subset: str | None) -> tuple[Any, Any]:
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        raise UsageError(f"{name}: datasets of the hub need an extra: pip install 'vitdsi[hub]'") from error
    # it tells each retry; the error below is enough
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        if name in _CONVERTED:
            return library.load_dataset(
                name, data_dir=subset, split=split, revision="refs/convert/parquet"
            ), library
        return library.load_dataset(name, subset, split=split), library
    except Exception as error:  # offline, unknown, gated, a wrong split: the library has no common base error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = "check the name and the network; a gated dataset needs its terms accepted and `hf auth login`"
        raise UsageError(f"{name}, split {split}: cannot be loaded ({reason}); {hint}") from error


def _export(dataset: Any, library: Any, folder: Path, name: str) -> None:
    def column(kind: Any) -> str | None:
        return next((key for key, feature in dataset.features.items() if isinstance(feature, kind)), None)

    image, label = column(library.Image), column(library.ClassLabel)
    if image is None or label is None:
        raise UsageError(
            f"{name}: columns {', '.join(dataset.features)}; one of images and one of classes is needed"
        )
    names = dataset.features[label].names
    # Undecoded, so that the photos are written as they are, without a second JPEG compression.
    for number, row in enumerate(dataset.cast_column(image, library.Image(decode=False))):
        if not 0 <= row[label] < len(names):
            raise UsageError(
                f"{name}: image {number} has class {row[label]}; this split has no labels, use another"
            )
        content = row[image]["bytes"] or Path(row[image]["path"]).read_bytes()
        # A broken file is kept, so that whoever decodes it reports it.
        suffix = next((suffix for magic, suffix in _MAGIC.items() if content.startswith(magic)), ".jpg")
        slug = re.sub(r"\W+", "-", names[row[label]]).strip("-")
        place = folder / f"{row[label]:04d}_{slug}"
        place.mkdir(exist_ok=True)
        (place / f"{number:07d}{suffix}").write_bytes(content)
