"""The training loop: draw a batch, compute the loss, take a step, and evaluate at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from vitdsi.config import TrainingConfig
from vitdsi.engine.ranks import ALONE, Ranks
from vitdsi.errors import UsageError
from vitdsi.files import unwritable
from vitdsi.ids.trie import NONE
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.progress import OnProgress, Progress
from vitdsi.training.checkpoint import load_checkpoint, save_checkpoint
from vitdsi.training.data import TrainingData
from vitdsi.training.optimizers import Optimizers
from vitdsi.training.schedule import Schedule, schedule_for
from vitdsi.training.targets import OwnId, next_token_loss, retrieval_target

_SAVE_EVERY_SECONDS = 60.0
_EVALUATION_SAMPLE = 512


def train(
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int,
    schedule: Schedule | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = None,
    penalty: Callable[[], Tensor] | None = None,
    ranks: Ranks = ALONE,
) -> Schedule:
    """Train a model in place until its schedule ends, and return the schedule with its history.

    All randomness of a step is seeded by (seed, step), so a run that was interrupted and resumed equals one that was
    not, bit for bit on CPU. On KeyboardInterrupt the checkpoint is saved before the error is raised again.

    Args:
        model: parameters that require no gradient do not change.
        data: the images, their relevant ids, and the rows to draw examples from.
        config: the settings of the loop.
        seed: the seed of batches, views and dropout.
        schedule: a schedule to continue; None begins the one that the settings name.
        checkpoint: the folder that a checkpoint is saved to every minute; None saves none.
        resume: continue from the checkpoint in that folder.
        on_progress: called every ten steps, in the first rank.
        penalty: returns a penalty that is added to the loss of each step.
        ranks: the processes that train together, each with its share of every batch. They must be given the same
            model, data, settings and seed. The first one evaluates and saves checkpoints; all read them.

    Raises:
        UsageError: `resume` is set and there is no checkpoint that fits, or there are more ranks than examples in a
            batch.
        VitdsiError: a checkpoint cannot be saved, for example because the disk is full. The one before stays.
    """
    if config.batch_size < ranks.size:
        raise UsageError(
            f"training.batch_size is {config.batch_size}, which is less than {ranks.size} processes"
        )
    is_first = ranks.rank == 0
    schedule = schedule or schedule_for(config, len(data.indexing_rows))
    optimizers = Optimizers(model, config)
    if resume and checkpoint is not None:
        load_checkpoint(checkpoint, model, optimizers.each, schedule)
    generator = torch.Generator()
    device = next(model.parameters()).device
    allowed_at = (data.trie.child != NONE).to(device) if config.paper.constrained else None
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
                torch.manual_seed((seed << 32) + schedule.step + 1 + (ranks.rank << 24))  # dropout
                inputs, ids, target = _batch(data, config, schedule.retrieval_share, generator, ranks)
                optimizers.set_learning_rate(schedule.learning_rate)
                nodes = data.trie.nodes[ids].to(device)
                with _autocast(config, device):
                    scores = model(inputs.to(device), data.trie.codes[ids].to(device), nodes)
                allowed = None if allowed_at is None else allowed_at[nodes.clamp(min=0)]
                loss = next_token_loss(scores, target.to(device), allowed).sum() / config.batch_size
                if penalty is not None:
                    loss = loss + penalty() / ranks.size
                optimizers.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                ranks.sum_gradients(model.parameters())
                optimizers.step()
                losses.append(loss.detach())
                schedule.seconds = ranks.from_first(lambda: time.monotonic() - started)
                over = schedule.advance()
                if schedule.step % config.evaluate_every == 0 or over:
                    last = ranks.from_first(lambda: evaluate(model, data, config))
                    last["loss"] = float(ranks.sum(torch.stack(losses).mean()))
                    last["step"] = schedule.step
                    schedule.history.append(last)
                    losses.clear()
                    over = over or schedule.evaluated(last["indexing_accuracy"], last["retrieval_loss"])
                if is_first and on_progress is not None and (schedule.step % 10 == 0 or over):
                    rate = (schedule.step - since_step) / max(time.monotonic() - since, 1e-9)
                    on_progress(progress_at(schedule, last, rate))
                if is_first and checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                    _save(checkpoint, model, optimizers, schedule)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        if is_first and checkpoint is not None:
            _save(checkpoint, model, optimizers, schedule)
        raise
    model.eval()
    return schedule


def _save(folder: Path, model: Seq2Seq, optimizers: Optimizers, schedule: Schedule) -> None:
    """Save a checkpoint, or say that there is no room for it."""
    try:
        save_checkpoint(folder, model, optimizers.each, schedule)
    except (OSError, SafetensorError) as error:
        raise unwritable(folder, error) from error


def draw_examples(
    data: TrainingData, config: TrainingConfig, retrieval_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw the examples of a batch of B.

    Returns:
        The rows of the indexing examples and of the retrieval examples, B together; the ids (B,) whose codes the
        decoder reads; and which examples (B,) show their photos altered.
    """
    retrieved = round(config.batch_size * retrieval_share)
    indexed = config.batch_size - retrieved
    own = data.indexing_rows[torch.randint(len(data.indexing_rows), (indexed,), generator=generator)]
    pick = torch.randint(len(data.retrieval_rows), (retrieved,), generator=generator)
    queries = data.retrieval_rows[pick]
    ids = torch.cat([own, data.relevance.sample(queries, generator)])
    altered = torch.rand(len(ids), generator=generator) < config.augment_prob
    return own, queries, ids, altered


