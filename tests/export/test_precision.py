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
from vitdsi.export.precision import PRECISIONS, check_precision, store_weights
from vitdsi.exported.graphs import READ, STEP, Graphs
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("efficientnet", *KINDS[1:])]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="'int8'; choose float32 or float16"):
        check_precision("int8")


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
    (large, embedding, given), (small, nearly, nearly_given) = found.values()
    assert small < 0.75 * large
    assert nearly @ embedding > 0.9999
    np.testing.assert_allclose(nearly_given, given, atol=0.02 * np.abs(given).max())
