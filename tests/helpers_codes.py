"""Random prefix-free codes, features and models, and slow but obvious references for them, shared by many tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from vitdsi.config import ModelConfig, PaperModelConfig
from vitdsi.ids.codes import Codes, encode_numbers
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq

KINDS = ("fixed", "variable", "mixed")


def random_codes(kind: str, count: int = 23, base: int = 3, seed: int = 0) -> Codes:
    """Codes (count, L) of fixed length, of variable length ended by EOS, or of mixed depth."""
    rng = np.random.default_rng(seed)
    if kind != "mixed":
        numbers = rng.permutation(base**4)[:count]
        return encode_numbers(numbers, base, length=4, variable=kind == "variable")
    leaves: list[tuple[int, ...]] = [()]
    while len(leaves) < count:
        grown = leaves.pop(int(rng.integers(len(leaves))))
        leaves += [(*grown, digit) for digit in range(base)]
    picked = [leaves[i] for i in rng.permutation(len(leaves))[:count]]
    length = max(map(len, picked))
    return np.array([[*code, *[base + 1] * (length - len(code))] for code in picked], dtype=np.int64)


def path(code: np.ndarray, base: int) -> tuple[int, ...]:
    """A code without its padding."""
    return tuple(int(token) for token in code if token != base + 1)


def feature_clusters(groups: int, each: int, width: int = 16, seed: int = 0) -> np.ndarray:
    """Features (groups * each, width) of groups that lie far from each other."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(groups, width)) * 5, each, axis=0)
    return (centres + rng.normal(size=centres.shape) * 0.1).astype(np.float32)


def changed(config: ModelConfig, **settings: Any) -> ModelConfig:
    """The same settings with these ones changed; those of the paper may stand beside the others."""
    paper = {field.name for field in dataclasses.fields(PaperModelConfig)}
    of_paper = {name: settings.pop(name) for name in list(settings) if name in paper}
    return dataclasses.replace(config, **settings, paper=dataclasses.replace(config.paper, **of_paper))


def model_config(**settings: Any) -> ModelConfig:
    """The default settings with these ones changed."""
    return changed(ModelConfig(), **settings)


def small_model(
    trie: Trie,
    head: str = "trie",
    prototypes: int = 2,
    seed: int = 0,
    *,
    spread: float = 0.4,
    **settings: Any,
) -> Seq2Seq:
    """A random model in float64, with nothing left at zero, so that every part matters.

    Its weights have the standard deviation `spread`: the larger it is, the more peaked are its probabilities.
    """
    torch.manual_seed(seed)
    config = model_config(
        embed_dim=16, mlp_dim=24, num_heads=2, depth=1, decoder_depth=2, head=head, embedding_dim=8,
        prototypes=prototypes, **settings,
    )  # fmt: skip
    model = Seq2Seq(config, trie, (12,)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, spread)
    return model


@torch.no_grad()
def log_prob(model: Seq2Seq, trie: Trie, inputs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, N) of all ids, by teacher forcing each id alone; -inf for those without a code.

    Each step is normalised over the branches that the node has, whether or not they lead to live ids.
    """
    columns = []
    for i in range(len(trie.codes)):
        codes, nodes = trie.codes[i : i + 1], trie.nodes[i : i + 1]
        scores = model(inputs, codes.expand(len(inputs), -1), nodes.expand(len(inputs), -1))
        total = torch.full((len(inputs),), 0.0 if nodes[0, 0] >= 0 else -torch.inf, dtype=scores.dtype)
        for t in range(trie.max_length):
            if nodes[0, t] == NONE:
                break
            exists = trie.child[nodes[0, t]] != NONE
            step = scores[:, t].masked_fill(~exists, -torch.inf).log_softmax(-1)
            total += step[:, codes[0, t]]
        columns.append(total)
    return torch.stack(columns, dim=1)
