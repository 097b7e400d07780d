from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers_training import COUNT, assert_equal_weights, model, settings, weights

from vitdsi.errors import UsageError
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from vitdsi.training.schedule import Schedule


def optimizer_of(trained: Seq2Seq) -> torch.optim.AdamW:
    return torch.optim.AdamW(trained.parameters(), lr=0.01)


def step(trained: Seq2Seq, optimizer: torch.optim.Optimizer) -> None:
    """One step towards zero weights, which needs no examples."""
    optimizer.zero_grad()
    torch.stack([value.square().sum() for value in trained.parameters()]).sum().backward()
    optimizer.step()


def saved(folder: Path) -> tuple[Seq2Seq, torch.optim.AdamW, Schedule]:
    """A run that was saved after two steps."""
    trained, schedule = model(), Schedule(settings(), COUNT)
    optimizer = optimizer_of(trained)
    for _ in range(2):
        step(trained, optimizer)
        schedule.advance()
    schedule.evaluated(0.25, 1.5)
    schedule.history.append({"step": 2.0, "loss": 0.5})
    save_checkpoint(folder, trained, [optimizer], schedule)
    return trained, optimizer, schedule


def test_loaded_state_goes_on_exactly_as_the_saved_run(tmp_path: Path) -> None:
    trained, optimizer, schedule = saved(tmp_path / "state")
    again = model(seed=5)
    again_optimizer, again_schedule = optimizer_of(again), Schedule(settings(), COUNT)
    load_checkpoint(tmp_path / "state", again, [again_optimizer], again_schedule)
    assert_equal_weights(weights(again), weights(trained))
    assert again_schedule == schedule and again_schedule.step == 2
    for _ in range(2):
        step(trained, optimizer)
        step(again, again_optimizer)
    assert_equal_weights(weights(again), weights(trained))


def test_saving_replaces_the_state_of_before(tmp_path: Path) -> None:
    trained, optimizer, schedule = saved(tmp_path / "state")
    step(trained, optimizer)
    schedule.advance()
    save_checkpoint(tmp_path / "state", trained, [optimizer], schedule)
    assert json.loads((tmp_path / "state" / "schedule.json").read_text("utf-8"))["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_state_holds_no_pickled_file(tmp_path: Path) -> None:
    saved(tmp_path / "state")
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "schedule.json",
    ]


def test_state_of_another_model_is_refused_and_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    saved(tmp_path / "state")
    other = model(embed_dim=32)
    before = weights(other)
    with pytest.raises(UsageError, match="belongs to other images or settings"):
        load_checkpoint(tmp_path / "state", other, [optimizer_of(other)], Schedule(settings(), COUNT))
    assert_equal_weights(weights(other), before)


def test_missing_state_is_refused(tmp_path: Path) -> None:
    trained = model()
    assert not has_checkpoint(tmp_path / "state")
    with pytest.raises(UsageError, match="there is no state to resume"):
        load_checkpoint(tmp_path / "state", trained, [optimizer_of(trained)], Schedule(settings(), COUNT))


def test_folder_of_other_files_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear", "utf-8")
    assert not has_checkpoint(tmp_path)
    assert (tmp_path / "letter.txt").read_text("utf-8") == "dear"


def test_write_that_fails_leaves_the_state_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, optimizer, schedule = saved(tmp_path / "state")
    schedule.advance()

    def fails(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("vitdsi.training.checkpoint.save_file", fails)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(tmp_path / "state", trained, [optimizer], schedule)
    assert has_checkpoint(tmp_path / "state")
    assert json.loads((tmp_path / "state" / "schedule.json").read_text("utf-8"))["step"] == 2
