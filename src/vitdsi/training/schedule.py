"""When to train on what, at which rate, and when to stop: joint or in the paper's two phases, one state machine."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from vitdsi.config import TrainingConfig

_IMPROVEMENT = 0.002  # a held-out loss counts as better when it falls by this share


@dataclass
class Schedule:
    """The state of a run: which phase, how far, and what the evaluations said.

    Phases are `joint`, or `indexing` then `retrieval`; each ends in a cooldown, over which the learning rate falls
    to zero. Everything here is plain numbers, so that a resumed run goes on exactly where it was.
    """

    config: TrainingConfig
    num_images: int
    phase: str = ""
    step: int = 0
    phase_start: int = 0
    cooldown_start: int | None = None
    best_loss: float = math.inf
    evaluations_since_best: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.phase:
            self.phase = "joint" if self.config.schedule == "joint" else "indexing"

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which as many indexing examples pass as there are images."""
        share = 1 - self.retrieval_share if self.phase == "joint" else 1.0
        return max(self.num_images / (self.config.batch_size * max(share, 1e-6)), 1e-9)

    @property
    def retrieval_share(self) -> float:
        """Share of retrieval examples in a batch."""
        return {"joint": self.config.retrieval_ratio, "indexing": 0.0, "retrieval": 1.0}[self.phase]

    @property
    def max_steps(self) -> int | None:
        """Limit of this phase, cooldown included; None when there is none."""
        epochs = self.config.retrieval_epochs if self.phase == "retrieval" else self.config.max_epochs
        return None if epochs is None else math.ceil(epochs * self.steps_per_epoch)

    @property
    def planned_end(self) -> int | None:
        """The step at which the phase will end, as far as it is known."""
        if self.cooldown_start is not None:
            return self.cooldown_start + self._cooldown_steps(self.cooldown_start - self.phase_start)
        limit = self.max_steps
        return None if limit is None else self.phase_start + limit

    def _cooldown_steps(self, steps_before: int) -> int:
        share = self.config.cooldown
        return math.ceil(steps_before * share / (1 - share)) if share else 0

    @property
    def learning_rate(self) -> float:
        """Linear warm-up, constant, then linear to zero over the cooldown."""
        rate = self.config.learning_rate
        rate *= min(1.0, (self.step - self.phase_start + 1) / max(self.config.warmup_steps, 1))
        if self.cooldown_start is not None:
            length = max(self._cooldown_steps(self.cooldown_start - self.phase_start), 1)
            rate *= max(0.0, 1 - (self.step - self.cooldown_start) / length)
        return rate

    def advance(self) -> bool:
        """Count one step; True when the run is over."""
        self.step += 1
        if self.cooldown_start is None:
            limit = self.max_steps
            share = 1 - self.config.cooldown
            out_of_steps = limit is not None and self.step - self.phase_start >= share * limit
            out_of_time = self.config.minutes is not None and self.seconds >= share * 60 * self.config.minutes
            if out_of_steps or out_of_time:
                self.cooldown_start = self.step
        return self._end_of_phase()

    def evaluated(self, accuracy: float, loss: float) -> bool:
        """Take note of an evaluation (indexing accuracy, held-out retrieval loss); True when the run is over."""
        if loss < self.best_loss * (1 - _IMPROVEMENT):
            self.best_loss, self.evaluations_since_best = loss, 0
        else:
            self.evaluations_since_best += 1
        stale = self.evaluations_since_best >= self.config.patience
        knows = accuracy >= self.config.target_accuracy
        done = {"joint": knows and stale, "indexing": knows, "retrieval": stale}[self.phase]
        if done and self.cooldown_start is None:
            self.cooldown_start = self.step
        return self._end_of_phase()

    def _end_of_phase(self) -> bool:
        end = self.planned_end
        if self.cooldown_start is None or end is None or self.step < end:
            return False
        if self.phase == "indexing" and (
            self.config.retrieval_epochs is None or self.config.retrieval_epochs > 0
        ):
            self.phase, self.phase_start, self.cooldown_start = "retrieval", self.step, None
            self.best_loss, self.evaluations_since_best = math.inf, 0
            return False
        return True

    def as_dict(self) -> dict[str, object]:
        """Everything but the configuration, for the checkpoint."""
        state = asdict(self)
        del state["config"], state["num_images"]
        return state
