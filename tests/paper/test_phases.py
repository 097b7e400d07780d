from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.ids.trie import NONE
from vitdsi.paper import phases
from vitdsi.paper.methods import Trained, prepare
from vitdsi.paper.phases import Recorder, Watch
from vitdsi.paper.recipes import paper_recipe
from vitdsi.paper.samples import read_dataset, sample
from vitdsi.progress import Progress


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    samples = sample(read_dataset(class_folders(tmp_path / "photos")), SIZE, 0)
    config = paper_recipe("random", 0, 16, [text for text in SHORT if not text.startswith("ours")])
    return prepare(config, samples, samples.pixels(16))


def retrieval(trained: Trained, epochs: float, *, early_stopping: bool, patience: int = 40) -> phases.Phase:
    training = trained.config.training
    return phases.retrieval_phase(
        trained.model,
        trained.data,
        replace(training, patience=patience, paper=replace(training.paper, retrieval_epochs=epochs)),
        pairs=trained.samples.pairs(),
        early_stopping=early_stopping,
        seed=0,
        watch=Watch(),
    )


def test_a_retrieval_epoch_passes_every_pair_of_query_and_relevant_image(trained: Trained) -> None:
    pairs = trained.samples.pairs()
    assert pairs == 24 * 5
    phase = retrieval(trained, 8, early_stopping=False)
    assert phase.steps == math.ceil(8 * pairs / trained.config.training.batch_size) == 30
    assert phase.history[-1]["epoch"] == pytest.approx(8)
    assert [point["step"] for point in phase.history] == [10, 20, 30]


def test_no_epochs_train_nothing(trained: Trained) -> None:
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    assert retrieval(trained, 0, early_stopping=True) == phases.Phase([], 0, 0.0)
    assert all(torch.equal(before[name], value) for name, value in trained.model.state_dict().items())


def test_early_stopping_ends_and_gives_the_best_weights(trained: Trained) -> None:
    """The 24 queries are soon known by heart, and the loss of the others rises."""
    phase = retrieval(trained, 400, early_stopping=True, patience=5)
    losses = [point["validation_loss"] for point in phase.history]
    best = losses.index(min(losses))
    assert phase.steps < 1500 and best < len(losses) - 1
    recorder = Recorder(trained.model, trained.data, phase="retrieval", per_epoch=1.0, watch=Watch())
    accuracy = recorder._accuracy(trained.data.held_out_inputs, recorder._held_out_ids)
    assert accuracy == pytest.approx(phase.history[best]["validation_accuracy"])


def test_indexing_ends_when_all_is_known(trained: Trained) -> None:
    config = replace(trained.config.training, max_epochs=2000.0, learning_rate=3e-3)
    phase = phases.indexing_phase(trained.model, trained.data, config, seed=0, watch=Watch())
    assert phase.history[-1]["whole_ids"] >= 0.98 > phase.history[-2]["whole_ids"]
    assert phase.steps == phase.history[-1]["step"] < 2000 * 10 / 32
    assert phase.history[0]["loss"] > phase.history[-1]["loss"]


def test_points_are_of_digits_and_told_once(trained: Trained) -> None:
    told: list[tuple[str, dict[str, float]]] = []
    progress: list[Progress] = []
    watch = Watch(progress.append, lambda phase, point: told.append((phase, point)))
    recorder = Recorder(trained.model, trained.data, phase="indexing", per_epoch=5.0, watch=watch)
    evaluated = Progress("indexing", 10, loss=2.0, indexing_accuracy=0.3, retrieval_loss=4.0)
    recorder(Progress("indexing", 5))
    recorder(evaluated)
    recorder(replace(evaluated, done=20))  # the same evaluation, seen again
    assert len(progress) == 3 and len(told) == len(recorder.history) == 1
    (phase, point), trie = told[0], trained.data.trie
    assert phase == "indexing" and recorder.history == [point] and recorder.best is None
    trained.model.eval()
    pixels = trained.pixels[:10].float() / 255
    with torch.no_grad():
        best = trained.model(pixels, trie.codes, trie.nodes).argmax(-1)
    right = [
        bool(best[i, t] == trie.codes[i, t]) for i in range(10) for t in range(2) if trie.nodes[i, t] != NONE
    ]
    assert point["accuracy"] == pytest.approx(sum(right) / len(right))
    assert (point["epoch"], point["whole_ids"], point["validation_loss"]) == (2.0, 0.3, 4.0)
