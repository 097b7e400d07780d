"""Training in several processes, which are given the model and the data in a file and leave the result in another."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from vitdsi.config import TrainingConfig
from vitdsi.engine.base import Engine
from vitdsi.engine.ranks import Ranks
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.progress import OnProgress
from vitdsi.training.checkpoint import has_checkpoint
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.relay import relayed, reporting_to
from vitdsi.training.schedule import Schedule, schedule_for

_JOB, _RESULT, _PROGRESS = "job.pt", "result.pt", "progress.json"


def train_with(
    engine: Engine | None,
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = None,
) -> Schedule:
    """Train a model in place in the ranks of an engine, or without any in this process; see `train`.

    Several ranks give the model of one, but for the order of float additions, and for dropout, which they draw
    independently.

    Args:
        engine: where to train. Its processes must see the folder of the checkpoint, or without one that of temporary
            files.
        model, data, config, seed, checkpoint, resume, on_progress: as for `train`.

    Raises:
        UsageError: as for `train`, or the processes cannot go on.
    """
    if engine is None or engine.ranks == 1:
        return train(
            model, data, config, seed=seed, checkpoint=checkpoint, resume=resume, on_progress=on_progress
        )
    if checkpoint is not None and not resume:
        # A rank that starts again must not find that of another run.
        shutil.rmtree(checkpoint, ignore_errors=True)
    device = next(model.parameters()).device
    with _folder_beside(checkpoint) as folder:
        torch.save((model.cpu(), data, config, seed), folder / _JOB)
        task = partial(_train_rank, folder, checkpoint or folder / "checkpoint", device.type)
        with relayed(folder / _PROGRESS, on_progress):
            engine.together(task, folder, on_progress)
        weights, state = torch.load(folder / _RESULT, weights_only=True)
    model.to(device).load_state_dict(weights)
    schedule = schedule_for(config, len(data.indexing_rows))
    schedule.restore(state)
    model.eval()
    return schedule


def _train_rank(folder: Path, checkpoint: Path, device: str, ranks: Ranks, on_progress: OnProgress) -> None:
    """Train in one rank. One that was started again goes on from the checkpoint of those before."""
    # The data is mapped into memory, and so shared by the ranks of a machine.
    model, data, config, seed = torch.load(folder / _JOB, mmap=True, weights_only=False)
    schedule = train(
        model.to(device),
        data,
        config,
        seed=seed,
        checkpoint=checkpoint,
        resume=has_checkpoint(checkpoint),
        on_progress=on_progress or reporting_to(folder / _PROGRESS),
        ranks=ranks,
    )
    if ranks.rank == 0:
        torch.save((model.cpu().state_dict(), schedule.as_dict()), folder / _RESULT)


@contextlib.contextmanager
def _folder_beside(checkpoint: Path | None) -> Iterator[Path]:
    """Make a folder for the job and its result, beside the checkpoint if there is one."""
    parent, name = (None, "vitdsi") if checkpoint is None else (checkpoint.absolute().parent, checkpoint.name)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name}.job."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
