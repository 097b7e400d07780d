"""Former formats: what the description, the files and the weights of an index meant in earlier versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitdsi.collection.parts import read_decisions, read_differences
from vitdsi.columns.hashes import HASH_DIGITS, ContentHashes
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.columns.segments import Ragged
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.trie import Trie
from vitdsi.model.graft import graft
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.photos.keypoints import Keypoints
from vitdsi.state import HeldOut

__all__ = ["FORMER_SUFFIXES", "is_former", "read_former_parts", "renumbered", "upgraded", "upgraded_weights"]

FORMER_SUFFIXES = (("tokens", "safetensors"), ("ids", "json"))
"""Parts and names of files that no longer exist."""

_FORMER_HEAD = (
    "head.rows",
    "head.bias",
    "head.prototypes",
    "head.prototype_bias",
    "head.inner_range",
    "head.inner_token",
)


def is_former(manifest: dict[str, Any]) -> bool:
    """Return whether an index has a format up to 5, in which no part was in segments."""
    return "lineage" not in manifest


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `index.json` of any readable format as the present format has it.

    Format 1 had embeddings of the features without square roots, and is not readable. In format 2 the part "features"
    was called "tokens", and settings had other keys. Up to format 3, removed ids had no code, probabilities were
    normalised over live ids, and embeddings had no part for categories. Up to format 4, nothing was learned from hard
    views, and there were no keypoints. Up to format 5, rows were floats, and each part was one file; `upgraded_weights`
    and `read_former_parts` read these.
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
    if is_former(manifest):
        manifest["files"] = {part: [(name, 0)] for part, name in manifest["files"].items()}
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


def read_former_parts(files: Mapping[str, Sequence[Path]], base: int) -> dict[str, Any]:
    """Read all parts but the model of an index up to format 5; return them as arguments of `IndexState`.

    The part "features" held the thumbnails and all that was measured, too. Content hashes had 32 digits.
    """
    ids = json.loads(files["ids"][0].read_text("utf-8"))
    features = load_file(files["features"][0])
    thumbnails, held_out, keypoints = features.get("thumbnails"), None, None
    if "held_out" in features:
        held_out = HeldOut(features["held_out"], features["held_out_ids"], ids["held_out_labels"])
    if "keypoints" in files:
        stored = {name: value.numpy() for name, value in load_file(files["keypoints"][0]).items()}
        values = np.hstack([stored["descriptors"], stored["positions"].view(np.uint8)])
        keypoints = Keypoints([Ragged(values, stored["offsets"])])
    decisions = read_decisions(files["decisions"][0]) if "decisions" in files else ()
    return {
        "trie": Trie.from_tensors(load_file(files["trie"][0]), base),
        "image_ids": Names.of(ids["image_ids"]),
        "labels": None if ids["labels"] is None else Labels.of(ids["labels"]),
        "hashes": ContentHashes.of(ids["hashes"]),
        "features": features.get("features", features.get("inputs")),  # called "inputs" in format 2
        "thumbnails": None if thumbnails is None else Thumbnails.of(thumbnails),
        "keypoints": keypoints,
        "metadata": MetadataStore.load(*files["metadata"]),
        "held_out": held_out,
        "decisions": tuple((_shortened(first), _shortened(second)) for first, second in decisions),
        **read_differences(features),
    }


def _shortened(content: str) -> str:
    """Return what identifies an image in a decision: a content hash, or an image_id with a word before it."""
    return content if content.startswith("image_id ") else content[:HASH_DIGITS]


def renumbered(model: Seq2Seq, trie: Trie, seed: int) -> tuple[Seq2Seq, Trie]:
    """Return a model and its trie with nodes that are numbered as the codes say.

    Up to format 3, a removal left nodes out without giving the others new numbers.
    """
    present = Trie(trie.codes, trie.vocabulary.base, trie.live)
    if torch.equal(present.tree.small_child, trie.tree.small_child):
        return model, trie
    grafted, _ = graft(model, trie, present, seed)
    return grafted, present
