"""Former formats: what the description and the weights of an index meant in earlier versions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vitdsi.ids.trie import Trie

__all__ = ["upgraded", "upgraded_weights"]


_FORMER_HEAD = (
    "head.rows",
    "head.bias",
    "head.prototypes",
    "head.prototype_bias",
    "head.inner_range",
    "head.inner_token",
)


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `index.json` of any readable format as the present format has it.

    Format 1 had embeddings of the features without square roots, and is not readable. In format 2 the part "features"
    was called "tokens", and settings had other keys. Up to format 3, removed ids had no code, probabilities were
    normalised over live ids, and embeddings had no part for categories. Up to format 4, nothing was learned from hard
    views, and there were no keypoints. Up to format 5, rows were floats.
    """
    version = manifest["format_version"]
    if version < 4:
        manifest["resolved"] = manifest.get("resolved", manifest.get("config"))
        manifest["resolved"]["model"]["category_dim"] = 0
    if version < 5:
        manifest["resolved"]["training"]["hard_views"] = 0
    if version < 6:
        manifest["resolved"]["vector_bytes"] = manifest["row_bytes"] = None
    if version == 2:
        manifest["files"] = {
            {"tokens": "features"}.get(part, part): name for part, name in manifest["files"].items()
        }
        manifest["requested"] = manifest["config"]
    return manifest


def upgraded_weights(weights: dict[str, Tensor], trie: Trie) -> dict[str, Tensor]:
    """Return the weights of a model of any readable format by their present names.

    Up to format 5, a trie head had a row and a bias for each token of each node, (M, V, E) and (M, V), and the
    prototypes of the branch that leads to each node, (M, P, E) and (M, P).
    """
    if "head.rows" not in weights:
        return weights
    kept = {name: value for name, value in weights.items() if name not in _FORMER_HEAD}
    rows, bias, prototypes, prototype_bias = (weights[name] for name in _FORMER_HEAD[:4])
    kept["head.leaves.weight"], kept["head.leaf_bias"] = (
        table[trie.last_edges(torch.arange(len(trie.codes)))] for table in (rows, bias)
    )
    parent, token, _ = trie.parents
    first, first_bias = (table[parent.clamp(min=0), token] for table in (rows, bias))
    if not len(prototypes):
        prototypes, prototype_bias = (
            first.new_empty(len(first), 0, first.shape[1]),
            first.new_empty(len(first), 0),
        )
    kept["head.branches.weight"] = torch.cat([first[:, None], prototypes], dim=1).flatten(0, 1)
    kept["head.branch_bias"] = torch.cat([first_bias[:, None], prototype_bias], dim=1)
    return kept
