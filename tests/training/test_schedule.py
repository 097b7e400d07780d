from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from vitdsi.config import PaperTrainingConfig, TrainingConfig
from vitdsi.paper.sequential import SequentialSchedule
from vitdsi.training.schedule import Schedule, schedule_for

PAPER = PaperTrainingConfig(warmup_steps=4, cooldown=0.5, target_accuracy=0.9)
CONFIG = TrainingConfig(batch_size=10, retrieval_ratio=0.5, learning_rate=1.0, patience=2, paper=PAPER)


def run(schedule: Schedule) -> list[float]:
    """The learning rate of every step until the schedule ends."""
    rates = []
    over = False
    while not over:
        rates.append(schedule.learning_rate)
        over = schedule.advance()
        assert len(rates) < 10_000
    return rates


def test_setting_chooses_the_schedule() -> None:
    assert type(schedule_for(CONFIG, 10)) is Schedule
    sequential = replace(CONFIG, paper=replace(PAPER, schedule="sequential"))
    assert type(schedule_for(sequential, 10)) is SequentialSchedule


def test_epoch_has_as_many_indexing_examples_as_there_are_images() -> None:
    schedule = Schedule(replace(CONFIG, max_epochs=3), 100)
    assert schedule.steps_per_epoch == 20  # half of each batch of 10 is indexing
    assert schedule.max_steps == schedule.planned_end == 60


def test_the_learning_rate_warms_up_stays_and_falls_to_zero_within_the_limit() -> None:
    schedule = Schedule(replace(CONFIG, max_epochs=1), 100)
    rates = run(schedule)
    assert len(rates) == 20
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[4:11]) == {1.0}
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] <= 0.1


def test_cooldown_begins_when_ids_are_known_and_the_loss_no_longer_falls() -> None:
    schedule = Schedule(CONFIG, 100)
    for _ in range(10):
        schedule.advance()
    assert not schedule.evaluated(0.95, 1.0)
    for accuracy, loss in ((0.5, 1.0), (0.5, 1.0)):  # stale, but the ids are not known
        schedule.evaluated(accuracy, loss)
        assert schedule.cooldown_start is None
    schedule.evaluated(0.95, 0.5)  # known, and the loss fell
    assert schedule.cooldown_start is None
    schedule.evaluated(0.95, 0.4999)  # falls by too little to count
    schedule.evaluated(0.95, 0.5)
    assert schedule.cooldown_start == 10
    assert schedule.planned_end == 20  # a cooldown of half of all steps


def test_cooldown_begins_when_its_share_of_the_minutes_is_left() -> None:
    schedule = Schedule(replace(CONFIG, minutes=1.0), 100)
    schedule.seconds = 29.0
    schedule.advance()
    assert schedule.cooldown_start is None
    schedule.seconds = 30.0
    schedule.advance()
    assert schedule.cooldown_start == 2


def test_schedule_restored_from_json_goes_on_where_it_was() -> None:
    schedule = Schedule(replace(CONFIG, max_epochs=1), 100)
    for _ in range(7):
        schedule.advance()
    schedule.evaluated(0.3, 2.0)
    state = json.loads(json.dumps(schedule.as_dict()))
    again = Schedule(replace(CONFIG, max_epochs=1), 100, **state)
    assert again == schedule
    assert run(again) == run(schedule)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_schedule_with_examples_of_one_kind_alone_ends(ratio: float) -> None:
    schedule = Schedule(replace(CONFIG, retrieval_ratio=ratio, max_epochs=1e-6), 100)
    assert len(run(schedule)) >= 1
