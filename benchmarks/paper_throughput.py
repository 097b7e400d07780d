"""How fast is the paper's model trained, against a step written as its author wrote it? Images/s, medians in one run.

    python benchmarks/paper_throughput.py [--sizes 64,160] [--images 512] [--repeats 15]

Steps of batch 32 on random images with ids of random numbers, forward, backward and Adam:

- ours: one teacher-forced forward over all digits, encoder-decoder and single stack;
- per digit: the same models, one full forward a digit;
- author: the paper's own structure, written again from its description: patches and digits in one sequence padded to
  full length, torch's MultiheadAttention under a causal and a padding mask, one full forward a digit.

Writes one JSON object to stdout. The GEMM peak is that of a large float32 product with the same threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitdsi.config import load_config
from vitdsi.experiments.machine import machine_class
from vitdsi.ids import IdContext, assign
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.targets import next_token_loss, one_hot_targets
from vitdsi.trie import NONE, Trie

BATCH = 32
Step = Callable[[], None]


class AuthorsBlock(nn.Module):
    """Pre-norm attention and feed-forward, sequence first, with both masks."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, padding: Tensor, causal: Tensor) -> Tensor:
        normed = self.norm_attention(x)
        x = x + self.attention(normed, normed, normed, key_padding_mask=padding, attn_mask=causal)[0]
        out: Tensor = x + self.feed_forward(self.norm_feed_forward(x))
        return out


class AuthorsModel(nn.Module):
    """Patches, then the digits so far, then padding; the last place gives the next digit."""

    def __init__(
        self, side: int, patch: int, dim: int, hidden: int, heads: int, depth: int, digits: int
    ) -> None:
        super().__init__()
        self.patch, self.digits = patch, digits
        self.patches = (side // patch) ** 2
        self.project = nn.Linear(3 * patch * patch, dim)
        self.embed = nn.Embedding(13, dim)
        self.positions = nn.Parameter(torch.randn(1, self.patches + digits, dim))
        self.blocks = nn.ModuleList(AuthorsBlock(dim, heads, hidden, 0.1) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 12))
        self.dropout = nn.Dropout(0.1)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        batch = len(images)
        patches = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        x = torch.cat([self.project(patches), self.embed(tokens)], dim=1)
        missing = self.digits - tokens.shape[1]
        x = F.pad(x, (0, 0, 0, missing)) + self.positions
        padding = torch.zeros(batch, x.shape[1], dtype=torch.bool)
        padding[:, self.patches + tokens.shape[1] :] = True
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        x = self.dropout(x).transpose(0, 1)
        for block in self.blocks:
            x = block(x, padding, causal)
        scores: Tensor = self.head(x[-1])
        return scores


def steps(side: int, trie: Trie) -> dict[str, tuple[nn.Module, Step]]:
    """One training step of each kind, on the same batch."""
    images = torch.rand(BATCH, 3, side, side)
    ids = torch.arange(BATCH)
    codes, nodes, target = trie.codes[ids], trie.nodes[ids], one_hot_targets(trie, ids)
    begun = torch.cat([torch.full((BATCH, 1), trie.vocabulary.bos), codes[:, :-1]], dim=1)
    made: dict[str, tuple[nn.Module, Step]] = {}

    def add(name: str, model: nn.Module, loss: Callable[[], Tensor]) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()

        made[name] = model.train(), step

    for architecture in ("encoder_decoder", "single_stack"):
        config = load_config(
            "paper", [f"model.image_size={side}", "model.patch_size=16", f"model.architecture={architecture}"]
        ).model
        together = Seq2Seq(config, trie, (3, side, side))
        apart = Seq2Seq(config, trie, (3, side, side))
        add(
            f"ours, {architecture}",
            together,
            lambda model=together: next_token_loss(model(images, codes, nodes), target, None).mean(),
        )
        add(
            f"per digit, {architecture}",
            apart,
            lambda model=apart: next_token_loss(
                torch.stack(
                    [
                        model(images, codes[:, : t + 1], nodes[:, : t + 1])[:, t]
                        for t in range(codes.shape[1])
                    ],
                    dim=1,
                ),
                target,
                None,
            ).mean(),
        )
    author = AuthorsModel(
        side, 16, config.embed_dim, config.mlp_dim, config.num_heads, config.depth, codes.shape[1]
    )
    wanted = codes.masked_fill(nodes == NONE, -100)

    def one_forward_a_digit() -> Tensor:
        scores = [author(images, begun[:, : t + 1]) for t in range(codes.shape[1])]
        return F.cross_entropy(torch.stack(scores, dim=1).flatten(0, 1), wanted.flatten())

    add("author", author, one_forward_a_digit)
    return made


def gemm_peak(size: int = 2048, repeats: int = 7) -> float:
    """FLOP/s of a float32 matrix product."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - started)
    return 2 * size**3 / float(np.median(times[1:]))


def measure(side: int, trie: Trie, repeats: int) -> dict[str, object]:
    """Medians of alternating steps, and what each step computes."""
    made = steps(side, trie)
    flops = {}
    for name, (_, step) in made.items():
        with FlopCounterMode(display=False) as counter:
            step()
        flops[name] = counter.get_total_flops()
    times: dict[str, list[float]] = {name: [] for name in made}
    peaks = []
    for turn in range(repeats + 1):
        for name, (_, step) in made.items():
            started = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - started)
        peaks.append(gemm_peak(1024, 1))
        print(f"{side} px, turn {turn} of {repeats}", file=sys.stderr, flush=True)
    seconds = {name: float(np.median(values)) for name, values in times.items()}
    peak = float(np.max([gemm_peak(), *peaks]))
    return {
        "image_size": side,
        "gemm_gflops": round(peak / 1e9, 1),
        "steps": {
            name: {
                "ms": round(1e3 * seconds[name], 2),
                "images_per_second": round(BATCH / seconds[name], 1),
                "gflop": round(flops[name] / 1e9, 3),
                "share_of_gemm_peak": round(flops[name] / seconds[name] / peak, 3),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
            }
            for name, (model, _) in made.items()
        },
        "ratios": {
            f"{ours} / {other}": round(seconds[other] / seconds[ours], 2)
            for ours, other in (
                ("ours, encoder_decoder", "per digit, encoder_decoder"),
                ("ours, encoder_decoder", "author"),
                ("ours, single_stack", "per digit, single_stack"),
                ("ours, single_stack", "author"),
            )
        },
    }


def main() -> None:
    """Measure every size and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="64,160", help="sides of the images")
    parser.add_argument(
        "--images", type=int, default=512, help="indexed images, which decides the digits of an id"
    )
    parser.add_argument("--repeats", type=int, default=15, help="timed steps of each kind")
    given = parser.parse_args()
    torch.manual_seed(0)
    trie = Trie(assign("random", IdContext(given.images, 10, variable_length=True)), 10)
    report = {
        "machine": machine_class(),
        "batch": BATCH,
        "images": given.images,
        "digits": trie.max_length,
        "sizes": [measure(int(side), trie, given.repeats) for side in given.sizes.split(",")],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
