"""The reader of photos that a model needs."""

from __future__ import annotations

from pathlib import Path

import torch

from vitdsi.backbones.reader import FeatureReader
from vitdsi.config import ModelConfig
from vitdsi.engine.base import Engine
from vitdsi.model.stems import STEMS
from vitdsi.registry import choose

__all__ = ["reader_for"]


def reader_for(
    config: ModelConfig,
    weights: str | None,
    *,
    backbone: str | None = None,
    cache: Path | None = None,
    device: torch.device | None = None,
    engine: Engine | None = None,
) -> FeatureReader:
    """Return a reader of what the stem of a model reads.

    Args:
        config: the settings of the model.
        weights, cache, device, engine: as for `FeatureReader`.
        backbone: where the weights of the backbone are, if not where the settings say.

    Raises:
        ConfigError: there is no such stem.
        UsageError: as for `FeatureReader`.
    """
    return FeatureReader(
        choose(STEMS, "model.stem", config.stem).reads,
        config.paper.image_size,
        backbone=backbone or config.backbone,
        weights=weights,
        cache=cache,
        device=device,
        engine=engine,
    )
