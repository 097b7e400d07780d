"""The protocols that backbones follow, and the hash that identifies their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

__all__ = ["Backbone", "TextBackbone", "weights_hash"]


class Backbone(Protocol):
    """Turns photos into features. Networks are frozen and in evaluation mode.

    Attributes:
        name: the value of the setting `model.backbone`.
        image_size: side in pixels of the squares that it reads.
        resample: the filter with which photos are scaled to that size.
        shapes: the shape of the features of one photo, for each kind of features: `pooled` is one vector (F,), and
            `map` is the cells of a feature map (G * G, C).
        dtype: the type in which features are stored: torch.float16, or torch.uint8 for pixels.
        weights: the hash of the content of the weights (see `weights_hash`), None without a network. An index remembers
            it, and is only searched with the same weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def resample(self) -> Image.Resampling: ...
    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def weights(self) -> str | None: ...

    def features(self, pixels: Tensor, kind: str) -> Tensor:
        """Compute features of one kind.

        `FeatureReader` calls this with one photo at a time, so that features do not depend on the size of the batch.

        Args:
            pixels: uint8 RGB (B, 3, S, S), where S is `image_size`, on the device of the backbone. The preprocessing
                that the weights expect is the job of the backbone.
            kind: a key of `shapes`.

        Returns:
            Features (B, *shapes[kind]), in float32 or in `dtype`.
        """
        ...

    def cache_key(self) -> str | None:
        """Identify what the features depend on, as part of a file name, or return None if they are never cached.

        A key names the backbone, the content of its weights (see `weights_hash`), the version of its preprocessing and
        its image size.
        """
        ...

    def to(self, device: torch.device) -> Backbone:
        """Move the weights to a device, in place, and return the backbone."""
        ...

    def parameters(self) -> Iterable[Tensor]:
        """The weights; none if the backbone has no network."""
        ...


@runtime_checkable
class TextBackbone(Backbone, Protocol):
    """A backbone of two towers, whose `pooled` features and text features are vectors of one space."""

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Compute float32 features (T, *shapes["pooled"]) of texts, on the device of the backbone."""
        ...


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return the BLAKE2b-64 hash of the names, types, shapes and values of a state dict, as 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
