from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config, random_codes
from helpers_training import assert_equal_weights, settings, weights
from helpers_training import data as small_data
from helpers_training import model as small_model

from vitdsi.ids.trie import Trie
from vitdsi.model.coding import packed, unpacked, with_row_bytes
from vitdsi.model.heads.rows import CodedRows
from vitdsi.model.initialise import initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.data import TrainingData
from vitdsi.training.fine_tune import fine_tune
from vitdsi.training.loop import evaluate, train
from vitdsi.training.schedule import Schedule
from vitdsi.training.targets import OwnId
from vitdsi.training.views import FeatureViews

COUNT, WIDTH = 500, 20  # more images than a code has centres


@pytest.fixture(scope="module")
def data() -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    views = FeatureViews(torch.rand(COUNT, WIDTH, generator=generator), torch.zeros(1, WIDTH))
    rows = torch.arange(COUNT)
    return TrainingData(
        Trie(random_codes("mixed", COUNT), 3), rows, views, OwnId(), rows, views.clean(rows[:50]), rows[:50]
    )


@pytest.fixture(scope="module")
def trained(data: TrainingData) -> tuple[Seq2Seq, Schedule]:
    torch.manual_seed(0)
    model = Seq2Seq(model_config(embed_dim=16, embedding_dim=16, prototypes=2), data.trie, (WIDTH,))
    initialise(model, data.trie, data.views.clean(data.indexing_rows), 0)
    schedule = train(model, data, settings(steps=40, batch_size=200, evaluate_every=1000), seed=0)
    return model.eval(), schedule


def test_fine_tuning_makes_up_for_a_part_of_what_coding_lost_and_changes_no_code(
    data: TrainingData, trained: tuple[Seq2Seq, Schedule]
) -> None:
    model, schedule = trained
    coded = with_row_bytes(model, data.trie, 2)
    assert isinstance(coded.head.leaves, CodedRows)
    codes = coded.head.leaves.codes.clone()
    floats, before = (evaluate(each, data, schedule.config)["retrieval_loss"] for each in (model, coded))
    fine_tune(coded, data, schedule, seed=1)
    after = evaluate(coded, data, schedule.config)["retrieval_loss"]
    assert before > floats
    assert after < before - 0.3 * (before - floats)
    assert torch.equal(coded.head.leaves.codes, codes)


def test_fine_tuned_weights_are_stored_without_a_loss(
    data: TrainingData, trained: tuple[Seq2Seq, Schedule]
) -> None:
    model, schedule = trained
    coded = with_row_bytes(model, data.trie, 2)
    fine_tune(coded, data, schedule, seed=1)
    stored = packed(coded.state_dict())
    assert not any(weight.dtype == torch.float32 for weight in stored.values())
    assert_equal_weights(unpacked(stored), dict(coded.state_dict()))
    assert not coded.training


def test_rows_of_floats_and_models_that_were_not_trained_stay_as_they_are() -> None:
    given = small_data()
    for row_bytes, steps in ((None, 3), (2, 0)):
        made = with_row_bytes(small_model(), given.trie, row_bytes)
        before = weights(made)
        fine_tune(made, given, Schedule(settings(), len(given.indexing_rows), step=steps), seed=0)
        assert_equal_weights(weights(made), before)
