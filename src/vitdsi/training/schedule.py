"""The schedule of a training run: the share of retrieval examples, the learning rate, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pkgutil import resolve_name

from vitdsi.config import TrainingConfig

_IMPROVEMENT = 0.002  # relative decrease of the held-out loss that counts as an improvement


# One line per schedule. The schedule of the paper is imported only when it is used.
SCHEDULES = {
    "joint": "vitdsi.training.schedule:Schedule",
    "sequential": "vitdsi.paper.sequential:SequentialSchedule",
}


def schedule_for(config: TrainingConfig, num_images: int) -> Schedule:
    """Return the schedule that `training.paper.schedule` names, at its beginning."""
    schedule: Schedule = resolve_name(SCHEDULES[config.paper.schedule])(config, num_images)
    return schedule


@dataclass
class Schedule:
    """The state of a joint run: its progress and the results of its evaluations.

    Training ends in a cooldown, over which the learning rate falls to zero. The cooldown begins when a limit is near,
    or when the indexing accuracy is reached and the held-out retrieval loss no longer falls. The state consists of
    plain numbers, so that a resumed run continues exactly where it stopped.
    """

    config: TrainingConfig
    num_images: int
    phase: str = "joint"
    step: int = 0
    phase_start: int = 0
    cooldown_start: int | None = None
    best_loss: float = math.inf
    evaluations_since_best: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def retrieval_share(self) -> float:
        """The share of retrieval examples in a batch."""
        return self.config.retrieval_ratio

    @property
    def max_epochs(self) -> float | None:
        """The limit of this phase in epochs, including the cooldown, or None without a limit."""
        return self.config.max_epochs

    @property
    def steps_per_epoch(self) -> float:
        """The number of steps with as many indexing examples as there are images."""
        return self._steps_per_epoch(1 - self.retrieval_share)

    def _steps_per_epoch(self, indexing_share: float) -> float:
        return max(self.num_images / (self.config.batch_size * max(indexing_share, 1e-6)), 1e-9)

    @property
    def max_steps(self) -> int | None:
        """The limit of this phase in steps, including the cooldown, or None without a limit."""
        return None if self.max_epochs is None else math.ceil(self.max_epochs * self.steps_per_epoch)

    @property
    def planned_end(self) -> int | None:
        """The step at which the phase will end, or None while it is unknown."""
        if self.cooldown_start is not None:
            return self.cooldown_start + self._cooldown_steps(self.cooldown_start - self.phase_start)
        limit = self.max_steps
        return None if limit is None else self.phase_start + limit

    def _cooldown_steps(self, steps_before: int) -> int:
        share = self.config.paper.cooldown
        return math.ceil(steps_before * share / (1 - share)) if share else 0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step: a linear warm-up, constant, then linear to zero over the cooldown."""
        rate = self.config.learning_rate
        rate *= min(1.0, (self.step - self.phase_start + 1) / max(self.config.paper.warmup_steps, 1))
        if self.cooldown_start is not None:
            length = max(self._cooldown_steps(self.cooldown_start - self.phase_start), 1)
            rate *= max(0.0, 1 - (self.step - self.cooldown_start) / length)
        return rate

    def advance(self) -> bool:
        """Count one step; return True when the run is over."""
        self.step += 1
        if self.cooldown_start is None:
            limit = self.max_steps
            share = 1 - self.config.paper.cooldown
            out_of_steps = limit is not None and self.step - self.phase_start >= share * limit
            out_of_time = self.config.minutes is not None and self.seconds >= share * 60 * self.config.minutes
            if out_of_steps or out_of_time:
                self.cooldown_start = self.step
        return self._end_of_phase()

    def evaluated(self, accuracy: float, loss: float) -> bool:
        """Record an indexing accuracy and a held-out retrieval loss; return True when the run is over."""
        if loss < self.best_loss * (1 - _IMPROVEMENT):
            self.best_loss, self.evaluations_since_best = loss, 0
        else:
            self.evaluations_since_best += 1
        stale = self.evaluations_since_best >= self.config.patience
        reached_accuracy = accuracy >= self.config.paper.target_accuracy
        if self._may_end(reached_accuracy, stale) and self.cooldown_start is None:
            self.cooldown_start = self.step
        return self._end_of_phase()

    def _may_end(self, reached_accuracy: bool, stale: bool) -> bool:
        return reached_accuracy and stale

    def _end_of_phase(self) -> bool:
        end = self.planned_end
        if self.cooldown_start is None or end is None or self.step < end:
            return False
        return not self._begin_next_phase()

    def _begin_next_phase(self) -> bool:
        """Enter the next phase and return whether there is one."""
        return False

    def restore(self, state: Mapping[str, object]) -> None:
        """Go back to a state that `as_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, object]:
        """Return everything but the settings and the number of images, for the checkpoint."""
        state = asdict(self)
        del state["config"], state["num_images"]
        return state
