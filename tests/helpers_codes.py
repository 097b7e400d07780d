"""Random prefix-free codes, and what they mean in plain Python; shared by the tests of the core."""

from __future__ import annotations

import numpy as np
import torch

from vitdsi.config import ModelConfig
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.tokens import Codes, encode_numbers
from vitdsi.trie import NONE, Trie

KINDS = ("fixed", "variable", "mixed")


def random_codes(kind: str, count: int = 23, base: int = 3, seed: int = 0) -> Codes:
    """Codes of fixed length, ended by EOS, or of mixed depth."""
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


def small_model(trie: Trie, head: str = "trie", prototypes: int = 2, seed: int = 0) -> Seq2Seq:
    """A random model in float64, with nothing left at zero, so that every part matters."""
    torch.manual_seed(seed)
    config = ModelConfig(
        embed_dim=16, mlp_dim=24, num_heads=2, depth=1, decoder_depth=2, memory_tokens=3, head=head, head_dim=8,
        head_scale=3.0, prototypes=prototypes,
    )  # fmt: skip
    model = Seq2Seq(config, trie, (12,)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    return model


@torch.no_grad()
def log_prob(model: Seq2Seq, trie: Trie, inputs: torch.Tensor, live: Trie | None = None) -> torch.Tensor:
    """(B, N) by teacher forcing each id alone, renormalised over the allowed tokens of each step."""
    columns = []
    child = (live or trie).child
    for i in range(len(trie.codes)):
        codes, nodes = trie.codes[i : i + 1], trie.nodes[i : i + 1]
        scores = model(inputs, codes.expand(len(inputs), -1), nodes.expand(len(inputs), -1))
        total = torch.zeros(len(inputs), dtype=scores.dtype)
        for t in range(trie.max_length):
            if nodes[0, t] == NONE:
                break
            allowed = child[nodes[0, t]] != NONE
            step = scores[:, t].masked_fill(~allowed, -torch.inf).log_softmax(-1)
            total += step[:, codes[0, t]]
        columns.append(total)
    return torch.stack(columns, dim=1)
