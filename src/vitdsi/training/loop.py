"""The training loop: draw a batch, compare with the targets, step, evaluate now and then. Reads top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vitdsi.config import TrainingConfig
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.checkpoint import load_checkpoint, save_checkpoint
from vitdsi.training.schedule import Schedule
from vitdsi.training.targets import OwnId, Relevance, next_token_loss, one_hot_targets
from vitdsi.training.views import Views
from vitdsi.trie import NONE, Trie

_SAVE_EVERY_SECONDS = 60.0
_EVALUATION_SAMPLE = 512


@dataclass(frozen=True)
class Progress:
    """How far a build is. phase: reading, views, ids, indexing, retrieval, joint or cooldown; done of total (steps
    or images); losses are means since the last evaluation, per image in nats."""

    phase: str
    done: int
    total: int | None = None
    loss: float | None = None
    indexing_accuracy: float | None = None
    retrieval_loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class TrainingData:
    """What there is to learn.

    Attributes:
        trie: the ids; row i of `views` is the image of id i.
        indexing_rows: the rows that indexing examples are drawn from; a row named twice is drawn twice as often.
        views: model inputs by row, indexed images first, then extra queries.
        relevance: relevant ids by row.
        retrieval_rows: the rows that retrieval examples are drawn from.
        held_out_inputs: (H, *input_shape), never trained on; held_out_rows (H,) are their rows in `relevance`.
    """

    trie: Trie
    indexing_rows: Tensor
    views: Views
    relevance: Relevance
    retrieval_rows: Tensor
    held_out_inputs: Tensor
    held_out_rows: Tensor


def train(
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int,
    state: Path | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
) -> Schedule:
    """Train `model` in place until the schedule ends; returns the schedule with its history.

    Parameters that require no gradient stay as they are; `penalty()` is added to the loss.
    All randomness of a step is seeded by (seed, step), so a run that was interrupted and resumed from `state`
    equals one that was not, bit for bit on CPU. On KeyboardInterrupt the state is saved and the error goes on.
    """
    schedule = Schedule(config, len(data.indexing_rows))
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, config), lr=config.learning_rate, betas=(0.9, 0.98), fused=True
    )
    if resume and state is not None:
        load_checkpoint(state, model, optimizer, schedule)
    generator = torch.Generator()
    device = next(model.parameters()).device
    allowed_at = (data.trie.child != NONE).to(device) if config.constrained else None
    started = time.monotonic() - schedule.seconds
    saved = time.monotonic()
    losses: list[Tensor] = []
    since, since_step = time.monotonic(), schedule.step
    last = schedule.history[-1] if schedule.history else {}
    over = False
    model.train()
    try:
        with torch.random.fork_rng(devices=[]):
            while not over:
                generator.manual_seed((seed << 32) + schedule.step)
                torch.manual_seed((seed << 32) + schedule.step + 1)  # dropout
                inputs, ids, target = _batch(data, config, schedule.retrieval_share, generator)
                for group in optimizer.param_groups:
                    group["lr"] = schedule.learning_rate * group["rate"]
                nodes = data.trie.nodes[ids].to(device)
                scores = model(inputs.to(device), data.trie.codes[ids].to(device), nodes)
                allowed = None if allowed_at is None else allowed_at[nodes.clamp(min=0)]
                loss = next_token_loss(scores, target.to(device), allowed).mean()
                if penalty is not None:
                    loss = loss + penalty()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
                optimizer.step()
                losses.append(loss.detach())
                schedule.seconds = time.monotonic() - started
                over = schedule.advance()
                if schedule.step % config.evaluate_every == 0 or over:
                    last = _evaluate(model, data, config)
                    last["loss"] = float(torch.stack(losses).mean())
                    last["step"] = schedule.step
                    schedule.history.append(last)
                    losses.clear()
                    over = over or schedule.evaluated(last["indexing_accuracy"], last["retrieval_loss"])
                if on_progress is not None and (schedule.step % 10 == 0 or over):
                    rate = (schedule.step - since_step) / max(time.monotonic() - since, 1e-9)
                    on_progress(_progress(schedule, last, rate))
                if state is not None and time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                    save_checkpoint(state, model, optimizer, schedule)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        if state is not None:
            save_checkpoint(state, model, optimizer, schedule)
        raise
    model.eval()
    return schedule


def _parameter_groups(model: Seq2Seq, config: TrainingConfig) -> list[dict[str, object]]:
    """Weight decay on matrices only; what starts from the features moves at `row_rate`."""
    rows: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name in ("head.rows", "head.prototypes", "stem.principal.weight"):
            rows.append(parameter)
        else:
            (decayed if parameter.dim() > 1 else plain).append(parameter)
    return [
        {"params": rows, "rate": config.row_rate, "weight_decay": 0.0},
        {"params": decayed, "rate": 1.0, "weight_decay": config.weight_decay},
        {"params": plain, "rate": 1.0, "weight_decay": 0.0},
    ]


def _batch(
    data: TrainingData, config: TrainingConfig, retrieval_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (B, *input_shape), the ids (B,) whose codes are read, and the targets (B, L, V) along them."""
    retrieved = round(config.batch_size * retrieval_share)
    indexed = config.batch_size - retrieved
    own = data.indexing_rows[torch.randint(len(data.indexing_rows), (indexed,), generator=generator)]
    pick = torch.randint(len(data.retrieval_rows), (retrieved,), generator=generator)
    queries = data.retrieval_rows[pick]
    ids = torch.cat([own, data.relevance.sample(queries, generator)])
    target = torch.cat(
        [OwnId().marginals(data.trie, own, own), _retrieval_target(data, config, queries, ids[indexed:])]
    )
    rows = torch.cat([own, queries])
    altered = torch.rand(len(rows), generator=generator) < config.views
    order = torch.cat([torch.nonzero(~altered).squeeze(1), torch.nonzero(altered).squeeze(1)])
    clean_count = int((~altered).sum())
    inputs = torch.cat(
        [
            data.views.clean(rows[order[:clean_count]]),
            data.views.altered(rows[order[clean_count:]], generator),
        ]
    )
    return inputs, ids[order], target[order]


