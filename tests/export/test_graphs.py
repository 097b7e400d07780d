from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_codes import model_config, random_codes
from helpers_transformers import KINDS, write_model

from vitdsi.backbones import backbone_named
from vitdsi.backbones.base import Backbone
from vitdsi.backbones.efficientnet import EfficientNetLite0
from vitdsi.backbones.features import to_inputs
from vitdsi.backbones.pixels import PixelBackbone
from vitdsi.export.graphs import _stacked, _Step, write_graphs
from vitdsi.exported.graphs import Graphs
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:]]


def _backbone(kind: str, folder: Path) -> Backbone:
    if kind == "pixels":
        return PixelBackbone(32)
    if kind == "efficientnet":
        return EfficientNetLite0()
    return backbone_named(str(write_model(folder / kind, kind)))


def _assert_parity(folder: Path, backbone: Backbone, stem: str, **settings: object) -> None:
    trie = Trie(random_codes("mixed"), 3)
    torch.manual_seed(0)
    config = model_config(
        stem=stem, embed_dim=16, mlp_dim=24, num_heads=2, embedding_dim=8, decoder_depth=2, **settings
    )
    model = Seq2Seq(config, trie, backbone.shapes[stem]).eval()
    for parameter in model.parameters():
        parameter.detach().normal_(0, 0.3)
    write_graphs(folder, model, backbone, stem)
    graphs = Graphs(folder)
    side = backbone.image_size
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, side, side), dtype=np.uint8)
    with torch.no_grad():
        found = backbone.features(torch.from_numpy(pixels)[None], stem)
        memory, embedding = model.encode(to_inputs(found))
    ours = graphs.read(pixels)
    expected = _stacked(memory)
    np.testing.assert_allclose(ours[0], expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(ours[1], embedding[0], atol=1e-4)
    step = _Step(model)
    for depth in (0, 2):
        shape = (len(expected), 1, 3, expected.shape[2], depth, expected.shape[4])
        past = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
        with torch.no_grad():
            given, present = step(torch.tensor([[0, 1, 2]]), torch.tensor([depth]), embedding, expected, past)
        our_given, our_present = graphs.step(
            np.array([0, 1, 2]), depth, embedding[0].numpy(), expected[:, 0].numpy(), past[:, 0].numpy()
        )
        np.testing.assert_allclose(our_given, given[0], atol=1e-4)
        np.testing.assert_allclose(our_present, present[:, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["efficientnet", KINDS[0], *_SLOW])
def test_graphs_compute_what_torch_computes_from_pooled_features(kind: str, tmp_path: Path) -> None:
    _assert_parity(tmp_path, _backbone(kind, tmp_path), "pooled")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["efficientnet", "vit"])
def test_graphs_compute_what_torch_computes_from_maps(kind: str, tmp_path: Path) -> None:
    _assert_parity(tmp_path, _backbone(kind, tmp_path), "map", depth=1)


@pytest.mark.parametrize("architecture", ["encoder_decoder", "single_stack"])
@pytest.mark.parametrize("head", ["trie", "digits"])
def test_graphs_compute_what_torch_computes_from_pixels(head: str, architecture: str, tmp_path: Path) -> None:
    settings = {"head": head, "architecture": architecture, "image_size": 32, "patch_size": 8, "depth": 2}
    _assert_parity(tmp_path, _backbone("pixels", tmp_path), "pixels", **settings)
