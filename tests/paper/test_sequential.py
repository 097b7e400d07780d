from __future__ import annotations

from dataclasses import replace

from vitdsi.config import PaperTrainingConfig, TrainingConfig
from vitdsi.paper.sequential import SequentialSchedule

PAPER = PaperTrainingConfig(
    schedule="sequential", warmup_steps=1, cooldown=0.0, target_accuracy=0.9, retrieval_epochs=2
)
CONFIG = TrainingConfig(batch_size=10, learning_rate=1.0, patience=2, max_epochs=5, paper=PAPER)


def test_retrieval_share_is_zero_while_indexing_and_one_afterwards() -> None:
    schedule = SequentialSchedule(CONFIG, 100)
    assert (schedule.phase, schedule.retrieval_share) == ("indexing", 0.0)
    schedule = SequentialSchedule(CONFIG, 100, phase="retrieval")
    assert schedule.retrieval_share == 1.0


def test_retrieval_begins_at_the_target_accuracy() -> None:
    schedule = SequentialSchedule(CONFIG, 100)
    for _ in range(7):
        assert not schedule.advance()
    assert not schedule.evaluated(0.5, 1.0)
    assert schedule.phase == "indexing"
    assert not schedule.evaluated(0.95, 1.0)
    assert (schedule.phase, schedule.phase_start, schedule.best_loss) == ("retrieval", 7, float("inf"))


def test_each_phase_has_its_own_limit() -> None:
    schedule = SequentialSchedule(CONFIG, 100)
    steps = {"indexing": 0, "retrieval": 0}
    over = False
    while not over:
        phase = schedule.phase
        over = schedule.advance()
        steps[phase] += 1
    assert steps == {"indexing": 50, "retrieval": 20}  # 10 steps an epoch in both


def test_the_retrieval_phase_ends_when_the_held_out_loss_no_longer_falls() -> None:
    schedule = SequentialSchedule(CONFIG, 100, phase="retrieval")
    schedule.advance()
    assert not schedule.evaluated(0.0, 1.0)
    assert not schedule.evaluated(0.0, 1.0)
    assert schedule.evaluated(0.0, 1.0)


def test_without_retrieval_epochs_the_run_ends_after_indexing() -> None:
    schedule = SequentialSchedule(replace(CONFIG, paper=replace(PAPER, retrieval_epochs=0)), 100)
    schedule.advance()
    assert schedule.evaluated(1.0, 1.0)
    assert schedule.phase == "indexing"
