"""Training the model of a cell in phases, and the curves of the paper's Figures 1 to 3."""

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
from vitdsi.paper.cuda_graphs import train_with_graphs
from vitdsi.paper.sequential import SequentialSchedule
from vitdsi.progress import OnProgress, Progress
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.schedule import Schedule

_ACCURACY_SAMPLE = 256  # training examples of which the accuracy is measured at each evaluation
_RETRIEVAL_SEED_OFFSET = 1_000_000  # so that the second phase draws other batches than the first


class Callbacks(NamedTuple):
    """Callbacks of a training run.

    Attributes:
        on_progress: called every few steps.
        on_point: called with the phase and each new point of its curves.
    """

    on_progress: OnProgress = None
    on_point: Callable[[str, dict[str, float]], None] | None = None


@dataclass(frozen=True)
class Phase:
    """The record of a training phase.

    Attributes:
        history: the curves, with an entry for each evaluation.
        steps: number of optimisation steps.
        seconds: training time.
    """

    history: list[dict[str, float]]
    steps: int
    seconds: float


class Recorder:
    """Progress callback of the training loop that records the curves of a phase.

    The accuracy is defined as in the paper: the share of digits, including EOS, that are right under teacher forcing.
    The digits of a query are those of one relevant id, which is sampled once. `whole_ids` is the share of indexed
    images of which all digits are right.

    Attributes:
        history: the curves so far.
        best: in the retrieval phase, the weights with the lowest validation loss so far; None otherwise.
    """

    def __init__(
        self, model: Seq2Seq, data: TrainingData, *, phase: str, steps_per_epoch: float, callbacks: Callbacks
    ) -> None:
        self.model, self.data, self.callbacks = model, data, callbacks
        self.phase, self.steps_per_epoch = phase, steps_per_epoch
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] | None = None
        retrieval = phase == "retrieval"
        self._keep_best = retrieval
        self._best_loss = math.inf
        self._last_losses: tuple[float | None, float | None] = (None, None)
        generator = torch.Generator().manual_seed(0)
        rows = data.retrieval_rows if retrieval else data.indexing_rows
        rows = rows[torch.randperm(len(rows), generator=generator)[:_ACCURACY_SAMPLE]]
        self._inputs = data.views.clean(rows)
        self._ids = data.relevance.sample(rows, generator) if retrieval else rows
        self._held_out_ids = data.relevance.sample(data.held_out_rows, generator)

    def __call__(self, progress: Progress) -> None:
        """Record a point if the loop has evaluated since the last call."""
        if self.callbacks.on_progress is not None:
            self.callbacks.on_progress(progress)
        losses = (progress.loss, progress.retrieval_loss)
        if progress.loss is None or progress.retrieval_loss is None or losses == self._last_losses:
            return
        self._last_losses = losses
        self.history.append(
            {
                "step": progress.done,
                "epoch": progress.done / self.steps_per_epoch,
                "loss": progress.loss,
                "accuracy": self._accuracy(self._inputs, self._ids),
                "whole_ids": progress.indexing_accuracy or 0.0,
                "validation_loss": progress.retrieval_loss,
                "validation_accuracy": self._accuracy(self.data.held_out_inputs, self._held_out_ids),
            }
        )
        if self.callbacks.on_point is not None:
            self.callbacks.on_point(self.phase, self.history[-1])
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
    model: Seq2Seq, data: TrainingData, config: TrainingConfig, *, seed: int, callbacks: Callbacks
) -> Phase:
    """Train the paper's first phase: the ids of the indexed images, until the target accuracy or the last epoch."""
    steps_per_epoch = len(data.indexing_rows) / config.batch_size
    recorder = Recorder(model, data, phase="indexing", steps_per_epoch=steps_per_epoch, callbacks=callbacks)
    schedule = _train(model, data, _with(config, retrieval_epochs=0.0), seed=seed, on_progress=recorder)
    return _phase(recorder, schedule)


def retrieval_phase(
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    pairs: int,
    early_stopping: bool,
    seed: int,
    callbacks: Callbacks,
    replay: float = 0.0,
) -> Phase:
    """Train the paper's second phase, from the current weights with a new optimizer.

    An epoch has as many examples as there are pairs of a query and a relevant image: the paper's Retrieval Dataset.
    With early stopping, the phase ends after `patience` evaluations without a lower validation loss, and the model
    gets the weights of the lowest one. Without, it keeps those after the last epoch. `replay` is the share of indexing
    examples in each batch; the paper has none.
    """
    epochs = config.paper.retrieval_epochs
    if epochs == 0:
        return Phase([], 0, 0.0)
    if not early_stopping:
        config = replace(config, patience=sys.maxsize)
    if epochs is not None:  # the training loop counts epochs in indexed images
        config = _with(config, retrieval_epochs=epochs * pairs / len(data.indexing_rows))
    recorder = Recorder(
        model, data, phase="retrieval", steps_per_epoch=pairs / config.batch_size, callbacks=callbacks
    )
    schedule: Schedule = SequentialSchedule(config, len(data.indexing_rows), phase="retrieval", replay=replay)
    seed += _RETRIEVAL_SEED_OFFSET
    schedule = _train(model, data, config, seed=seed, schedule=schedule, on_progress=recorder)
    if early_stopping and recorder.best is not None:
        model.load_state_dict(recorder.best)
    return _phase(recorder, schedule)


def joint_phase(
    model: Seq2Seq, data: TrainingData, config: TrainingConfig, *, seed: int, callbacks: Callbacks
) -> Phase:
    """Train with indexing and retrieval examples in each batch, as ours does."""
    steps_per_epoch = len(data.indexing_rows) / (config.batch_size * (1 - config.retrieval_ratio))
    recorder = Recorder(model, data, phase="joint", steps_per_epoch=steps_per_epoch, callbacks=callbacks)
    return _phase(recorder, _train(model, data, config, seed=seed, on_progress=recorder))


def _train(
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int,
    schedule: Schedule | None = None,
    on_progress: OnProgress,
) -> Schedule:
    """Train with the loop that suits the device of the model."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    loop = train_with_graphs if on_gpu else train
    return loop(model, data, config, seed=seed, schedule=schedule, on_progress=on_progress)


def _with(config: TrainingConfig, *, retrieval_epochs: float) -> TrainingConfig:
    return replace(config, paper=replace(config.paper, retrieval_epochs=retrieval_epochs))


def _phase(recorder: Recorder, schedule: Schedule) -> Phase:
    return Phase(recorder.history, schedule.step, round(schedule.seconds, 2))


def curves_by_phase(**phases: Phase) -> dict[str, Any]:
    """The curves of each phase, without phases that have none."""
    return {name: phase.history for name, phase in phases.items() if phase.history}
