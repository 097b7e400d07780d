from __future__ import annotations

from vitdsi.facts.best_copy import best_copy

LARGE = {"width": 400, "height": 300, "bytes": 40_000}
SMALL = {"width": 200, "height": 150, "bytes": 90_000}


def test_most_pixels_win() -> None:
    assert best_copy([SMALL, LARGE]) == (1, "most pixels: 400 x 300, the next 200 x 150")


def test_least_compressed_wins_among_equal_sizes() -> None:
    better = {**LARGE, "bytes": 60_000, "taken": "2020-01-01T00:00:00"}
    older = {**LARGE, "taken": "2019-01-01T00:00:00"}
    assert best_copy([older, better, SMALL]) == (
        1,
        "least compressed: 0.50 bytes per pixel, the next 0.33",
    )


def test_oldest_wins_among_equal_files() -> None:
    dated = [{**LARGE, "taken": f"20{year}-01-01T00:00:00"} for year in (20, 19)]
    assert best_copy(dated) == (1, "oldest: taken 2019-01-01T00:00:00, the next 2020-01-01T00:00:00")
    assert best_copy([LARGE, dated[0]]) == (
        1,
        "oldest: taken 2020-01-01T00:00:00, the next at an unknown time",
    )


def test_first_wins_if_nothing_differs() -> None:
    assert best_copy([LARGE, dict(LARGE)]) == (0, "nothing sets it apart; it is the first")
    assert best_copy([{}, {}])[0] == 0
    assert best_copy([SMALL]) == (0, "the only copy")


def test_copy_without_facts_is_worst() -> None:
    assert best_copy([{}, SMALL]) == (1, "most pixels: 200 x 150, the next of unknown size")
    assert best_copy([{"width": "large", "height": 1}, SMALL])[0] == 1
