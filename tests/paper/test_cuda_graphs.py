"""The steps on the CPU, where they are run one by one instead of being captured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.errors import UsageError
from vitdsi.paper.cuda_graphs import seconds_per_step, train_with_graphs
from vitdsi.paper.methods import Experiment, prepare
from vitdsi.paper.recipes import our_recipe, paper_recipe
from vitdsi.paper.samples import Samples, read_dataset, sample
from vitdsi.paper.sequential import SequentialSchedule
from vitdsi.progress import Progress
from vitdsi.training.loop import train
from vitdsi.training.views import FeatureViews

PAPER = [text for text in SHORT if not text.startswith("ours.")]
PAPER += ["model.paper.dropout=0", "training.evaluate_every=4"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return sample(read_dataset(class_folders(tmp_path_factory.mktemp("data") / "photos")), SIZE, 0)


def experiment(samples: Samples, recipe: str) -> Experiment:
    limits = [f"ours.training.{text}" for text in ("max_epochs=9", "batch_size=10", "evaluate_every=4")]
    config = (
        paper_recipe("random", 0, 16, PAPER)
        if recipe == "paper"
        else our_recipe("random", 0, 16, [*SHORT, *PAPER, *limits])
    )
    return prepare(config, samples, samples.pixels(16))


@pytest.mark.parametrize("recipe", ["paper", "ours"])
def test_without_dropout_the_weights_and_curves_are_those_of_the_loop(samples: Samples, recipe: str) -> None:
    histories, weights = [], []
    for loop in (train, train_with_graphs):
        made = experiment(samples, recipe)
        progress: list[Progress] = []
        schedule = loop(made.model, made.data, made.config.training, seed=3, on_progress=progress.append)
        histories.append(schedule.history)
        weights.append(made.model.state_dict())
        assert [point.done for point in progress] == sorted({*range(10, schedule.step, 10), schedule.step})
    assert len(histories[0]) == len(histories[1]) > 1
    for first, second in zip(*histories, strict=True):
        assert first == pytest.approx(second, abs=1e-4)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)


def test_replay_keeps_what_retrieval_examples_alone_forget(samples: Samples) -> None:
    accuracies = []
    for replay in (0.0, 0.5):
        made = experiment(samples, "paper")
        config = replace(made.config.training, batch_size=8, learning_rate=3e-3)
        config = replace(config, paper=replace(config.paper, retrieval_epochs=120.0))
        schedule = SequentialSchedule(config, samples.indexed, phase="retrieval", replay=replay)
        train_with_graphs(made.model, made.data, config, seed=0, schedule=schedule)
        accuracies.append(schedule.history[-1]["indexing_accuracy"])
    assert accuracies[1] > 0.8 > accuracies[0]


def test_views_of_features_raise(samples: Samples) -> None:
    made = experiment(samples, "paper")
    data = replace(made.data, views=FeatureViews(torch.zeros(4, 8), torch.empty(0)))
    with pytest.raises(UsageError, match=r"set model\.stem=pixels"):
        train_with_graphs(made.model, data, made.config.training, seed=0)


def test_measured_seconds_are_positive_and_the_steps_train(samples: Samples) -> None:
    made = experiment(samples, "ours")
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    assert seconds_per_step(made.model, made.data, made.config.training, repeats=1) > 0
    assert any(not torch.equal(before[name], value) for name, value in made.model.state_dict().items())
