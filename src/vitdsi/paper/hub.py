"""Image classification data sets of the Hugging Face hub, exported to class folders."""

from __future__ import annotations

import importlib
import logging
import re
from pathlib import Path
from typing import Any

from vitdsi.errors import UsageError
from vitdsi.files import replace_folder
from vitdsi.photos.find import ImageRecord, scan_folder

__all__ = ["load_hub"]

# Data sets that were published with a loading script, which `datasets` no longer runs. The hub converted them to
# Parquet, with a folder for each size of the images; the value is the default folder.
_DEFAULT_FOLDER = {"frgfm/imagenette": "320px"}
_SUFFIXES = {  # by the first bytes of the file
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*": ".tif",
    b"MM\0*": ".tif",
}


def load_hub(name: str, split: str, cache_dir: Path, *, subset: str | None = None) -> list[ImageRecord]:
    """Load a data set such as frgfm/imagenette, zh-plus/tiny-imagenet or ILSVRC/imagenet-1k.

    The first call downloads the data set and writes the original bytes of its images to
    `cache_dir/NAME/SPLIT/CLASS/NUMBER.SUFFIX`; later calls read these files. Classes are called NUMBER_NAME, because
    ImageNet has two classes with the same name (crane).

    Args:
        name: OWNER/DATASET.
        split: the split, as the data set calls it: train, validation or valid.
        cache_dir: the folder to which data sets are exported.
        subset: the configuration of the data set; 160px, 320px (default) or full_size for frgfm/imagenette.

    Raises:
        UsageError: if the `datasets` library is not installed, the data set cannot be loaded, or it has no column of
            images or of classes.
    """
    if not all(re.fullmatch(r"\w[\w.-]*", part) for part in (*name.split("/"), split, subset or "none")):
        raise UsageError(
            f"{name!r}, split {split!r}, subset {subset!r}: give names such as frgfm/imagenette and train"
        )
    subset = subset or _DEFAULT_FOLDER.get(name)
    target = Path(cache_dir) / "--".join([*name.split("/"), *([subset] if subset else [])]) / split
    if not target.is_dir():
        dataset, library = _download(name, split, subset)
        with replace_folder(target) as folder:
            _export(dataset, library, folder, name)
    return scan_folder(target, "folder")


def _download(name: str, split: str, subset: str | None) -> tuple[Any, Any]:
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        raise UsageError(
            f"{name}: reading data sets of the hub needs an extra; pip install 'vitdsi[hub]'"
        ) from error
    # The hub reports every retry; the error below is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        if name in _DEFAULT_FOLDER:
            return library.load_dataset(
                name, data_dir=subset, split=split, revision="refs/convert/parquet"
            ), library
        return library.load_dataset(name, subset, split=split), library
    except Exception as error:  # being offline, a gated data set and a wrong split raise unrelated classes
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{name}, split {split}: cannot be loaded ({reason}); check the name and the network, and for a gated"
            " data set accept its terms and run `hf auth login`"
        ) from error


def _export(dataset: Any, library: Any, folder: Path, name: str) -> None:
    """Write each image to the folder of its class, with the bytes that the data set holds."""

    def column(kind: Any) -> str | None:
        return next((key for key, feature in dataset.features.items() if isinstance(feature, kind)), None)

    image, label = column(library.Image), column(library.ClassLabel)
    if image is None or label is None:
        raise UsageError(
            f"{name}: the columns are {', '.join(dataset.features)}, but one of images and one of classes are needed;"
            " give a data set for image classification"
        )
    names = dataset.features[label].names
    # Images are not decoded, so that JPEG files are not compressed a second time.
    for number, row in enumerate(dataset.cast_column(image, library.Image(decode=False))):
        if not 0 <= row[label] < len(names):
            raise UsageError(
                f"{name}: image {number} has class {row[label]}, so this split has no labels; give another split"
            )
        content = row[image]["bytes"] or Path(row[image]["path"]).read_bytes()
        # Broken files are exported too, and reported when they are decoded.
        suffix = next((suffix for magic, suffix in _SUFFIXES.items() if content.startswith(magic)), ".jpg")
        slug = re.sub(r"\W+", "-", names[row[label]]).strip("-")
        class_folder = folder / f"{row[label]:04d}_{slug}"
        class_folder.mkdir(exist_ok=True)
        (class_folder / f"{number:07d}{suffix}").write_bytes(content)
