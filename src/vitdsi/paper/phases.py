"""Training a cell's model, phase by phase, with the curves of the paper's Figures 1 to 3."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitdsi.config import TrainingConfig
from vitdsi.ids.trie import NONE
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.sequential import SequentialSchedule
from vitdsi.progress import OnProgress, Progress
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.schedule import Schedule


class Watch(NamedTuple):
    """Who is told how training goes: `progress` of every few steps, `point` of each point of a phase's curves."""

    progress: OnProgress = None
    point: Callable[[str, dict[str, float]], None] | None = None


_SAMPLE = 256  # training examples whose accuracy is measured at each evaluation
_RETRIEVAL_STREAM = 1_000_000  # added to the seed: the second phase draws other batches than the first


@dataclass(frozen=True)
class Phase:
    """What one phase did: its curve, one entry an evaluation, optimisation steps and seconds."""

    history: list[dict[str, float]]
    steps: int
    seconds: float


class Recorder:
    """Called by the training loop: adds digit accuracies to its evaluations, and may keep the best weights.

    Accuracy is the paper's: the share of digits, EOS included, that are right under teacher forcing. A query's id is
    one relevant id drawn once. `whole_ids` is the share of indexed images whose digits are all right.
    """

    def __init__(
        self, model: Seq2Seq, data: TrainingData, *, phase: str, per_epoch: float, watch: Watch
    ) -> None:
        self.model, self.data, self.watch = model, data, watch
        self.phase, self.per_epoch = phase, per_epoch
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] | None = None
        retrieval = phase == "retrieval"
        self._keep_best = retrieval
        self._best_loss = math.inf
        self._seen: tuple[float | None, float | None] = (None, None)
        generator = torch.Generator().manual_seed(0)
        rows = data.retrieval_rows if retrieval else data.indexing_rows
        rows = rows[torch.randperm(len(rows), generator=generator)[:_SAMPLE]]
        self._inputs = data.views.clean(rows)
        self._ids = data.relevance.sample(rows, generator) if retrieval else rows
        self._held_out_ids = data.relevance.sample(data.held_out_rows, generator)

    def __call__(self, progress: Progress) -> None:
        """Record, where the loop has just evaluated."""
        if self.watch.progress is not None:
            self.watch.progress(progress)
        figures = (progress.loss, progress.retrieval_loss)
        if progress.loss is None or progress.retrieval_loss is None or figures == self._seen:
            return
        self._seen = figures
        self.history.append(
            {
                "step": progress.done,
                "epoch": progress.done / self.per_epoch,
                "loss": progress.loss,
                "accuracy": self._accuracy(self._inputs, self._ids),
                "whole_ids": progress.indexing_accuracy or 0.0,
                "validation_loss": progress.retrieval_loss,
                "validation_accuracy": self._accuracy(self.data.held_out_inputs, self._held_out_ids),
            }
        )
        if self.watch.point is not None:
            self.watch.point(self.phase, self.history[-1])
        if self._keep_best and progress.retrieval_loss < self._best_loss:
            self._best_loss = progress.retrieval_loss
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def _accuracy(self, inputs: Tensor, ids: Tensor) -> float:
        training = self.model.training
        self.model.eval()
        device = next(self.model.parameters()).device
        codes, nodes = self.data.trie.codes[ids].to(device), self.data.trie.nodes[ids].to(device)
        right = self.model(inputs.to(device), codes, nodes).argmax(-1) == codes
        self.model.train(training)
        return float(right[nodes != NONE].float().mean())


def indexing_phase(
    model: Seq2Seq, data: TrainingData, config: TrainingConfig, *, seed: int, watch: Watch
) -> Phase:
    """The paper's first phase: own ids until the target accuracy or the last epoch."""
    epoch = len(data.indexing_rows) / config.batch_size
    recorder = Recorder(model, data, phase="indexing", per_epoch=epoch, watch=watch)
    schedule = train(model, data, _with(config, retrieval_epochs=0.0), seed=seed, on_progress=recorder)
    return _phase(recorder, schedule)


def retrieval_phase(
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    pairs: int,
    early_stopping: bool,
    seed: int,
    watch: Watch,
) -> Phase:
    """The paper's second phase, from the model as it is, with a fresh optimizer.

    An epoch passes as many examples as there are (query, relevant image) pairs, as in the paper's Retrieval Dataset.
    With early stopping the phase ends after `patience` evaluations without a lower validation loss, and the model is
    the one of the lowest; without, it is the one after the last epoch.
    """
    epochs = config.paper.retrieval_epochs
    if epochs == 0:
        return Phase([], 0, 0.0)
    if not early_stopping:
        config = replace(config, patience=sys.maxsize)
    if epochs is not None:  # the loop counts epochs in indexed images
        config = _with(config, retrieval_epochs=epochs * pairs / len(data.indexing_rows))
    recorder = Recorder(model, data, phase="retrieval", per_epoch=pairs / config.batch_size, watch=watch)
    entering = SequentialSchedule(config, len(data.indexing_rows), phase="retrieval")
    seed += _RETRIEVAL_STREAM
    schedule = train(model, data, config, seed=seed, schedule=entering, on_progress=recorder)
    if early_stopping and recorder.best is not None:
        model.load_state_dict(recorder.best)
    return _phase(recorder, schedule)


def joint_phase(
    model: Seq2Seq, data: TrainingData, config: TrainingConfig, *, seed: int, watch: Watch
) -> Phase:
    """Ours: both in each batch."""
    epoch = len(data.indexing_rows) / (config.batch_size * (1 - config.retrieval_ratio))
    recorder = Recorder(model, data, phase="joint", per_epoch=epoch, watch=watch)
    return _phase(recorder, train(model, data, config, seed=seed, on_progress=recorder))


def _with(config: TrainingConfig, *, retrieval_epochs: float) -> TrainingConfig:
    return replace(config, paper=replace(config.paper, retrieval_epochs=retrieval_epochs))


def _phase(recorder: Recorder, schedule: Schedule) -> Phase:
    return Phase(recorder.history, schedule.step, round(schedule.seconds, 2))


def as_history(**phases: Phase) -> dict[str, Any]:
    """Curves by phase, without phases that did nothing."""
    return {name: phase.history for name, phase in phases.items() if phase.history}
