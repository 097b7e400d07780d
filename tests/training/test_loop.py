from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers_training import COUNT, assert_equal_weights, data, model, settings, weights
from safetensors import SafetensorError
from torch import Tensor

from vitdsi.errors import UsageError, VitdsiError
from vitdsi.model.heads import rows
from vitdsi.progress import Progress
from vitdsi.search.beam import beam_search
from vitdsi.training import loop
from vitdsi.training.checkpoint import has_checkpoint
from vitdsi.training.loop import train


class FixedViews:
    """The same inputs for any rows."""

    def __init__(self, inputs: Tensor) -> None:
        self._inputs = inputs

    def clean(self, rows: Tensor) -> Tensor:
        return self._inputs[rows]


def test_training_learns_the_ids_and_records_every_evaluation() -> None:
    trained = model()
    schedule = train(trained, data(), settings(steps=60), seed=0)
    with torch.inference_mode():
        ids, _ = beam_search(trained, data().views.clean(torch.arange(COUNT)), data().trie, COUNT)
    assert ids[:, 0].tolist() == list(range(COUNT))
    assert [entry["step"] for entry in schedule.history] == list(range(5, 61, 5))
    first, last = schedule.history[0], schedule.history[-1]
    assert last["indexing_accuracy"] == 1.0
    assert last["loss"] < first["loss"] and last["retrieval_loss"] < first["retrieval_loss"]
    assert not trained.training


def test_same_seed_gives_the_same_weights() -> None:
    runs = []
    for _ in range(2):
        trained = model()
        train(trained, data(), settings(), seed=1)
        runs.append(weights(trained))
    assert_equal_weights(runs[0], runs[1])


