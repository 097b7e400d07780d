from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers_engine import EngineHere, NoEngine
from helpers_ranks import in_ranks, trained
from helpers_training import COUNT, assert_equal_weights, data, model, settings, weights

from vitdsi.engine.base import Together
from vitdsi.engine.ranks import ALONE, Ranks
from vitdsi.errors import UsageError
from vitdsi.progress import OnProgress, Progress
from vitdsi.training.checkpoint import save_checkpoint
from vitdsi.training.loop import train
from vitdsi.training.optimizers import Optimizers
from vitdsi.training.schedule import Schedule, schedule_for
from vitdsi.training.together import train_with

TOLERANCE = 1e-5
"""Of weights and losses after some steps in several ranks, beside those of one."""


class OneRank(EngineHere):
    """An engine whose only rank trains from files, as those in other processes do."""

    ranks = 2

    def together(self, task: Together, folder: Path, on_progress: OnProgress = None) -> None:
        task(ALONE, on_progress)


def test_training_from_files_equals_training_in_place(tmp_path: Path) -> None:
    one, two = model(), model()
    first = train(one, data(), settings(), seed=0)
    reported: list[Progress] = []
    engine, folder = OneRank(), tmp_path / "run"
    second = train_with(
        engine, two, data(), settings(), seed=0, checkpoint=folder, on_progress=reported.append
    )
    assert_equal_weights(weights(one), weights(two))
    assert second.history == first.history
    assert (second.step, two.training) == (first.step, False)
    assert reported[-1].done == first.step
    assert list(tmp_path.iterdir()) == []


def test_one_rank_trains_in_place() -> None:
    one, two = model(), model()
    train(one, data(), settings(), seed=0)
    train_with(NoEngine(), two, data(), settings(), seed=0)
    assert_equal_weights(weights(one), weights(two))


class Breaking(OneRank):
    """An engine whose rank ends in the middle, once, and is started again."""

    def together(self, task: Together, folder: Path, on_progress: OnProgress = None) -> None:
        def stop(progress: Progress) -> None:
            if progress.done == 10:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            task(ALONE, stop)
        task(ALONE, on_progress)


def test_ranks_that_start_again_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    one, two = model(), model()
    train(one, data(), settings(), seed=0)
    train_with(Breaking(), two, data(), settings(), seed=0, checkpoint=tmp_path / "run")
    assert_equal_weights(weights(one), weights(two))


def test_the_checkpoint_of_another_run_is_resumed_only_if_asked(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for resume, seconds in ((False, 0.0), (True, 100.0)):
        save_checkpoint(folder, made := model(), Optimizers(made, settings()).each, _halfway())
        schedule = train_with(
            OneRank(), model(), data(), settings(), seed=0, checkpoint=folder, resume=resume
        )
        assert schedule.seconds >= seconds
        assert (schedule.seconds < 100) == (not resume)


def _halfway() -> Schedule:
    schedule = schedule_for(settings(), COUNT)
    schedule.step, schedule.seconds = 10, 100.0
    return schedule


def test_a_batch_must_have_an_example_for_each_rank() -> None:
    class Many(Ranks):
        size = 25

    with pytest.raises(UsageError, match=r"training\.batch_size is 24, which is less than 25 processes"):
        train(model(), data(), settings(), seed=0, ranks=Many())


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_two_ranks_train_the_model_of_one(tmp_path: Path, sparse: bool) -> None:
    one, history = trained(ALONE, sparse)
    (first, first_history), (second, _) = in_ranks(2, tmp_path, trained, sparse)
    assert_equal_weights(first, second)
    far = [name for name in one if not torch.allclose(first[name], one[name], rtol=0, atol=TOLERANCE)]
    # Biases of keys have no effect and no gradient but rounding errors, which Adam scales up.
    assert [name for name in far if not name.endswith("key_value.bias")] == []
    for ours, theirs in zip(first_history, history, strict=True):
        assert ours == pytest.approx(theirs, abs=TOLERANCE)
