"""The ranking of a search, and the results that it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitdsi.photos.regions import Region
from vitdsi.search.options import SearchResult

__all__ = ["FirstPlace", "Ids", "Ranking", "Scores"]

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


class FirstPlace(NamedTuple):
    """What decides the first place, if it is not the relevance; see `vitdsi.search.evidence`.

    Attributes:
        log_prob: the weight of log p beside the likeness in a claim to it.
        above: the strongest claim has it if it is greater than this; None gives it the place in any case.
    """

    log_prob: float
    above: float | None


@dataclass(frozen=True)
class Ranking:
    """The results of B queries.

    Attributes:
        ids: (B, K), best first; NONE where fewer were found.
        scores: (B, K) the calibrated probability that each result is right; 0 where the id is NONE.
        log_probs: (B, K) the model's log-probabilities of the ids, in nats.
        parts: (B, K) the part of the query that is most like each result.
        proven: (B,) whether it is proven that no other allowed id is more probable than the ids that were compared.
        picture_places: (B, K) the place of each result among the images that look most like the query, from 0 on, NONE
            for others.
    """

    ids: Ids
    scores: Scores
    log_probs: Scores
    parts: Ids
    proven: npt.NDArray[np.bool_]
    picture_places: Ids

    def results(
        self,
        row: int,
        first: int,
        name_of: Callable[[int], str],
        regions: Sequence[Region] | None,
        min_score: float,
    ) -> list[SearchResult]:
        """Return the results of a query, without those that score below `min_score`.

        Args:
            row: the query.
            first: the column of its first result.
            name_of: returns the image_id of an id.
            regions: its parts. None if only the whole photo was read.
        """
        columns = (self.ids, self.scores, self.log_probs, self.parts, self.picture_places)
        page = zip(*(column[row, first:].tolist() for column in columns), strict=True)
        kept = [found for found in page if found[0] >= 0 and found[1] >= min_score]
        return [
            SearchResult(
                place,
                name_of(number),
                score,
                number,
                log_prob,
                bool(self.proven[row]),
                region=None if regions is None else regions[part].as_tuple(),
                picture_place=None if picture_place < 0 else picture_place,
            )
            for place, (number, score, log_prob, part, picture_place) in enumerate(kept, start=first + 1)
        ]
