"""One line of the trade-off: the metrics of a model at points along fine-tuning, from a zero-shot cell on."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from safetensors.torch import load_file

from vitdsi.config import IndexConfig
from vitdsi.paper import phases
from vitdsi.paper.cells import Cell
from vitdsi.paper.methods import Experiment, Result
from vitdsi.paper.phases import Callbacks
from vitdsi.paper.runner import Runner
from vitdsi.paper.scores import score_model
from vitdsi.progress import Progress


@dataclass(frozen=True)
class Line:
    """A way to fine-tune.

    Attributes:
        name: what it is called in the table and the figure.
        learning_rate: that of the retrieval phase; the paper's is 5e-4.
        replay: share of indexing examples in each batch; the paper has none.
    """

    name: str
    learning_rate: float = 5e-4
    replay: float = 0.0


LINES = (
    Line("the paper's recipe"),
    Line("a fifth of the rate", learning_rate=1e-4),
    Line("a 25th of the rate", learning_rate=2e-5),
    Line("10 % replay", replay=0.1),
    Line("50 % replay", replay=0.5),
)
# Steps of fine-tuning at which the model is measured. The training loop reports every ten steps.
POINTS = (0, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960)


def curve_cell(runner: Runner, line: Line, size: int, scheme: str, seed: int) -> Cell:
    """The cell of a line."""
    config = _config(runner, line, size, scheme, seed)
    settings: dict[str, Any] = {
        "split": runner.samples(size, seed).digest(),
        "config": asdict(config),
        "replay": line.replay,
        "points": POINTS,
    }
    return Cell(runner.dataset.name, runner.dataset.relevance, size, scheme, line.name, seed, settings)


def curve(runner: Runner, line: Line, size: int, scheme: str, seed: int) -> tuple[Cell, Result]:
    """Return the cell of a line, with its result, from the store if it is there.

    Its result has `points`: step, epoch of the retrieval phase, and the metrics there. Point 0 is the zero-shot model.
    """
    cell = curve_cell(runner, line, size, scheme, seed)
    config = _config(runner, line, size, scheme, seed)

    def compute() -> Result:
        weights, zero_shot = runner.zero_shot_weights(size, scheme, seed)
        experiment = runner.prepare(config, size, seed)
        experiment.model.load_state_dict(load_file(weights))
        with runner.callbacks(cell) as callbacks:
            return _fine_tune(experiment, line, zero_shot, callbacks)

    return cell, runner.stored(cell, compute)


def _config(runner: Runner, line: Line, size: int, scheme: str, seed: int) -> IndexConfig:
    config = runner.config("fine-tuned", size, scheme, seed)
    return replace(config, training=replace(config.training, learning_rate=line.learning_rate))


def _fine_tune(experiment: Experiment, line: Line, zero_shot: Result, callbacks: Callbacks) -> Result:
    config, samples = experiment.config.training, experiment.samples
    per_epoch = samples.pairs() / config.batch_size / (1 - line.replay)
    points: list[dict[str, Any]] = []
    measuring = 0.0

    def measure(step: int) -> None:
        nonlocal measuring
        started = time.monotonic()
        test = samples.rows("test")
        found = score_model(
            experiment.model,
            experiment.trie,
            experiment.pixels[: samples.indexed],
            experiment.pixels[test.start : test.stop],
            samples.relevant_to("test"),
            experiment.config.seed,
        )
        points.append({"step": step, "epoch": step / per_epoch, "metrics": found["metrics"]})
        experiment.model.train()
        measuring += time.monotonic() - started

    def report(progress: Progress) -> None:
        if callbacks.on_progress is not None:
            callbacks.on_progress(progress)
        if progress.done in POINTS:
            measure(progress.done)

    measure(0)
    epochs = POINTS[-1] * config.batch_size / samples.pairs()
    phase = phases.retrieval_phase(
        experiment.model,
        experiment.data,
        replace(config, paper=replace(config.paper, retrieval_epochs=epochs)),
        pairs=samples.pairs(),
        early_stopping=False,
        seed=experiment.config.seed,
        callbacks=Callbacks(report, callbacks.on_point),
        replay=line.replay,
    )
    phase = replace(phase, seconds=round(phase.seconds - measuring, 2))
    indexing = phases.Phase([], zero_shot["steps"], zero_shot["seconds"])
    return {**experiment.result(indexing=indexing, retrieval=phase), "points": points}
