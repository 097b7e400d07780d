"""Checkpoints: a folder with weights and optimizer state as safetensors, and the schedule as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitdsi.errors import UsageError
from vitdsi.files import recover_folder, replace_folder
from vitdsi.training.schedule import Schedule


def save_checkpoint(
    folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], schedule: Schedule
) -> None:
    """Write a checkpoint, replacing the folder as a whole."""
    moments: dict[str, Tensor] = {}
    for place, optimizer in enumerate(optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                moments[f"{place}.{number}.{name}"] = torch.as_tensor(value).contiguous()
    with replace_folder(folder) as new:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, new / "model.safetensors")
        save_file(moments, new / "optimizer.safetensors")
        (new / "schedule.json").write_text(json.dumps(schedule.as_dict()), "utf-8")


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run can be resumed from the folder."""
    recover_folder(folder)
    return (folder / "schedule.json").is_file()


def load_checkpoint(
    folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], schedule: Schedule
) -> None:
    """Restore weights, optimizers and schedule.

    Raises:
        UsageError: there is no checkpoint, or it belongs to other images or settings.
    """
    if not has_checkpoint(folder):
        raise UsageError(f"{folder}: there is no state to resume; start again without resume")
    weights = load_file(folder / "model.safetensors")
    current = model.state_dict()
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in current.items()}:
        raise UsageError(
            f"{folder}: the state belongs to other images or settings; give the same ones, or start without resume"
        )
    model.load_state_dict(weights)
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for key, value in load_file(folder / "optimizer.safetensors").items():
        place, number, name = key.split(".", 2)
        states[int(place)].setdefault(int(number), {})[name] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    schedule.restore(json.loads((folder / "schedule.json").read_text("utf-8")))
