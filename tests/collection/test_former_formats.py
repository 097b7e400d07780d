from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_codes import random_codes, small_model
from helpers_former import write_format_5
from helpers_stored import add, content, stored
from safetensors.torch import load_file, save_file

from vitdsi.collection.former_formats import upgraded, upgraded_weights
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import FORMAT_VERSION, read_index, sizes, write_index
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.coding import with_row_bytes
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank

REMOVAL = ("live",)


def names(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()} - {"lock"}


def manifest(version: int) -> dict[str, Any]:
    settings = {"model": {"category_dim": 64}, "training": {"hard_views": 3}}
    files = {"tokens" if version == 2 else "features": "features.safetensors"}
    key = "config" if version == 2 else "resolved"
    return {"format_version": version, "files": files, key: settings, "requested": "as asked"}


def test_the_present_format_stays_as_it_is() -> None:
    present = {**manifest(6), "lineage": "a", "files": {"features": [("features.safetensors", 9)]}}
    assert upgraded({**present}) == present


def test_parts_were_one_file_each_up_to_format_5() -> None:
    assert upgraded(manifest(5))["files"] == {"features": [("features.safetensors", 0)]}


@pytest.mark.parametrize(("version", "categories"), [(2, 0), (3, 0), (4, 64)])
def test_former_formats_learned_less(version: int, categories: int) -> None:
    made = upgraded(manifest(version))
    assert made["resolved"]["model"]["category_dim"] == categories
    assert made["resolved"]["training"]["hard_views"] == 0
    assert made["resolved"]["vector_bytes"] is None and made["row_bytes"] is None
    assert list(made["files"]) == ["features"]


@pytest.mark.parametrize("prototypes", [0, 2])
def test_weights_of_a_former_trie_head_give_the_same_scores(prototypes: int) -> None:
    trie = Trie(random_codes("mixed"), 3)
    model = small_model(trie, prototypes=prototypes)
    head = model.head
    rows = torch.zeros(*trie.child.shape, head.leaves.weight.shape[1], dtype=torch.float64)
    bias = torch.zeros(trie.child.shape, dtype=torch.float64)
    branches = head.branches.weight.detach().view(*head.branch_bias.shape, -1)
    for node, token in torch.nonzero(trie.child != NONE).tolist():
        child = int(trie.child[node, token])
        rows[node, token] = branches[child, 0] if child >= 0 else head.leaves.weight[-2 - child].detach()
        bias[node, token] = head.branch_bias[child, 0] if child >= 0 else head.leaf_bias[-2 - child]
    former = {name: value for name, value in model.state_dict().items() if "leaves" not in name}
    former = {name: value for name, value in former.items() if "leaf" not in name and "branch" not in name}
    former |= {"head.rows": rows, "head.bias": bias}
    former |= {"head.prototypes": branches[:, 1:], "head.prototype_bias": head.branch_bias.detach()[:, 1:]}
    former |= {"head.inner_range": torch.zeros(1), "head.inner_token": torch.zeros(1)}
    other = small_model(trie, prototypes=prototypes, seed=1)
    other.load_state_dict(upgraded_weights(former, trie))
    features = torch.randn(23, 12, dtype=torch.float64)
    found, expected = (m(features, trie.codes, trie.nodes) for m in (other, model))
    torch.testing.assert_close(found, expected)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """An index as it was up to format 3, without a part for categories and without held-out views."""
    path = tmp_path / "former.dsi"
    write_format_5(path, replace(stored(former=True), held_out=None))
    return path


def test_index_of_format_6_has_the_rows_of_images_among_the_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    write_index(path, stored())
    model, rows = (path / f"{part}-000001.safetensors" for part in ("model", "rows"))
    save_file(load_file(model) | load_file(rows), model)
    rows.unlink()
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    del manifest["files"]["rows"], manifest["checksums"], manifest["checksum"]
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 6}), "utf-8")
    weights = stored().model.state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in read_index(path).model.state_dict().items()
    )
    write_index(path, remove(read_index(path), [4, 9]), REMOVAL)
    grown = add(read_index(path), 2)
    write_index(path, grown, GROWING)
    assert {file.name for file in path.glob("rows-*")} == {"rows-000003.safetensors"}
    weights = grown.model.state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in read_index(path).model.state_dict().items()
    )


