from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_codes import model_config, random_codes
from helpers_transformers import KINDS, SIDE, write_model
from PIL import Image
from torch import Tensor

from vitdsi.backbones import backbone_named
from vitdsi.backbones.base import Backbone
from vitdsi.backbones.pixels import PixelBackbone
from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import UsageError
from vitdsi.export.graphs import write_graph, write_graphs
from vitdsi.export.int8 import MOST_ERROR, calibration_photos, quantised, rounded
from vitdsi.export.precision import store_weights, whole_multiples
from vitdsi.exported.graphs import READ, STEP, Graphs
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq

_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("efficientnet", *KINDS[1:])]


def _backbone(kind: str, folder: Path) -> Backbone:
    return backbone_named(
        "efficientnet-lite0" if kind == "efficientnet" else str(write_model(folder / kind, kind))
    )


def _photos(count: int, side: int) -> Tensor:
    """Random photos, each of which has some large patches."""
    coarse = torch.randint(0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear").byte()


def _error(backbone: Backbone, exact: Backbone, photos: Tensor) -> float:
    with torch.no_grad():
        found, expected = backbone.features(photos, "pooled"), exact.features(photos, "pooled")
    spread = (expected - expected.mean(0)).square().sum()
    return float(((found - expected).square().sum() / spread).sqrt())


def _layers(backbone: Backbone) -> list[Any]:
    network = backbone if isinstance(backbone, torch.nn.Module) else vars(backbone)["_model"]
    return [layer for layer in network.modules() if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))]


def test_outputs_of_correlated_inputs_change_less_than_if_each_weight_is_rounded_to_the_nearest() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2000, 20) @ torch.randn(20, 160) + 0.1 * torch.randn(2000, 160)
    weight = torch.randn(30, 160)
    found = rounded(weight, inputs.T @ inputs)
    scale = weight.abs().amax(1, keepdim=True) / 127
    nearest = (weight / scale).round() * scale

    def error(changed: Tensor) -> float:
        return float((inputs @ (changed - weight).T).square().sum())

    assert error(found) < 0.3 * error(nearest)
    assert whole_multiples(found.numpy()) is not None
    assert float((found - weight).abs().max()) < 0.1


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    found = rounded(weight, torch.zeros(8, 8))
    torch.testing.assert_close(found, weight, atol=0.02, rtol=0)


@pytest.mark.parametrize("most_error", [0.0, 0.004, 1.0])
def test_features_of_photos_that_rounding_did_not_see_keep_the_bound(
    most_error: float, tmp_path: Path
) -> None:
    backbone = _backbone("vit", tmp_path)
    photos = _photos(32, SIDE)
    found = quantised(backbone, "pooled", photos, most_error)
    pairs = zip(_layers(found), _layers(backbone), strict=True)
    changed = sum(not torch.equal(one.weight, other.weight) for one, other in pairs)
    linear = 13  # 6 in each of two blocks, and the pooler
    assert {0.0: changed == 0, 0.004: 0 < changed < linear, 1.0: changed == linear}[most_error]
    assert _error(found, backbone, photos[::4]) <= most_error + 1e-6


@pytest.mark.slow
def test_features_of_the_default_backbone_hardly_change_for_new_photos(tmp_path: Path) -> None:
    backbone = _backbone("efficientnet", tmp_path)
    photos = _photos(48, 224)
    found = quantised(backbone, "pooled", photos[:32])
    pairs = zip(_layers(found), _layers(backbone), strict=True)
    changed = [one.weight.numel() for one, other in pairs if not torch.equal(one.weight, other.weight)]
    assert sum(changed) > 300_000
    assert _error(found, backbone, photos[32:]) < 2 * MOST_ERROR


def test_a_backbone_without_layers_stays_as_it_is() -> None:
    found = quantised(PixelBackbone(16), "pixels", _photos(8, 16))
    assert isinstance(found, PixelBackbone)


def test_a_graph_of_rounded_layers_is_stored_without_loss(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    convolution, norm = (
        torch.nn.Conv2d(32, 64, 1),
        torch.nn.BatchNorm2d(64),
    )  # which the exporter folds into one
    norm.running_var = torch.rand(64) + 0.5
    transposed = torch.nn.Linear(16, 64, bias=False)  # a MatMul; the other one is a Gemm
    last = torch.nn.Linear(64 * 64, 8)
    flat = torch.nn.Flatten
    network = torch.nn.Sequential(
        convolution, norm, torch.nn.ReLU(), flat(2), transposed, flat(1), last
    ).eval()
    for layer in (convolution, transposed, last):
        matrix = layer.weight.detach().flatten(1)
        layer.weight.data = rounded(matrix, torch.eye(matrix.shape[1])).view_as(layer.weight)
    inputs = torch.randn(1, 32, 4, 4)
    path = tmp_path / "graph.onnx"
    write_graph(path, network, {"x": inputs}, ["y"], {})
    large = path.stat().st_size
    store_weights(path, "int8")
    (found,) = onnxruntime.InferenceSession(path).run(["y"], {"x": inputs.numpy()})
    np.testing.assert_allclose(found, network(inputs).detach(), atol=1e-4)
    assert path.stat().st_size < 0.35 * large


@pytest.mark.parametrize("kind", [KINDS[0], *_SLOW])
def test_a_stored_graph_computes_what_the_rounded_backbone_computes(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    backbone = _backbone(kind, tmp_path)
    photos = _photos(8, backbone.image_size)
    found = quantised(backbone, "pooled", photos, most_error=1.0)
    torch.manual_seed(0)
    config = model_config(
        stem="pooled", embed_dim=64, mlp_dim=96, num_heads=2, embedding_dim=64, decoder_depth=1
    )
    model = Seq2Seq(config, Trie(random_codes("mixed"), 3), backbone.shapes["pooled"]).eval()
    for name in ("float32", "float16", "int8"):
        (tmp_path / name).mkdir()
        write_graphs(tmp_path / name, model, found, "pooled")
        for graph in (READ, STEP):
            store_weights(tmp_path / name / graph, name)
    pixels = photos[1].numpy()
    expected, ours = (Graphs(tmp_path / name).read(pixels)[1] for name in ("float32", "int8"))
    np.testing.assert_allclose(
        ours, expected, atol=0.01 * np.abs(expected).max()
    )  # other weights are float16
    int8, float16 = ((tmp_path / name / READ).stat().st_size for name in ("int8", "float16"))
    assert int8 < 0.95 * float16


def test_photos_are_taken_from_the_whole_folder_and_too_few_are_refused(tmp_path: Path) -> None:
    for number in range(100):
        grey = Image.new("RGB", (20, 20), (number, number, number))
        grey.save(tmp_path / f"{number:03}.png")
    reader = FeatureReader("pixels", 16)
    photos = calibration_photos(tmp_path, reader)
    assert photos.shape == (64, 3, 16, 16)
    assert [photos[0].max(), photos[-1].max()] == [0, 99]
    for number in range(100):
        if number > 6:
            (tmp_path / f"{number:03}.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"has \d photos that can be read, and int8 needs at least 8"):
        calibration_photos(tmp_path, reader)