def test_training_leaves_the_global_generator_as_it_was() -> None:
    trained = model(dropout=0.2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(trained, data(), settings(steps=5), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stop", [7, 10, 18])  # between evaluations, at one, and in the cooldown
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model(dropout=0.2)
    expected = train(whole, data(), settings(), seed=3)

    real, calls = loop.next_token_loss, []

    def interrupted(*arguments: Tensor) -> Tensor:
        calls.append(None)
        if len(calls) == stop + stop // 5 + 1:  # an evaluation every five steps computes the loss, too
            raise KeyboardInterrupt
        return real(*arguments)

    stopped = model(dropout=0.2)
    monkeypatch.setattr(loop, "next_token_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, data(), settings(), seed=3, checkpoint=tmp_path / "state")
    monkeypatch.undo()
    assert has_checkpoint(tmp_path / "state")

    resumed = model(seed=9, dropout=0.2)  # other weights, which the state replaces
    schedule = train(resumed, data(), settings(), seed=3, checkpoint=tmp_path / "state", resume=True)
    assert_equal_weights(weights(resumed), weights(whole))
    assert schedule.step == expected.step
    without_loss = [[{**entry, "loss": 0} for entry in run.history] for run in (schedule, expected)]
    assert without_loss[0] == without_loss[1]


def test_large_tables_are_trained_lazily_and_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are small here, and every step reads nearly all of their rows, so lazy Adam is nearly Adam."""
    dense = model()
    train(dense, data(), settings(), seed=3)
    monkeypatch.setattr(rows, "SPARSE_FROM", 1)
    whole, resumed = model(), model(seed=9)
    train(whole, data(), settings(), seed=3)
    found, expected = (m.head.leaves.weight.detach() for m in (whole, dense))
    assert not torch.equal(found, model().head.leaves.weight.detach())
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model(), data(), settings(), seed=3, checkpoint=tmp_path / "state", on_progress=interrupt)
    train(resumed, data(), settings(), seed=3, checkpoint=tmp_path / "state", resume=True)
    assert_equal_weights(weights(resumed), weights(whole))


def test_state_is_saved_every_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda *arguments: saved.append(arguments[3].step))
    clock = iter(range(0, 10_000, 25))  # seconds; each look at the clock takes 25 of them
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    train(model(), data(), settings(steps=6), seed=0, checkpoint=tmp_path / "state")
    assert saved and saved == sorted(set(saved)) and len(saved) < 6
    saved.clear()
    train(model(), data(), settings(steps=6), seed=0)
    assert saved == []


def test_resuming_without_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no state to resume"):
        train(model(), data(), settings(), seed=0, checkpoint=tmp_path / "none", resume=True)


def test_frozen_parameters_keep_their_values() -> None:
    trained = model()
    trained.head.requires_grad_(False)
    before = weights(trained)
    train(trained, data(), settings(), seed=0)
    after = weights(trained)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("head."))
    assert not torch.equal(before["stem.widen.weight"], after["stem.widen.weight"])


def test_row_rate_of_zero_keeps_what_starts_from_the_features() -> None:
    trained = model()
    from_features = [value.detach().clone() for value in trained.parameters_from_features()]
    before = weights(trained)
    train(trained, data(), settings(row_rate=0.0), seed=0)
    kept = zip(from_features, trained.parameters_from_features(), strict=True)
    assert from_features and all(torch.equal(old, new) for old, new in kept)
    assert not torch.equal(before["stem.widen.weight"], trained.state_dict()["stem.widen.weight"])


def test_weight_decay_shrinks_matrices_but_not_what_starts_from_the_features() -> None:
    trained = {}
    for decay in (0.0, 30.0):
        trained[decay] = model()
        train(trained[decay], data(), settings(row_rate=0.0, paper={"weight_decay": decay}), seed=0)
    assert trained[30.0].stem.widen.weight.norm() < 0.5 * trained[0.0].stem.widen.weight.norm()
    assert torch.equal(trained[30.0].head.leaves.weight, trained[0.0].head.leaves.weight)


def test_penalty_is_added_to_the_loss_of_every_step() -> None:
    held, free = model(), model()
    start = held.stem.widen.weight.detach().clone()
    calls: list[None] = []

    def penalty() -> Tensor:
        calls.append(None)
        return 1e6 * (held.stem.widen.weight - start).square().sum()

    schedule = train(held, data(), settings(), seed=0, penalty=penalty)
    train(free, data(), settings(), seed=0)
    assert len(calls) == schedule.step
    moved = [float((trained.stem.widen.weight.detach() - start).norm()) for trained in (held, free)]
    assert moved[0] < 0.5 * moved[1]


def test_progress_is_reported_every_ten_steps_and_at_the_end() -> None:
    reported: list[Progress] = []
    schedule = train(model(), data(), settings(steps=25), seed=0, on_progress=reported.append)
    assert [progress.done for progress in reported] == [10, 20, schedule.step]
    assert [progress.phase for progress in reported] == ["joint", "cooldown", "cooldown"]
    assert [progress.total for progress in reported] == [25, schedule.step, schedule.step]
    assert reported[-1].seconds_left == 0 and reported[0].seconds_left is not None
    assert all(
        progress.images_per_second is not None and progress.images_per_second > 0 for progress in reported
    )


def test_time_left_is_bounded_by_the_limit_in_minutes() -> None:
    reported: list[Progress] = []
    config = settings(steps=10**7, minutes=0.01)
    schedule = train(model(), data(), config, seed=0, on_progress=reported.append)
    assert schedule.step < 10**7
    assert all(progress.seconds_left is not None and progress.seconds_left <= 0.6 for progress in reported)


def test_run_without_a_limit_reports_no_total_until_its_cooldown() -> None:
    reported: list[Progress] = []
    config = settings(max_epochs=None, patience=0, evaluate_every=20)
    train(model(), data(), config, seed=0, on_progress=reported.append)
    assert reported[0].phase == "joint"
    assert reported[0].total is None and reported[0].seconds_left is None
    assert reported[-1].phase == "cooldown" and reported[-1].total == reported[-1].done


@pytest.mark.parametrize("constrained", [True, False])
def test_retrieval_loss_without_held_out_examples_is_zero(constrained: bool) -> None:
    given = data()
    none = replace(given, held_out_inputs=given.held_out_inputs[:0], held_out_rows=given.held_out_rows[:0])
    schedule = train(model(), none, settings(steps=5, paper={"constrained": constrained}), seed=0)
    assert schedule.history[-1]["retrieval_loss"] == 0.0


def test_unconstrained_loss_counts_tokens_that_the_trie_forbids() -> None:
    losses = []
    for constrained in (True, False):
        config = settings(steps=1, paper={"constrained": constrained})
        losses.append(train(model(head="digits"), data(), config, seed=0).history[0]["loss"])
    assert losses[1] > losses[0]


@pytest.mark.parametrize(("ratio", "trained_rows"), [(0.0, "indexing"), (1.0, "retrieval")])
def test_batch_of_one_kind_draws_from_the_rows_of_that_kind(
    ratio: float, trained_rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = model()
    given = replace(data(), indexing_rows=torch.tensor([1, 2]), retrieval_rows=torch.tensor([5, 6]))
    shown: set[int] = set()
    for name in ("clean", "altered"):
        real = getattr(type(given.views), name)

        def shows(views: object, rows: Tensor, *more: object, real: object = real) -> Tensor:
            shown.update(rows.tolist())
            return real(views, rows, *more)  # type: ignore[operator]

        monkeypatch.setattr(type(given.views), name, shows)
    monkeypatch.setattr(loop, "evaluate", lambda *_: {"indexing_accuracy": 0.0, "retrieval_loss": 0.0})
    train(trained, given, settings(retrieval_ratio=ratio, max_epochs=1e-3), seed=0)
    assert shown == ({1, 2} if trained_rows == "indexing" else {5, 6})


def test_clean_share_of_the_examples_follows_augment_prob(monkeypatch: pytest.MonkeyPatch) -> None:
    given = data()
    altered: list[int] = []
    real = type(given.views).altered

    def counted(views: object, rows: Tensor, generator: torch.Generator) -> Tensor:
        altered.append(len(rows))
        return real(views, rows, generator)  # type: ignore[arg-type]

    monkeypatch.setattr(type(given.views), "altered", counted)
    for probability in (0.0, 1.0, 0.5):
        altered.clear()
        train(model(), given, settings(augment_prob=probability), seed=0)
        assert sum(altered) / (20 * 2 * COUNT) == pytest.approx(probability, abs=0.1)


def test_removed_ids_compete_in_the_loss_and_not_in_the_indexing_accuracy() -> None:
    """Their scores stay part of the softmax, so that probabilities do not move; but no search returns them."""
    trained, given = model(), data()
    train(trained, given, settings(steps=60), seed=0)
    copies = replace(given, views=FixedViews(given.views.clean(torch.zeros(COUNT, dtype=torch.long))))
    config = settings()
    known = loop.evaluate(trained, replace(copies, indexing_rows=torch.tensor([1])), config)
    assert known["indexing_accuracy"] == 0.0  # the picture is that of id 0
    alone = replace(copies, trie=given.trie.restrict([1]), indexing_rows=torch.tensor([1]))
    left = loop.evaluate(trained, alone, config)
    assert left["indexing_accuracy"] == 1.0
    assert left["retrieval_loss"] == known["retrieval_loss"]


def test_checkpoint_without_room_is_one_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr("vitdsi.training.checkpoint.save_file", full)
    monkeypatch.setattr(loop, "_SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(VitdsiError, match=r"state cannot be written \(.*No space left.*\); make room"):
        train(model(), data(), settings(steps=5), seed=0, checkpoint=tmp_path / "state")
    assert list(tmp_path.iterdir()) == []
