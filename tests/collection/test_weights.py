from __future__ import annotations

from pathlib import Path

import torch
from helpers_stored import DIM, stored
from safetensors.torch import save_file

from vitdsi import load_config
from vitdsi.collection.weights import read_weights, shared_weights, weights_of_images
from vitdsi.model.seq2seq import Seq2Seq


def test_segments_and_the_other_weights_are_the_whole_model(tmp_path: Path) -> None:
    model = stored().model
    parts = {
        "model": [shared_weights(model)],
        "rows": [weights_of_images(model, 0, 40), weights_of_images(model, 40)],
    }
    files = {
        part: [tmp_path / f"{part}{i}" for i in range(len(contents))] for part, contents in parts.items()
    }
    for part, contents in parts.items():
        for file, content in zip(files[part], contents, strict=True):
            save_file(content, file)
    read, weights = read_weights(files), model.state_dict()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_model_without_a_trie_head_has_no_weights_of_images() -> None:
    config = load_config(
        overrides=["model.paper.head=digits", "model.embed_dim=32", "model.mlp_dim=32"]
    ).model
    model = Seq2Seq(config, stored().trie, (DIM,))
    assert weights_of_images(model) == {} and set(shared_weights(model)) == set(model.state_dict())