def _batch(
    data: TrainingData,
    config: TrainingConfig,
    retrieval_share: float,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a batch, and return the share of this rank.

    All ranks draw the same batch, with random numbers for all of it, so that it does not depend on their number.

    Returns:
        Inputs (b, *shape), ids (b,) whose codes the decoder reads, and targets (b, L, V) along them.
    """
    own, queries, ids, altered = draw_examples(data, config, retrieval_share, generator)
    rows = torch.cat([own, queries])
    order = torch.cat([torch.nonzero(~altered).squeeze(1), torch.nonzero(altered).squeeze(1)])
    clean_count = int((~altered).sum())
    inputs = torch.cat(
        [
            data.views.clean(rows[order[:clean_count]]),
            data.views.altered(rows[order[clean_count:]], generator),
        ]
    )
    mine = ranks.share(order)
    indexed, retrieved = mine[mine < len(own)], mine[mine >= len(own)]
    target = inputs.new_zeros(len(order), data.trie.max_length, data.trie.vocabulary.outputs)
    target[indexed] = OwnId().marginals(data.trie, rows[indexed], ids[indexed])
    target_of = retrieval_target(config.paper.target)
    target[retrieved] = target_of(data.relevance, data.trie, rows[retrieved], ids[retrieved])
    return inputs[ranks.share(torch.arange(len(order)))], ids[mine], target[mine]


def _autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Compute in the precision that the settings name."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


@torch.no_grad()
def evaluate(model: Seq2Seq, data: TrainingData, config: TrainingConfig) -> dict[str, float]:
    """Measure the indexing accuracy on clean images (greedy decoding) and the held-out retrieval loss."""
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.indexing_rows), generator=generator)
    own = data.indexing_rows[order[:_EVALUATION_SAMPLE]]
    nodes = data.trie.nodes[own].to(device)
    codes = data.trie.codes[own].to(device)
    scores = model(data.views.clean(own).to(device), codes, nodes)
    allowed = data.trie.allowed.to(device)[nodes.clamp(min=0)]
    best = scores.masked_fill(~allowed, -torch.inf).argmax(-1)
    right = ((best == codes) | (nodes == NONE)).all(1)
    rows = data.held_out_rows
    result = {"indexing_accuracy": float(right.float().mean()), "retrieval_loss": 0.0}
    if len(rows):
        ids = data.relevance.sample(rows, generator)
        nodes = data.trie.nodes[ids].to(device)
        scores = model(data.held_out_inputs.to(device), data.trie.codes[ids].to(device), nodes)
        mask = (data.trie.child != NONE).to(device)[nodes.clamp(min=0)] if config.paper.constrained else None
        target = data.relevance.marginals(data.trie, rows, ids).to(device)
        result["retrieval_loss"] = float(next_token_loss(scores, target, mask).mean())
    model.train()
    return result


def progress_at(schedule: Schedule, last: dict[str, float], steps_per_second: float) -> Progress:
    """Return the progress of a run with its last evaluation."""
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
