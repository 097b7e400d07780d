from __future__ import annotations

import itertools

import pytest

from vitdsi.config.budget import SMALL, Budget, budget_of
from vitdsi.errors import UsageError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (26, Budget(8, False, 0)),
        (SMALL, Budget(32, False, 0)),
        (114, Budget(64, False, 0)),
        (213, Budget(128, False, 0)),
        (400, Budget(128, True, 0)),
        (1300, Budget(128, True, 43)),
        (10**6, Budget(128, True, 300)),
    ],
)
def test_vectors_come_first_then_thumbnails_then_keypoints(given: int, kept: Budget) -> None:
    assert budget_of(given) == kept


def test_more_bytes_never_keep_less() -> None:
    budgets = [budget_of(given) for given in range(26, 8000, 13)]
    for smaller, larger in itertools.pairwise(budgets):
        assert smaller.vector_bytes <= larger.vector_bytes
        assert smaller.thumbnails <= larger.thumbnails and smaller.keypoints <= larger.keypoints


def test_too_few_bytes_are_refused_with_the_least_number() -> None:
    with pytest.raises(UsageError, match="25 bytes an image are too few; give at least 26"):
        budget_of(25)
