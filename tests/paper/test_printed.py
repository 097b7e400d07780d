from __future__ import annotations

import pytest

from vitdsi.paper.printed import PRINTED, printed

ROWS = [("BoVW", "-"), *((m, s) for m in ("zero-shot", "fine-tuned") for s in ("random", "clustered"))]


def test_the_paper_prints_five_rows_for_each_of_three_sizes() -> None:
    assert set(PRINTED) == {(*row, size) for row in ROWS for size in (512, 1024, 2048)}


def test_printed_returns_the_values_of_a_row_by_column() -> None:
    assert printed("fine-tuned", "clustered", 512) == {
        "IA@1": 0.415,
        "IA@5": 0.566,
        "MAP@10": 0.32,
        "Recall@100": 0.58,
    }


def test_printed_returns_nothing_for_a_row_that_the_paper_does_not_have() -> None:
    assert printed("ours", "random", 512) == {}
    assert printed("BoVW", "-", 513) == {}


@pytest.mark.parametrize(("method", "scheme"), ROWS)
def test_retrieval_is_worse_with_more_images_as_the_paper_says(method: str, scheme: str) -> None:
    for column in (2, 3):
        values = [PRINTED[method, scheme, size][column] or 0.0 for size in (512, 1024, 2048)]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("method", ["zero-shot", "fine-tuned"])
@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_clustered_ids_are_better_than_random_ones_as_the_paper_says(method: str, size: int) -> None:
    pairs = zip(PRINTED[method, "random", size], PRINTED[method, "clustered", size], strict=True)
    assert all(a is not None and b is not None and a < b for a, b in pairs)
