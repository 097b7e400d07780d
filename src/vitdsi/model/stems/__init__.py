"""Stems: from what is stored of an image, its features or pixels, to the tokens that the encoder reads."""

from __future__ import annotations

from vitdsi.model.stems.base import Stem
from vitdsi.model.stems.map_stem import MapStem
from vitdsi.model.stems.pixel_stem import PixelStem
from vitdsi.model.stems.pooled_stem import PooledStem

__all__ = ["STEMS", "MapStem", "PixelStem", "PooledStem", "Stem"]

# Values of the setting `model.stem`. A new stem is registered here and nowhere else.
STEMS: dict[str, type[Stem]] = {
    "pooled": PooledStem,
    "map": MapStem,
    "pixels": PixelStem,
}
