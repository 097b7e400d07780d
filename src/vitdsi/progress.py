"""How far a build is, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Progress:
    """How far a build is.

    Attributes:
        phase: reading, views, indexing, retrieval, joint or cooldown.
        done: photos or steps that are done.
        total: photos or steps in all, or None while that is not known.
        loss: mean training loss since the last evaluation, in nats for each example.
        indexing_accuracy: share of the indexed images whose own id the model writes, at the last evaluation.
        retrieval_loss: loss of the held-out retrieval examples at the last evaluation, in nats for each example.
        images_per_second: training examples in a second.
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
