"""Frozen backbone features of image files, cached on disk by content.

The cache is a folder of shards: `<key>.npy` files of float16 rows beside a JSON list of content hashes. A row is
found by the hash of the file's bytes, so renamed, moved and duplicated files cost nothing; the key names the
backbone, the size and the kind of features, so another preprocessing never reads these rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.errors import ImageReadError
from vitdsi.files import write_atomically
from vitdsi.images import Source, load_many, read_bytes_hash
from vitdsi.model.efficientnet import EfficientNetLite0, preprocess

_BATCH = 32
_KEY = "efficientnet-lite0-224-v1"
_THUMBNAIL = 32
_GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)

Progress = Callable[[int, int], None]
_Row = npt.NDArray[np.float16 | np.uint8]


@dataclass(frozen=True)
class Loaded:
    """What could be read of a list of files.

    Attributes:
        kept: (n,) positions in the list that was given.
        inputs: (n, *shape) model inputs: float16 features, or uint8 pixels (n, 3, S, S).
        thumbnails: (n, 32, 32) uint8, grey; what near-identical images are told by.
        hashes: n content hashes.
        errors: the files that could not be read.
    """

    kept: npt.NDArray[np.int64]
    inputs: Tensor
    thumbnails: Tensor
    hashes: list[str]
    errors: list[ImageReadError]


def default_cache() -> Path:
    """Where features of files are kept between runs: $VITDSI_CACHE, else the user's cache folder."""
    given = os.environ.get("VITDSI_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitdsi"


def device_for(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class InputLoader:
    """Turns image files into the inputs that a stem reads: `pooled` (1280,), `map` (49, 320) or `pixels`.

    Args:
        stem: as in ModelConfig.
        image_size: side of the square in pixels; backbone stems read 224.
        cache: folder of the feature cache, or None to keep none.
    """

    def __init__(
        self,
        stem: str,
        image_size: int = 224,
        *,
        cache: Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.stem = stem
        self.device = device or torch.device("cpu")
        self.backbone: EfficientNetLite0 | None = None
        self.image_size = image_size
        self.cache: tuple[_FeatureCache, _FeatureCache] | None = None
        if stem != "pixels":
            self.backbone = EfficientNetLite0().to(self.device)
            self.image_size = EfficientNetLite0.image_size
            if cache is not None:
                self.cache = (
                    _FeatureCache(cache, f"{_KEY}-{stem}", self.shape),
                    _FeatureCache(cache, f"{_KEY}-thumbnail", (_THUMBNAIL, _THUMBNAIL)),
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """One image's input without the batch axis."""
        if self.stem == "pooled":
            return (EfficientNetLite0.feature_dim,)
        if self.stem == "map":
            return ((self.image_size // 32) ** 2, EfficientNetLite0.map_dim)
        return (3, self.image_size, self.image_size)

    @torch.inference_mode()
    def inputs(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 (B, 3, S, S) -> float inputs (B, *shape) on the loader's device, ready for the model."""
        pixels = pixels.to(self.device)
        if self.backbone is None:
            return pixels.float() / 255
        feature_map, pooled = self.backbone(preprocess(pixels))
        out: Tensor = pooled if self.stem == "pooled" else feature_map.flatten(2).transpose(1, 2)
        return out

    def load(
        self,
        sources: Sequence[Source],
        *,
        alter: Callable[..., object] | None = None,
        progress: Progress | None = None,
    ) -> Loaded:
        """Read, and run the backbone over, every file that the cache does not hold.

        `alter(image, index)` changes the images first; altered images are neither cached nor hashed.
        """
        sources = list(sources)
        hashes: dict[int, str] = {}
        rows: dict[int, _Row] = {}
        thumbnails: dict[int, _Row] = {}
        errors: list[ImageReadError] = []
        if alter is None:
            for i, source in enumerate(sources):
                try:
                    hashes[i] = _hash(source)
                except ImageReadError as error:
                    errors.append(error)
            if self.cache is not None:
                rows, thumbnails = (cache.read(hashes) for cache in self.cache)
                rows = {i: row for i, row in rows.items() if i in thumbnails}
        todo = [i for i in range(len(sources)) if i not in rows and (alter is not None or i in hashes)]
        done = len(sources) - len(todo)
        if progress is not None:
            progress(done, len(sources))
        waiting: list[tuple[int, npt.NDArray[np.uint8]]] = []

        def flush() -> None:
            if not waiting:
                return
            pixels = torch.from_numpy(np.stack([image for _, image in waiting])).permute(0, 3, 1, 2)
            values = pixels if self.backbone is None else self.inputs(pixels).half().cpu()
            small = _thumbnails(pixels)
            for (i, _), row, thumbnail in zip(waiting, values.numpy(), small.numpy(), strict=True):
                rows[i], thumbnails[i] = row, thumbnail
            if progress is not None:
                progress(done + len(rows), len(sources))
            waiting.clear()

        files = [sources[i] for i in todo]
        workers = max(1, (os.cpu_count() or 2) // 2)
        for position, result in load_many(files, self.image_size, workers=workers, alter=alter):  # type: ignore[arg-type]
            if isinstance(result, ImageReadError):
                errors.append(result)
                continue
            waiting.append((todo[position], result))
            if len(waiting) == _BATCH:
                flush()
        flush()
        if self.cache is not None and alter is None:
            for cache, found in zip(self.cache, (rows, thumbnails), strict=True):
                cache.add({hashes[i]: found[i] for i in todo if i in rows})
        kept = np.array(sorted(rows), dtype=np.int64)
        if not len(kept):
            return Loaded(kept, torch.empty(0, *self.shape), torch.empty(0, 0, 0), [], errors)
        inputs, small = (
            torch.from_numpy(np.stack([part[int(i)] for i in kept])) for part in (rows, thumbnails)
        )
        return Loaded(kept, inputs, small, [hashes.get(int(i), "") for i in kept], errors)


def _thumbnails(pixels: Tensor) -> Tensor:
    """Pixels uint8 (B, 3, S, S) -> (B, 32, 32) uint8, grey."""
    grey = torch.einsum("bchw,c->bhw", pixels.float(), torch.tensor(_GREY))
    return F.adaptive_avg_pool2d(grey, _THUMBNAIL).round().to(torch.uint8)


def _hash(source: Source) -> str:
    if isinstance(source, (str, Path)):
        return read_bytes_hash(Path(source))
    return ""


class _FeatureCache:
    """Rows by content hash, in shards that are written once and read memory-mapped."""

    def __init__(self, folder: Path, key: str, shape: tuple[int, ...]) -> None:
        self.folder = folder
        self.key = key
        self.shape = shape
        self.where: dict[str, tuple[Path, int]] = {}
        for listing in sorted(folder.glob(f"{key}-*.json")):
            array = listing.with_suffix(".npy")
            if array.exists():
                for row, name in enumerate(json.loads(listing.read_text("utf-8"))):
                    self.where[name] = (array, row)

    def read(self, hashes: dict[int, str]) -> dict[int, _Row]:
        opened: dict[Path, _Row] = {}
        found: dict[int, _Row] = {}
        for i, name in hashes.items():
            if name in self.where:
                path, row = self.where[name]
                if path not in opened:
                    opened[path] = np.load(path, mmap_mode="r")
                found[i] = opened[path][row]
        return found

    def add(self, rows: dict[str, _Row]) -> None:
        rows = {name: row for name, row in rows.items() if name and name not in self.where}
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        names = list(rows)
        listing = self.folder / f"{self.key}-{names[0]}.json"
        array = listing.with_suffix(".npy")
        with write_atomically(array) as stream:
            np.save(stream, np.stack([rows[name] for name in names]))
        with write_atomically(listing) as stream:
            stream.write(json.dumps(names).encode())
        for row, name in enumerate(names):
            self.where[name] = (array, row)