def _retrieval_target(data: TrainingData, config: TrainingConfig, queries: Tensor, ids: Tensor) -> Tensor:
    if config.target == "sampled":
        return one_hot_targets(data.trie, ids)
    return data.relevance.marginals(data.trie, queries, ids)


@torch.no_grad()
def _evaluate(model: Seq2Seq, data: TrainingData, config: TrainingConfig) -> dict[str, float]:
    """Indexing accuracy on clean images (every digit right, greedily) and the loss of held-out retrieval views."""
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.indexing_rows), generator=generator)
    own = data.indexing_rows[order[:_EVALUATION_SAMPLE]]
    nodes = data.trie.nodes[own].to(device)
    codes = data.trie.codes[own].to(device)
    scores = model(data.views.clean(own).to(device), codes, nodes)
    allowed = (data.trie.child != NONE).to(device)
    best = scores.masked_fill(~allowed[nodes.clamp(min=0)], -torch.inf).argmax(-1)
    right = ((best == codes) | (nodes == NONE)).all(1)
    rows = data.held_out_rows
    result = {"indexing_accuracy": float(right.float().mean()), "retrieval_loss": 0.0}
    if len(rows):
        ids = data.relevance.sample(rows, generator)
        nodes = data.trie.nodes[ids].to(device)
        scores = model(data.held_out_inputs.to(device).float(), data.trie.codes[ids].to(device), nodes)
        mask = allowed[nodes.clamp(min=0)] if config.constrained else None
        target = data.relevance.marginals(data.trie, rows, ids).to(device)
        result["retrieval_loss"] = float(next_token_loss(scores, target, mask).mean())
    model.train()
    return result


def _progress(schedule: Schedule, last: dict[str, float], steps_per_second: float) -> Progress:
    end = schedule.planned_end
    left = None if end is None else max(end - schedule.step, 0) / max(steps_per_second, 1e-9)
    if schedule.config.minutes is not None:
        by_clock = max(60 * schedule.config.minutes - schedule.seconds, 0.0)
        left = by_clock if left is None else min(left, by_clock)
    return Progress(
        phase=schedule.phase if schedule.cooldown_start is None else "cooldown",
        done=schedule.step,
        total=end,
        loss=last.get("loss"),
        indexing_accuracy=last.get("indexing_accuracy"),
        retrieval_loss=last.get("retrieval_loss"),
        images_per_second=steps_per_second * schedule.config.batch_size,
        seconds_left=left,
    )
