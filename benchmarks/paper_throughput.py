"""How fast is the paper's model trained, compared with a step as its author wrote it? Images per second, medians.

    python benchmarks/paper_throughput.py [--sizes 64,160] [--images 512] [--repeats 15]

Training steps with batches of 32 random images and random ids:

- ours: one teacher-forced forward pass over all digits, a backward pass, gradient clipping and fused AdamW, as in
  training/loop.py; for the single stack of recipes/paper.yaml, and for an encoder-decoder with as many blocks in each;
- per digit: the same models and steps, but with a full forward pass for each digit;
- author: the paper's model, implemented from its description: patches, BOS, digits and EOS in one sequence that is
  padded to its full length, torch's MultiheadAttention with a causal mask and a padding mask, a full forward pass for
  each digit, and Adam.

Writes one JSON object to stdout. The GEMM peak is that of a large float32 product with the same number of threads. With
one thread (OMP_NUM_THREADS=1), times are CPU times of the process, so that other processes do not matter.
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
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.machine import machine_class
from vitdsi.training.targets import next_token_loss, one_hot_targets

BATCH = 32
CLOCK = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
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
    """A sequence of patches, the digits so far, and padding; the last position gives the next digit."""

    def __init__(
        self, side: int, patch: int, dim: int, hidden: int, heads: int, depth: int, tokens: int
    ) -> None:
        super().__init__()
        self.patch, self.tokens = patch, tokens
        self.patches = (side // patch) ** 2
        self.project = nn.Linear(3 * patch * patch, dim)
        self.embed = nn.Embedding(13, dim)
        self.positions = nn.Parameter(torch.randn(1, self.patches + tokens, dim))
        self.blocks = nn.ModuleList(AuthorsBlock(dim, heads, hidden, 0.1) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 12))
        self.dropout = nn.Dropout(0.1)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        batch = len(images)
        patches = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        x = torch.cat([self.project(patches), self.embed(tokens)], dim=1)
        missing = self.tokens - tokens.shape[1]
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
    """Prepare a training step of each kind, with its model; all use the same batch."""
    images = torch.rand(BATCH, 3, side, side)
    ids = torch.arange(BATCH)
    codes, nodes, target = trie.codes[ids], trie.nodes[ids], one_hot_targets(trie, ids)
    prefixes = torch.cat([torch.full((BATCH, 1), trie.vocabulary.bos), codes[:, :-1]], dim=1)
    prepared: dict[str, tuple[nn.Module, Step]] = {}

    def add(name: str, model: nn.Module, loss: Callable[[], Tensor]) -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        prepared[name] = model.train(), step

    for architecture in ("single_stack", "encoder_decoder"):
        overrides = [
            f"model.paper.image_size={side}",
            "model.decoder_depth=6",
            f"model.paper.architecture={architecture}",
        ]
        config = load_config("paper", overrides).model
        at_once = Seq2Seq(config, trie, (3, side, side))
        per_digit = Seq2Seq(config, trie, (3, side, side))
        add(
            f"ours, {architecture}",
            at_once,
            lambda model=at_once: next_token_loss(model(images, codes, nodes), target, None).mean(),
        )
        add(
            f"per digit, {architecture}",
            per_digit,
            lambda model=per_digit: next_token_loss(
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
        side,
        config.paper.patch_size,
        config.embed_dim,
        config.mlp_dim,
        config.num_heads,
        config.depth,
        codes.shape[1] + 1,
    ).train()
    adam = torch.optim.Adam(author.parameters(), lr=5e-4)
    target_codes = codes.masked_fill(nodes == NONE, -100)

    def authors_step() -> None:
        adam.zero_grad()
        scores = [author(images, prefixes[:, : t + 1]) for t in range(codes.shape[1])]
        F.cross_entropy(torch.stack(scores, dim=1).flatten(0, 1), target_codes.flatten()).backward()
        adam.step()

    prepared["author"] = author, authors_step
    return prepared


def gemm_peak(size: int = 2048, repeats: int = 7) -> float:
    """Median FLOP/s of a float32 matrix product."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    times = []
    for _ in range(repeats + 1):
        started = CLOCK()
        a @ b
        times.append(CLOCK() - started)
    return 2 * size**3 / float(np.median(times[1:]))


def measure(side: int, trie: Trie, repeats: int) -> dict[str, object]:
    """Median times of alternating steps, and the FLOP of each."""
    prepared = steps(side, trie)
    flops = {}
    for name, (_, step) in prepared.items():
        with FlopCounterMode(display=False) as counter:
            step()
        flops[name] = counter.get_total_flops()
    times: dict[str, list[float]] = {name: [] for name in prepared}
    peaks = []
    for turn in range(repeats + 1):
        for name, (_, step) in prepared.items():
            started = CLOCK()
            step()
            if turn:
                times[name].append(CLOCK() - started)
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
            for name, (model, _) in prepared.items()
        },
        "ratios": {
            f"{ours} / {other}": round(seconds[other] / seconds[ours], 2)
            for ours, other in (
                ("ours, single_stack", "author"),
                ("ours, single_stack", "per digit, single_stack"),
                ("ours, encoder_decoder", "author"),
                ("ours, encoder_decoder", "per digit, encoder_decoder"),
            )
        },
    }


def main() -> None:
    """Measure each image size, and print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", default="64,160", help="sides of the images in pixels, separated by commas"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=512,
        help="number of indexed images, which determines the number of digits",
    )
    parser.add_argument("--repeats", type=int, default=15, help="number of timed steps of each kind")
    args = parser.parse_args()
    torch.manual_seed(0)
    trie = Trie(scheme_named("random").assign(IdContext(args.images, 10, variable_length=True)), 10)
    report = {
        "machine": machine_class(),
        "clock": CLOCK.__name__,
        "batch": BATCH,
        "images": args.images,
        "digits": trie.max_length,
        "sizes": [measure(int(side), trie, args.repeats) for side in args.sizes.split(",")],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
