from __future__ import annotations

import pytest

from vitdsi.errors import UsageError
from vitdsi.search.options import SearchOptions


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"k": -3}, "k is -3; it must be at least 1"),
        ({"k": 10, "beam_size": 9}, "beam_size is 9; it must be at least k = 10"),
        ({"min_score": -0.1}, "min_score is -0.1; it must be between 0 and 1"),
        ({"min_score": 1.5}, "min_score is 1.5; it must be between 0 and 1"),
        ({"min_score": float("nan")}, "min_score is nan; it must be between 0 and 1"),
    ],
)
def test_value_out_of_range_is_refused_when_the_options_are_made(
    wrong: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        SearchOptions(**wrong)  # type: ignore[arg-type]


def test_limits_themselves_are_accepted() -> None:
    options = SearchOptions(k=1, beam_size=1, min_score=1.0)
    assert (options.k, options.beam_size, options.min_score) == (1, 1, 1.0)
    assert SearchOptions(min_score=0.0).min_score == 0.0


def test_allow_is_taken_from_any_iterable_in_any_order() -> None:
    once = (name for name in ("b.jpg", 3, "b.jpg", "a.jpg"))
    options = SearchOptions(5, allow=once)
    assert options.allow == {"a.jpg", "b.jpg", 3}
    assert options == SearchOptions(5, allow=[3, "a.jpg", "b.jpg"])
    assert hash(options) == hash(SearchOptions(5, allow=[3, "a.jpg", "b.jpg"]))


def test_text_in_place_of_a_list_of_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"allow is the text 'a\.jpg'; give a list"):
        SearchOptions(allow="a.jpg")


def test_empty_allow_list_differs_from_no_allow_list() -> None:
    assert SearchOptions(allow=[]).allow == frozenset()
    assert SearchOptions().allow is None


def test_negative_offset_and_a_beam_that_is_narrower_than_offset_and_k_are_refused() -> None:
    with pytest.raises(UsageError, match="offset is -1; it must be at least 0"):
        SearchOptions(offset=-1)
    with pytest.raises(UsageError, match=r"beam_size is 14; it must be at least offset \+ k = 15"):
        SearchOptions(k=10, offset=5, beam_size=14)
    assert SearchOptions(k=10, offset=5, beam_size=15).beam_size == 15


def test_every_argument_reaches_its_field() -> None:
    given = {
        "k": 3,
        "where": "width > 5",
        "allow": frozenset({1}),
        "collapse": True,
        "min_score": 0.25,
        "beam_size": 7,
        "rerank": False,
        "verify": True,
        "regions": 4,
        "region": None,
        "offset": 2,
        "any_rotation": True,
        "pictures": False,
    }
    assert vars(SearchOptions(**given)) == given  # type: ignore[arg-type]
