"""Fine-tuning a model whose rows were coded, so that it makes up for what the coding lost."""

from __future__ import annotations

from dataclasses import replace

from vitdsi.model.coding import round_weights
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.progress import OnProgress, Progress
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.schedule import Schedule

_SHARE = 0.1  # of the steps of the run before
_RATE = 0.3  # of its learning rate


def fine_tune(
    model: Seq2Seq, data: TrainingData, before: Schedule, *, seed: int, on_progress: OnProgress = None
) -> None:
    """Train a model with coded rows in place, for a tenth of the steps that it was trained with floats.

    The codes stay as they are. The centres that they stand for learn with all other weights, as in the product
    quantization of a trained network by Stock et al. ("And the bit goes down: revisiting the quantization of neural
    networks", 2020). At the end, the weights are rounded to what an index stores.

    Args:
        model: a model of `vitdsi.model.coding.with_row_bytes`. A model with rows of floats, or without rows, is left as
            it is.
        data: what it was trained on.
        before: the schedule of the run before, which has ended.
        seed: the seed of batches, views and dropout.
        on_progress: as for `train`; the phase is `fine-tuning`.
    """
    config = before.config
    epochs = _SHARE * before.step / before.steps_per_epoch
    if model.row_bytes is None or not epochs:
        return
    short = replace(
        config,
        learning_rate=_RATE * config.learning_rate,
        max_epochs=epochs,
        minutes=None,
        paper=replace(config.paper, schedule="joint"),
    )

    def report(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(replace(progress, phase="fine-tuning"))

    train(model, data, short, seed=seed, on_progress=report)
    round_weights(model)