def test_index_of_format_5_is_read_and_rewritten_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    before = replace(stored(), model=with_row_bytes(stored().model, stored().trie, None))
    write_format_5(path, before)
    after = read_index(path)
    assert after.image_ids == before.image_ids and after.labels == before.labels
    assert list(after.hashes) == list(before.hashes)
    assert after.decisions == ((content("old", 1)[:16], content("old", 2)[:16]),)
    assert after.held_out is not None and after.keypoints is not None and before.keypoints is not None
    assert np.array_equal(after.keypoints.since(0).values, before.keypoints.since(0).values)
    found = rank(after, after.features, SearchOptions(k=3))
    assert np.array_equal(found.ids, rank(before, before.features, SearchOptions(k=3)).ids)
    write_index(path, remove(after, [1]), REMOVAL)
    assert names(path) == {"index.json", *(f"{part}-000002.{suffix}" for part, suffix in PARTS.items())}
    assert len(read_index(path).trie.live_ids()) == 59


def test_index_of_format_4_has_no_keypoints(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    manifest = write_format_5(path, stored())
    (path / manifest["files"].pop("keypoints")).unlink()
    del manifest["requested"]["keypoints"], manifest["resolved"]["keypoints"]
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 4}), "utf-8")
    index = read_index(path)
    assert index.keypoints is None
    assert write_index(path, remove(index, [1]), REMOVAL) == 2
    assert read_index(path).keypoints is None and "keypoints" not in sizes(path)


def test_removed_ids_of_format_3_have_no_code(former: Path) -> None:
    """Up to format 3, a removal deleted the code of an id and the branches that led only to it."""
    path = former
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    tensors = load_file(path / manifest["files"]["trie"])
    del tensors["live"]
    child, nodes, tokens = tensors["child"], *stored(former=True).trie.last_edges(torch.tensor([4, 9]))
    child[nodes, tokens] = -1
    tensors["codes"][[4, 9]], tensors["nodes"][[4, 9]] = stored(former=True).trie.vocabulary.pad, -1
    save_file(tensors, path / manifest["files"]["trie"])
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 3}), "utf-8")
    index = read_index(path)
    assert index.trie.live_ids().tolist() == [i for i in range(60) if i not in (4, 9)]
    found = rank(index, index.features, SearchOptions(k=60, rerank=False))
    assert found.ids.shape == (60, 58) and found.proven.all()
    write_index(path, index, REMOVAL)
    assert json.loads((path / "index.json").read_text("utf-8"))["format_version"] == FORMAT_VERSION
    assert torch.equal(read_index(path).trie.live, index.trie.live)


def test_index_of_format_2_is_read_and_rewritten(former: Path) -> None:
    """Format 2 called the features tokens and inputs, and some settings by other names."""
    path = former
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    tensors = load_file(path / manifest["files"].pop("features"))
    save_file(
        {{"features": "inputs"}.get(name, name): value for name, value in tensors.items()},
        path / "tokens-000001.safetensors",
    )
    manifest["files"]["tokens"] = "tokens-000001.safetensors"
    config = manifest.pop("resolved")
    del manifest["requested"]
    model, training = config["model"], config["training"]
    model |= {
        "head_dim": model.pop("embedding_dim"),
        "memory_tokens": 4,
        "head_scale": 20.0,
        **model.pop("paper"),
    }
    training |= {"views": training.pop("augment_prob"), "gradient_clip": 1.0, **training.pop("paper")}
    del model["backbone"], model["category_dim"]
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 2, "config": config}), "utf-8")
    before, after = stored(former=True), read_index(path)
    assert after.resolved == before.resolved
    assert after.features is not None and before.features is not None
    assert torch.equal(after.features, before.features)
    write_index(path, remove(after, [1]))
    assert not list(path.glob("tokens-*"))
    assert len(read_index(path).trie.live_ids()) == 59
