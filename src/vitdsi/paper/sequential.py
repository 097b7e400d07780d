"""The paper's schedule: indexing until the model knows the ids of its images, then retrieval (section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitdsi.training.schedule import Schedule


@dataclass
class SequentialSchedule(Schedule):
    """Two phases, `indexing` and `retrieval`, each with its own cooldown.

    The indexing phase may end when the indexing accuracy reaches its target, the retrieval phase when the held-out loss
    no longer falls. `training.paper.retrieval_epochs=0` omits the retrieval phase.

    Attributes:
        replay: share of indexing examples that the retrieval phase keeps. The paper has none.
    """

    phase: str = "indexing"
    replay: float = 0.0

    @property
    def retrieval_share(self) -> float:
        """Share of retrieval examples in a batch: 0 in the indexing phase, 1 - `replay` in the retrieval phase."""
        return 1.0 - self.replay if self.phase == "retrieval" else 0.0

    @property
    def max_epochs(self) -> float | None:
        """Limit of this phase in epochs."""
        return self.config.paper.retrieval_epochs if self.phase == "retrieval" else self.config.max_epochs

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which as many examples are seen as there are indexed images, in both phases."""
        return self._steps_per_epoch(1.0)

    def _may_end(self, knows_own_ids: bool, stale: bool) -> bool:
        return stale if self.phase == "retrieval" else knows_own_ids

    def _begin_next_phase(self) -> bool:
        epochs = self.config.paper.retrieval_epochs
        if self.phase == "retrieval" or (epochs is not None and epochs <= 0):
            return False
        self.phase, self.phase_start, self.cooldown_start = "retrieval", self.step, None
        self.best_loss, self.evaluations_since_best = math.inf, 0
        return True
