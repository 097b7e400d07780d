"""The feature reader: photos to the features that the model reads, through the backbone and the feature cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vitdsi.backbones import BACKBONES, backbone_named
from vitdsi.backbones.base import Backbone, TextBackbone
from vitdsi.backbones.cache import FeatureCache
from vitdsi.backbones.features import to_inputs
from vitdsi.backbones.pixels import PixelBackbone
from vitdsi.backbones.read_photos import ReadPhotos, hash_files
from vitdsi.backbones.share import SHARD_ROWS, share
from vitdsi.engine.base import Engine
from vitdsi.errors import ConfigError, ImageReadError, UsageError
from vitdsi.photos.decode import Pixels, Source, decode, load_square, to_square
from vitdsi.photos.load import load_many
from vitdsi.progress import OnProgress, Progress

__all__ = ["SHARD_ROWS", "Alter", "FeatureReader", "ReadPhotos", "device_for"]

Alter: TypeAlias = Callable[[Image.Image, int], Image.Image]
"""A function of an RGB image, whose shorter side has at least twice the pixels that the backbone reads if the file has
as many, and of its position. It is called in threads, and returns the altered RGB image."""

_REPORT_EVERY = 32  # photos
_THUMBNAIL = 32  # side in pixels
_GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)


def device_for(name: str) -> torch.device:
    """Return the device of this name, where `auto` is CUDA if available, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class FeatureReader:
    """Turns photos into features.

    The features of a photo do not depend on the other photos that are read with it: the backbone gets one photo at a
    time, because the order of its float additions varies with the size of the batch. On a CPU this is not slower.
    A reader is sent to another process as its arguments; all that are sent there are one reader.

    Args:
        kind: the kind of features that the stem of the model reads: `pooled`, `map` or `pixels`.
        image_size: side of the square in pixels for `pixels`. Other kinds read the size of their backbone.
        backbone: a name as `vitdsi.backbones.backbone_named` takes it; `pixels` ignores it.
        weights: the hash of the weights that an index was built with; None takes any weights.
        cache: the folder of the feature cache, or None to keep nothing.
        device: where the backbone runs; None is the CPU.
        engine: shares the work among processes, which meet in the cache; None does it in this one.

    Attributes:
        backbone: the backbone itself.
        image_size: side in pixels of the squares that the backbone reads.
        device: where the backbone runs.
        cache_folder, engine: the folder of the feature cache, and what shares the work, or None.

    Raises:
        UsageError: there is no such backbone, it has no such features, or it has other weights.
    """

    def __init__(
        self,
        kind: str,
        image_size: int = 224,
        *,
        backbone: str = "efficientnet-lite0",
        weights: str | None = None,
        cache: Path | None = None,
        device: torch.device | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._arguments = (kind, image_size, backbone, weights, cache, device)
        self.engine = engine
        self.kind = kind
        self.device = device or torch.device("cpu")
        try:
            made = PixelBackbone(image_size) if kind == "pixels" else backbone_named(backbone)
        except ConfigError as error:
            if weights is None:
                raise
            raise UsageError(
                f"{error}; or say where the weights {weights} of this index are now: --backbone DIR, or"
                " load(backbone=DIR)"
            ) from error
        if kind not in made.shapes:
            raise UsageError(
                f"stem={kind!r}: the backbone {made.name} gives {', '.join(made.shapes)}, or use pixels"
            )
        if weights not in (None, made.weights):
            raise UsageError(
                f"the index was built with weights {weights} of {backbone}, and those found here are {made.weights};"
                " give the folder of the same weights as its backbone, or build the index again"
            )
        self.backbone: Backbone = made.to(self.device)
        self.image_size = self.backbone.image_size
        self.cache_folder = cache
        self._cache = self.cache_of("")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reader_with, (tuple(BACKBONES.items()), *self._arguments)

    def without_engine(self) -> FeatureReader:
        """Return the same reader, which does all work itself."""
        alone = copy.copy(self)
        alone.engine = None
        return alone

    def cache_of(self, suffix: str) -> FeatureCache | None:
        """Return the cache of the features of photos, or with a suffix of something else that was made of photos."""
        key = self.backbone.cache_key()
        if self.cache_folder is None or key is None:
            return None
        return FeatureCache(self.cache_folder, f"{key}-{self.kind}{suffix}")

    @property
    def caches(self) -> bool:
        """Whether features of image files are cached."""
        return self._cache is not None

    @property
    def reads_text(self) -> bool:
        """Whether texts have features of the kind that is read."""
        return self.kind == "pooled" and isinstance(self.backbone, TextBackbone)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into float32 features (T, F), on the device of the reader; the backbone must read text."""
        assert isinstance(self.backbone, TextBackbone)
        return torch.cat([self.backbone.text_features([text]) for text in texts])

    def recall(self, hashes: Sequence[str]) -> tuple[npt.NDArray[np.bool_], Tensor]:
        """Read features from the cache alone, by the first 16 digits of content hashes.

        Returns:
            Which photos the cache has (N,), and stored features (N, *shape), which have no meaning for the others.
        """
        shape, dtype = self.backbone.shapes[self.kind], self.backbone.dtype
        features = torch.empty(len(hashes), *shape, dtype=dtype)
        if self._cache is None:
            return np.zeros(len(hashes), dtype=bool), features
        return self._cache.read(self._cache.completed(hashes), features.numpy()), features

    def features(self, pixels: Tensor) -> Tensor:
        """Turn uint8 pixels (B, 3, S, S) into model inputs (B, *shape): float32, on the device of the reader."""
        return to_inputs(torch.cat([self._features(photo[None]) for photo in pixels]))

    @torch.inference_mode()
    def _features(self, photo: Tensor) -> Tensor:
        """uint8 (1, 3, S, S) -> (1, *shape)."""
        return self.backbone.features(photo.to(self.device), self.kind)

    def load(
        self,
        sources: Sequence[Source],
        *,
        alter: Alter | None = None,
        phase: str = "reading",
        on_progress: OnProgress = None,
    ) -> ReadPhotos:
        """Read photos: features of known files come from the cache, the others pass through the backbone.

        New features reach the cache every `SHARD_ROWS` photos, so a run that was killed continues where it stopped.

        Args:
            sources: the photos, as `vitdsi.photos.decode.decode` takes them.
            alter: changes each image first, given the image and its position. Altered images are neither hashed nor
                cached.
            phase: the phase of the reported progress.
            on_progress: called now and then. Photos that cannot be read count as done.

        Raises:
            UsageError: the cache cannot be written.
        """
        sources = list(sources)
        hashes, errors = (dict.fromkeys(range(len(sources)), ""), []) if alter else hash_files(sources)
        positions = np.array(list(hashes), dtype=np.int64)  # of the rows
        names = list(hashes.values())
        features = torch.empty(len(names), *self.backbone.shapes[self.kind], dtype=self.backbone.dtype)
        thumbnails = torch.empty(len(names), _THUMBNAIL, _THUMBNAIL, dtype=torch.uint8)
        read = np.zeros(len(names), dtype=bool)
        if self._cache is not None:
            if alter is None and self.engine is not None:
                self._share_reading(sources, positions, names, phase, on_progress)
            read = self._cache.read(names, features.numpy(), thumbnails.numpy())
        missing = np.flatnonzero(~read).tolist()
        done = len(sources) - len(missing)
        fresh: list[int] = []  # rows that are not in the cache yet

        def report() -> None:
            if on_progress is not None:
                on_progress(Progress(phase, done, len(sources)))

        def store() -> None:
            if self._cache is not None:
                self._cache.add([names[i] for i in fresh], features[fresh].numpy(), thumbnails[fresh].numpy())
            fresh.clear()

        report()
        files = [sources[positions[row]] for row in missing]

        size, resample = self.image_size, self.backbone.resample

        def square(i: int, source: Source) -> Pixels:
            if alter is None:
                return load_square(source, size, resample)
            return to_square(alter(decode(source, min_side=2 * size), i), size, resample)

        for i, result in load_many(files, square, workers=decoding_threads()):
            done += 1
            if isinstance(result, ImageReadError):
                errors.append(result)
            else:
                row = missing[i]
                photo = torch.tensor(result).permute(2, 0, 1)[None]
                features[row] = self._features(photo)[0].to(features.dtype)
                thumbnails[row] = _thumbnail(photo)
                read[row] = True
                fresh.append(row)
            if len(fresh) == SHARD_ROWS:
                store()
            if (i + 1) % _REPORT_EVERY == 0 or i + 1 == len(files):
                report()
        store()
        kept = np.flatnonzero(read)
        return ReadPhotos(
            positions[kept],
            _pack(features, kept),
            _pack(thumbnails, kept),
            [names[row] for row in kept],
            errors,
        )

    def _share_reading(
        self,
        sources: Sequence[Source],
        positions: npt.NDArray[np.int64],
        names: Sequence[str],
        phase: str,
        on_progress: OnProgress,
    ) -> None:
        """Let the engine fill the cache with the photos that it does not have."""
        assert self._cache is not None
        known = self._cache.has(names)
        unknown = [
            sources[position]
            for position, name, has in zip(positions, names, known, strict=True)
            if name and not has
        ]

        def report(done: int) -> None:
            if on_progress is not None:
                on_progress(Progress(phase, len(sources) - len(unknown) + done, len(sources)))

        share(self.engine, partial(_load, self.without_engine()), unknown, report)


def decoding_threads() -> int:
    """The number of threads that decode photos: half as many as compute."""
    return max(1, torch.get_num_threads() // 2)


@lru_cache(maxsize=1)
def _reader_with(backbones: tuple[tuple[str, str], ...], *arguments: Any) -> FeatureReader:
    """Make the reader that another process sent, which knows the backbones that are registered there."""
    BACKBONES.update(backbones)
    kind, image_size, backbone, weights, cache, device = arguments
    return FeatureReader(kind, image_size, backbone=backbone, weights=weights, cache=cache, device=device)


def _load(reader: FeatureReader, sources: Sequence[Source]) -> None:
    """Read photos into the cache. Those that cannot be read are left to the caller, which will find them missing."""
    reader.load(sources)


def _thumbnail(photo: Tensor) -> Tensor:
    """uint8 pixels (1, 3, S, S) -> uint8 grey (32, 32)."""
    grey = torch.einsum("bchw,c->bhw", photo.float(), torch.tensor(_GREY))
    return F.adaptive_avg_pool2d(grey, _THUMBNAIL)[0].round().to(torch.uint8)


def _pack(rows: Tensor, kept: npt.NDArray[np.int64]) -> Tensor:
    """Move the kept rows to the front, in place and block by block, so that memory never holds all rows twice."""
    if len(kept) < len(rows):
        for start in range(0, len(kept), SHARD_ROWS):
            block = torch.from_numpy(kept[start : start + SHARD_ROWS])
            rows[start : start + len(block)] = rows[block]
    return rows[: len(kept)]
