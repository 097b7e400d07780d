"""The weights of an index on disk: those that belong to one image each, in segments, and all others in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vitdsi.model.coding import packed, split_by_image, unpacked
from vitdsi.model.seq2seq import Seq2Seq

__all__ = ["read_weights", "shared_weights", "weights_of_images"]


def shared_weights(model: Seq2Seq) -> dict[str, Tensor]:
    """Return the weights that belong to no single image, as an index stores them."""
    _, shared = split_by_image(model.state_dict())
    return packed({name: value.contiguous() for name, value in shared.items()})


def weights_of_images(model: Seq2Seq, first: int = 0, last: int | None = None) -> dict[str, Tensor]:
    """Return the weights of the ids from `first` to `last` - 1, as an index stores them; none if the head has none."""
    of_images, _ = split_by_image(model.state_dict())
    return packed({name: value[first:last] for name, value in of_images.items()})


def read_weights(files: Mapping[str, Sequence[Path]]) -> dict[str, Tensor]:
    """Read the weights of the model. Up to format 6, all were in one file."""
    weights = unpacked(load_file(files["model"][0]))
    segments = [unpacked(load_file(file)) for file in files.get("rows", ())]
    for name in segments[0] if segments else ():
        parts = [segment[name] for segment in segments]
        weights[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    return weights
