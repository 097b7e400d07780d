from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_codes import random_codes

from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.images import load_square
from vitdsi.model.efficientnet import EfficientNetLite0, _SameConv, preprocess
from vitdsi.model.layers import sinusoidal_positions, sinusoidal_positions_2d
from vitdsi.model.patches import PixelPatches
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import Trie


@pytest.mark.parametrize("patch_size", [8, 16, 32])
@pytest.mark.parametrize("positions", ["learned", "sincos1d", "sincos2d"])
def test_pixel_patches_know_where_they_are(patch_size: int, positions: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(image_size=64, patch_size=patch_size, positions=positions, embed_dim=16)
    stem = PixelPatches(config)
    assert stem(torch.rand(2, 3, 64, 64)).shape == (2, (64 // patch_size) ** 2, 16)
    tokens = stem(torch.zeros(1, 3, 64, 64))[0]
    assert len(torch.unique(tokens, dim=0)) == len(tokens), "equal patches at different places look the same"
    is_parameter = "positions.table" in dict(stem.named_parameters())
    assert is_parameter == (positions == "learned")


@pytest.mark.parametrize(
    ("stem", "shape"), [("pixels", (3, 32, 32)), ("map", (49, 320)), ("pooled", (1280,))]
)
def test_every_stem_gives_scores_for_every_digit(stem: str, shape: tuple[int, ...]) -> None:
    trie = Trie(random_codes("mixed"), 3)
    config = ModelConfig(stem=stem, image_size=32, patch_size=8, embed_dim=16, mlp_dim=16, depth=1)
    model = Seq2Seq(config, trie, shape)
    scores = model(torch.rand(4, *shape), trie.codes[:4], trie.nodes[:4])
    assert scores.shape == (4, trie.max_length, trie.vocabulary.outputs)
    scores.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name.startswith("stem"))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not divide"):
        PixelPatches(ModelConfig(image_size=50, patch_size=16))
    with pytest.raises(ConfigError, match="learned, sincos2d or sincos1d"):
        PixelPatches(ModelConfig(positions="rotary"))


def test_fixed_positions_are_all_different() -> None:
    for table in (sinusoidal_positions(100, 32), sinusoidal_positions_2d(10, 10, 32)):
        assert table.shape == (100, 32)
        distances = torch.cdist(table, table) + torch.eye(100)
        assert float(distances.min()) > 0.1
    torch.testing.assert_close(sinusoidal_positions(3, 4)[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite0:
    return EfficientNetLite0()


def test_a_known_photo_gets_its_class(backbone: EfficientNetLite0) -> None:
    skimage = pytest.importorskip("skimage")
    photo = load_square(Path(skimage.__file__).parent / "data" / "chelsea.png", 224)
    pixels = torch.tensor(photo).permute(2, 0, 1)[None]
    with torch.inference_mode():
        features, pooled = backbone(preprocess(pixels))
        best = backbone.logits(pooled)[0].topk(3).indices.tolist()
    assert features.shape == (1, 320, 7, 7) and pooled.shape == (1, 1280)
    assert best[0] == 285  # Egyptian cat
    assert set(best) <= {281, 282, 285}  # tabby, tiger cat, Egyptian cat


def test_the_backbone_is_frozen(backbone: EfficientNetLite0) -> None:
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())


def test_preprocessing_is_the_one_the_weights_expect() -> None:
    pixels = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-127 / 128, 0.0, 1.0]]]])
    torch.testing.assert_close(preprocess(pixels), expected)
    torch.testing.assert_close(preprocess(pixels / 255), expected)


@pytest.mark.parametrize("size", [7, 8, 224, 225])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows_same(size: int, kernel: int, stride: int) -> None:
    conv = _SameConv(1, 1, kernel, stride, bias=False)
    image = torch.rand(1, 1, size, size)
    out_size = int(np.ceil(size / stride))
    total = max((out_size - 1) * stride + kernel - size, 0)
    padded = F.pad(image, (total // 2, total - total // 2) * 2)
    expected = F.conv2d(padded, conv.weight, stride=stride)
    torch.testing.assert_close(conv(image), expected)
    assert expected.shape[-1] == out_size
