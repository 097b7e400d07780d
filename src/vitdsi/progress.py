"""Progress of a build, as it is reported to a callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Progress:
    """The progress of a build.

    Attributes:
        phase: `reading`, `views`, `indexing`, `retrieval`, `joint`, `cooldown` or `fine-tuning`.
        done: the number of photos or steps that are done.
        total: the number of photos or steps in all, or None while it is unknown.
        loss: mean training loss since the last evaluation, in nats per example.
        indexing_accuracy: share of the indexed images whose own id the model writes, at the last evaluation.
        retrieval_loss: loss of the held-out retrieval examples at the last evaluation, in nats per example.
        images_per_second: training examples per second.
        seconds_left: estimate of the time left.
    """

    phase: str
    done: int
    total: int | None = None
    loss: float | None = None
    indexing_accuracy: float | None = None
    retrieval_loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None


OnProgress: TypeAlias = Callable[[Progress], None] | None
