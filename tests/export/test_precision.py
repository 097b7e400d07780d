from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_codes import model_config, random_codes
from helpers_transformers import KINDS, write_model

from vitdsi.backbones import backbone_named
from vitdsi.errors import UsageError
from vitdsi.export.graphs import write_graphs
from vitdsi.export.precision import PRECISIONS, check_precision, store_weights, whole_multiples
from vitdsi.exported.graphs import READ, STEP, Graphs
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("efficientnet", *KINDS[1:])]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="'int4'; choose float32, float16 or int8"):
        check_precision("int4", None)


def test_int8_needs_photos(tmp_path: Path) -> None:
    check_precision("int8", tmp_path)
    with pytest.raises(
        UsageError, match="int8 needs photos to calibrate with; give the folder that was indexed"
    ):
        check_precision("int8", None)


@pytest.mark.parametrize("layout", ["rows", "transposed", "convolution", "folded"])
def test_whole_multiples_are_found_wherever_their_outputs_are(layout: str) -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(-100, 101, (40, 60)).astype(np.float32)  # no row needs to reach 127
    steps[3] = 0
    values = steps * rng.uniform(0.001, 0.1, (40, 1)).astype(np.float32)
    if layout == "transposed":
        values = values.T
    elif layout == "convolution":
        values = values[:, :, None, None]
    elif layout == "folded":
        values = values * rng.uniform(0.5, 2, (40, 1)).astype(np.float32)  # as a batch norm does it
    found = whole_multiples(values)
    assert found is not None
    whole, scale = found
    assert whole.dtype == np.int8 and whole.shape == values.shape
    assert scale.size == 40
    np.testing.assert_allclose(whole * scale, values, atol=1e-5 * np.abs(values).max())


def test_other_numbers_are_no_whole_multiples() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 60)).astype(np.float32)
    assert whole_multiples(values) is None
    values[:20] = np.rint(values[:20] * 30)
    assert whole_multiples(values) is None
    assert whole_multiples(values[0]) is None  # a vector would need as many scales


@pytest.mark.parametrize("kind", [KINDS[0], *_SLOW])
def test_smaller_graphs_compute_nearly_the_same(kind: str, tmp_path: Path) -> None:
    name = kind if kind == "efficientnet" else str(write_model(tmp_path / kind, kind))
    backbone = backbone_named("efficientnet-lite0" if kind == "efficientnet" else name)
    torch.manual_seed(0)
    config = model_config(
        stem="pooled", embed_dim=64, mlp_dim=96, num_heads=2, embedding_dim=64, decoder_depth=2
    )
    model = Seq2Seq(config, Trie(random_codes("mixed"), 3), backbone.shapes["pooled"]).eval()
    rng = np.random.default_rng(0)
    side = backbone.image_size
    pixels = rng.integers(0, 256, (3, side, side), dtype=np.uint8)
    found = {}
    for precision in PRECISIONS:
        folder = tmp_path / precision
        folder.mkdir()
        write_graphs(folder, model, backbone, "pooled")
        for graph in (READ, STEP):
            store_weights(folder / graph, precision)
        graphs = Graphs(folder)
        memory, embedding = graphs.read(pixels)
        past = np.zeros((len(memory), 3, memory.shape[1], 0, memory.shape[3]), np.float32)
        given, _ = graphs.step(np.array([0, 1, 2]), 0, embedding, memory, past)
        size = sum((folder / graph).stat().st_size for graph in (READ, STEP))
        found[precision] = (size, embedding / np.linalg.norm(embedding), given)
    large, embedding, given = found["float32"]
    for precision in PRECISIONS[1:]:
        small, nearly, nearly_given = found[precision]
        assert small < 0.75 * large
        assert nearly @ embedding > 0.9999
        np.testing.assert_allclose(nearly_given, given, atol=0.02 * np.abs(given).max())
