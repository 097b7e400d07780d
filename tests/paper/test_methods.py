from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.paper import methods
from vitdsi.paper.methods import Experiment, prepare
from vitdsi.paper.phases import Callbacks
from vitdsi.paper.recipes import our_recipe, paper_recipe
from vitdsi.paper.samples import Samples, read_dataset, sample

NOTHING = Callbacks()
PAPER = [text for text in SHORT if not text.startswith("ours.")]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    photos = class_folders(tmp_path_factory.mktemp("data") / "photos")
    return sample(read_dataset(photos), SIZE, 0)


@pytest.fixture
def experiment(samples: Samples) -> Experiment:
    return prepare(paper_recipe("random", 0, 16, PAPER), samples, samples.pixels(16))


def test_prepare_trains_with_train_queries_and_holds_out_validation_queries(experiment: Experiment) -> None:
    samples, data = experiment.samples, experiment.data
    assert experiment.trie.live_ids().tolist() == list(range(samples.indexed))
    assert data.indexing_rows.tolist() == list(samples.rows("indexing"))
    assert data.retrieval_rows.tolist() == list(samples.rows("train"))
    assert data.held_out_rows.tolist() == list(samples.rows("validation"))
    held_out = experiment.pixels[data.held_out_rows].float() / 255
    torch.testing.assert_close(data.held_out_inputs.float(), held_out)


def test_prepare_leaves_out_queries_without_relevant_images(samples: Samples) -> None:
    train, validation = samples.rows("train"), samples.rows("validation")
    relevant = list(samples.relevant)
    relevant[train[2]] = relevant[validation[0]] = np.array([], dtype=np.int64)
    data = prepare(
        paper_recipe("random", 0, 16, PAPER), replace(samples, relevant=relevant), samples.pixels(16)
    ).data
    assert data.retrieval_rows.tolist() == [row for row in train if row != train[2]]
    assert data.held_out_rows.tolist() == list(validation[1:])


def test_prepare_is_determined_by_the_seed_and_does_not_use_the_global_generator(samples: Samples) -> None:
    pixels = samples.pixels(16)
    before = torch.get_rng_state()
    first, second, other = (
        prepare(paper_recipe("random", seed, 16, PAPER), samples, pixels).model.state_dict()
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_training_does_not_use_the_global_generator(experiment: Experiment, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    methods.zero_shot(experiment, NOTHING, tmp_path / "weights.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_fine_tuned_starts_from_the_weights_and_adds_to_the_steps_of_zero_shot(
    experiment: Experiment, tmp_path: Path
) -> None:
    weights = tmp_path / "models" / "weights.safetensors"
    zero = methods.zero_shot(experiment, NOTHING, weights)
    trained = {name: value.clone() for name, value in experiment.model.state_dict().items()}
    assert set(zero["history"]) == {"indexing"}

    none = paper_recipe("random", 0, 16, [*PAPER, "training.paper.retrieval_epochs=0"])
    same = prepare(none, experiment.samples, experiment.pixels)
    result = methods.fine_tuned(same, NOTHING, weights, zero, early_stopping=True)
    assert all(torch.equal(value, trained[name]) for name, value in same.model.state_dict().items())
    assert (result["metrics"], result["steps"]) == (zero["metrics"], zero["steps"])

    more = prepare(experiment.config, experiment.samples, experiment.pixels)
    result = methods.fine_tuned(more, NOTHING, weights, zero, early_stopping=False)
    assert set(result["history"]) == {"indexing", "retrieval"}
    assert result["history"]["indexing"] == zero["history"]["indexing"]
    assert result["steps"] > zero["steps"]
    assert set(result["seconds_by_phase"]) == {"indexing", "retrieval"}


def test_ours_trains_one_joint_phase(samples: Samples) -> None:
    overrides = [*SHORT, "ours.training.max_epochs=4", "ours.training.evaluate_every=1"]
    experiment = prepare(our_recipe("random", 0, 16, overrides), samples, samples.pixels(16))
    points: list[str] = []
    result = methods.ours(experiment, Callbacks(on_point=lambda phase, point: points.append(phase)))
    assert set(result["history"]) == {"joint"}
    assert points == ["joint"] * len(result["history"]["joint"]) != []
    assert result["parameters"] == sum(parameter.numel() for parameter in experiment.model.parameters())


@pytest.mark.parametrize("improved", [False, True])
def test_bag_of_words_finds_each_indexed_image_by_itself(samples: Samples, improved: bool) -> None:
    pytest.importorskip("cv2")
    result = methods.bag_of_words(samples, samples.pixels(32), 0, improved=improved)
    assert result["metrics"]["IA@1"]["value"] == 1.0
    assert result["metrics"]["Recall@100"]["value"] == 1.0, "all ten images are ranked"
    assert (result["steps"], result["parameters"], result["history"]) == (0, 0, {})


def test_nearest_features_are_those_of_the_backbone(samples: Samples, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    result = methods.nearest_features(samples, tmp_path, 0)
    assert result["metrics"]["IA@1"]["value"] == 1.0
    assert result["parameters"] > 1_000_000
    assert any(path.is_file() for path in tmp_path.rglob("*")), "features are cached"


def test_chance_is_the_expected_value_of_random_rankings(samples: Samples) -> None:
    result = methods.chance(samples)
    assert result["metrics"]["IA@1"]["value"] == pytest.approx(1 / samples.indexed)
    shares = [len(relevant) / samples.indexed for relevant in samples.relevant_to("test")]
    assert result["metrics"]["P@10"]["value"] == pytest.approx(np.mean(shares))
    assert result["seconds"] == 0.0
