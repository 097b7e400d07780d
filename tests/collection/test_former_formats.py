from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers_codes import random_codes, small_model

from vitdsi.collection.former_formats import upgraded, upgraded_weights
from vitdsi.ids.trie import NONE, Trie


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
