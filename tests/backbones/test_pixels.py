from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers_images import photo

from vitdsi.backbones.base import Backbone
from vitdsi.backbones.pixels import PixelBackbone
from vitdsi.backbones.reader import FeatureReader
from vitdsi.photos.decode import load_square


def test_features_are_the_pixels_themselves() -> None:
    backbone: Backbone = PixelBackbone(24)
    pixels = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
    assert torch.equal(backbone.features(pixels, "pixels"), pixels)
    assert backbone.shapes == {"pixels": (3, 24, 24)}
    assert list(backbone.to(torch.device("cpu")).parameters()) == []


def test_reader_stores_uint8_gives_values_from_0_to_1_and_caches_nothing(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    reader = FeatureReader("pixels", 24, cache=tmp_path / "cache")
    read = reader.load([tmp_path / "a.png"])
    expected = np.moveaxis(load_square(tmp_path / "a.png", 24), 2, 0)[None]
    assert read.features.dtype == torch.uint8
    assert np.array_equal(read.features.numpy(), expected)
    inputs = reader.features(read.features)
    torch.testing.assert_close(inputs, torch.tensor(expected) / 255)
    assert not (tmp_path / "cache").exists()
