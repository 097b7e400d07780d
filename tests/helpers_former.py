"""Writes an index as format 5 had it: one file for each part, and content hashes of 32 digits."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers_stored import content
from safetensors.torch import save_file

from vitdsi.model.coding import with_row_bytes
from vitdsi.state import IndexState


def write_format_5(path: Path, state: IndexState) -> dict[str, Any]:
    """Write a state that `stored` made; return the content of its `index.json`."""
    path.mkdir()
    trie = state.trie
    tensors = {"codes": trie.codes, "nodes": trie.nodes, "child": trie.child, "live": trie.live}
    save_file(tensors, path / "trie-000001.safetensors")
    model = with_row_bytes(state.model, trie, None)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path / "model-000001.safetensors")
    hashes = [content("old", i) for i in range(len(state.image_ids))]
    labels = None if state.labels is None else list(state.labels)
    ids = {"image_ids": list(state.image_ids), "labels": labels, "hashes": hashes, "held_out_labels": None}
    (path / "ids-000001.json").write_text(json.dumps(ids), "utf-8")
    assert state.features is not None and state.thumbnails is not None
    tensors = {
        "differences": state.differences,
        "features": state.features,
        "thumbnails": state.thumbnails.all(),
    }
    if state.held_out is not None:
        tensors |= {"held_out": state.held_out.features, "held_out_ids": state.held_out.ids}
    save_file(tensors, path / "features-000001.safetensors")
    state.metadata.save(path / "metadata-000001.sqlite")
    (path / "decisions-000001.json").write_text(json.dumps({"keep_both": [hashes[1:3]]}), "utf-8")
    files = ["trie.safetensors", "model.safetensors", "ids.json", "features.safetensors", "metadata.sqlite"]
    files += ["decisions.json"]
    if state.keypoints is not None:
        photos = [state.keypoints.of_photo(i) for i in range(len(state.keypoints))]
        offsets = np.cumsum([0, *(len(positions) for _, positions in photos)])
        parts = {
            "descriptors": torch.from_numpy(np.concatenate([descriptors for descriptors, _ in photos])),
            "positions": torch.from_numpy(np.concatenate([positions for _, positions in photos])),
            "offsets": torch.from_numpy(offsets),
        }
        save_file(parts, path / "keypoints-000001.safetensors")
        files += ["keypoints.safetensors"]
    manifest: dict[str, Any] = {
        "format_version": 5,
        "generation": 1,
        "files": {file.partition(".")[0]: file.replace(".", "-000001.") for file in files},
        "base": trie.vocabulary.base,
        "requested": asdict(state.requested),
        "resolved": asdict(state.resolved),
        "weights": state.weights,
        "input_shape": list(state.model.input_shape),
        "report": state.report.as_dict(),
        "changes": [],
    }
    (path / "index.json").write_text(json.dumps(manifest), "utf-8")
    return manifest
