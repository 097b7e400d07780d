from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.ids.trie import NONE
from vitdsi.paper import phases
from vitdsi.paper.methods import Experiment, prepare
from vitdsi.paper.phases import Callbacks, Recorder
from vitdsi.paper.recipes import paper_recipe
from vitdsi.paper.samples import read_dataset, sample
from vitdsi.progress import Progress


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    samples = sample(read_dataset(class_folders(tmp_path / "photos")), SIZE, 0)
    config = paper_recipe("random", 0, 16, [text for text in SHORT if not text.startswith("ours")])
    return prepare(config, samples, samples.pixels(16))


def retrieval(
    experiment: Experiment, epochs: float, *, early_stopping: bool, patience: int = 40
) -> phases.Phase:
    training = experiment.config.training
    return phases.retrieval_phase(
        experiment.model,
        experiment.data,
        replace(training, patience=patience, paper=replace(training.paper, retrieval_epochs=epochs)),
        pairs=experiment.samples.pairs(),
        early_stopping=early_stopping,
        seed=0,
        callbacks=Callbacks(),
    )


def test_retrieval_epoch_has_as_many_examples_as_pairs_of_query_and_relevant_image(
    experiment: Experiment,
) -> None:
    pairs = experiment.samples.pairs()
    assert pairs == 24 * 5
    phase = retrieval(experiment, 8, early_stopping=False)
    assert phase.steps == math.ceil(8 * pairs / experiment.config.training.batch_size) == 30
    assert phase.history[-1]["epoch"] == pytest.approx(8)
    assert [point["step"] for point in phase.history] == [10, 20, 30]


def test_zero_retrieval_epochs_leave_the_model_unchanged(experiment: Experiment) -> None:
    before = {name: value.clone() for name, value in experiment.model.state_dict().items()}
    assert retrieval(experiment, 0, early_stopping=True) == phases.Phase([], 0, 0.0)
    assert all(torch.equal(before[name], value) for name, value in experiment.model.state_dict().items())


def test_early_stopping_restores_the_weights_of_the_lowest_validation_loss(experiment: Experiment) -> None:
    """The 24 training queries are soon memorised, and the loss of the validation queries rises."""
    phase = retrieval(experiment, 400, early_stopping=True, patience=5)
    losses = [point["validation_loss"] for point in phase.history]
    best = losses.index(min(losses))
    assert phase.steps < 1500 and best < len(losses) - 1
    recorder = Recorder(
        experiment.model, experiment.data, phase="retrieval", steps_per_epoch=1.0, callbacks=Callbacks()
    )
    accuracy = recorder._accuracy(experiment.data.held_out_inputs, recorder._held_out_ids)
    assert accuracy == pytest.approx(phase.history[best]["validation_accuracy"])


def test_indexing_ends_at_the_target_accuracy(experiment: Experiment) -> None:
    config = replace(experiment.config.training, max_epochs=2000.0, learning_rate=3e-3)
    phase = phases.indexing_phase(experiment.model, experiment.data, config, seed=0, callbacks=Callbacks())
    assert phase.history[-1]["whole_ids"] >= 0.98 > phase.history[-2]["whole_ids"]
    assert phase.steps == phase.history[-1]["step"] < 2000 * 10 / 32
    assert phase.history[0]["loss"] > phase.history[-1]["loss"]


def test_recorder_records_each_evaluation_once_with_the_accuracy_of_digits(experiment: Experiment) -> None:
    points: list[tuple[str, dict[str, float]]] = []
    progress: list[Progress] = []
    callbacks = Callbacks(progress.append, lambda phase, point: points.append((phase, point)))
    recorder = Recorder(
        experiment.model, experiment.data, phase="indexing", steps_per_epoch=5.0, callbacks=callbacks
    )
    evaluated = Progress("indexing", 10, loss=2.0, indexing_accuracy=0.3, retrieval_loss=4.0)
    recorder(Progress("indexing", 5))
    recorder(evaluated)
    recorder(replace(evaluated, done=20))  # the same evaluation again
    assert len(progress) == 3 and len(points) == len(recorder.history) == 1
    (phase, point), trie = points[0], experiment.data.trie
    assert phase == "indexing" and recorder.history == [point] and recorder.best is None
    experiment.model.eval()
    pixels = experiment.pixels[:10].float() / 255
    with torch.no_grad():
        best = experiment.model(pixels, trie.codes, trie.nodes).argmax(-1)
    right = [
        bool(best[i, t] == trie.codes[i, t]) for i in range(10) for t in range(2) if trie.nodes[i, t] != NONE
    ]
    assert point["accuracy"] == pytest.approx(sum(right) / len(right))
    assert (point["epoch"], point["whole_ids"], point["validation_loss"]) == (2.0, 0.3, 4.0)
