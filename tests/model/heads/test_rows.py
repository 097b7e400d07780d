from __future__ import annotations

import pytest
import torch

from vitdsi.errors import ConfigError
from vitdsi.model.heads.rows import CENTRES, Centres, CodedRows, FloatRows, learn_centres


def vectors(count: int, width: int = 16) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def coded(table: torch.Tensor, row_bytes: int, *, cached: bool = False) -> CodedRows:
    centres = Centres(table.shape[1], row_bytes)
    with torch.no_grad():
        centres.values.copy_(learn_centres(table, row_bytes, seed=0))
    made = CodedRows(len(table), centres, cached=cached).eval()
    made.put(torch.arange(len(table)), table)
    return made


def test_rows_of_floats_are_what_was_put() -> None:
    table = FloatRows(5, 3)
    with torch.no_grad():
        table.put(torch.tensor([3, 1]), torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    assert table.take(torch.tensor([[1], [3]])).tolist() == [[[4, 5, 6]], [[1, 2, 3]]]


@pytest.mark.parametrize("row_bytes", [1, 4, 16])
def test_codes_of_few_vectors_lose_nothing(row_bytes: int) -> None:
    table = vectors(CENTRES)
    torch.testing.assert_close(coded(table, row_bytes).take(torch.arange(CENTRES)), table, atol=1e-3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("width", [16, 10, 3])
def test_cosines_with_the_first_numbers_of_codes_are_those_of_the_decoded_vectors(width: int) -> None:
    made = coded(vectors(600), 4)
    queries, numbers = vectors(3, width), torch.tensor([5, 599, 0, 5])
    decoded = FloatRows(600, 16)
    decoded.put(torch.arange(600), made.take(torch.arange(600)))
    expected = torch.cosine_similarity(queries[:, None], made.take(numbers)[None, :, :width], dim=2)
    for table in (made, decoded):
        torch.testing.assert_close(table.cosines(queries, numbers), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_more_bytes_lose_less_and_an_error_is_smaller_than_that_of_any_other_code() -> None:
    table = vectors(2000)
    errors = []
    for row_bytes in (2, 4, 8, 16):
        made = coded(table, row_bytes)
        errors.append(float((made.take(torch.arange(2000)) - table).square().mean()))
        before = (made.take(torch.arange(20)) - table[:20]).square().sum(1)
        made.codes[:20, 0] = (made.codes[:20, 0].int() + 1).byte()  # the next centre in the first part
        assert bool(((made.take(torch.arange(20)) - table[:20]).square().sum(1) >= before).all())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.2 and errors[-1] < 0.001  # of a variance of 1


@torch.no_grad()
def test_many_vectors_have_the_codes_that_they_have_one_by_one() -> None:
    table = vectors(1500)
    made = coded(table, 4)
    alone = CodedRows(1500, made._shared[0])
    for some in torch.arange(1500).split(100):
        alone.put(some, table[some])
    assert torch.equal(made.codes, alone.codes)


def test_parts_take_turns_among_the_numbers_of_a_vector() -> None:
    table = vectors(10)
    centres = learn_centres(table, 4, seed=0)
    assert centres.shape == (4, CENTRES, 4)
    kept = {tuple(row) for row in centres[1, :10].tolist()}
    assert kept == {tuple(row) for row in table[:, 1::4].tolist()}


def test_same_seed_gives_the_same_centres() -> None:
    table = vectors(1000)
    assert torch.equal(learn_centres(table, 4, seed=3), learn_centres(table, 4, seed=3))


def test_kept_vectors_follow_what_is_put_and_moved() -> None:
    table = vectors(40)
    made, plain = coded(table, 4, cached=True), coded(table, 4)
    numbers = torch.tensor([[7, 8]])
    torch.testing.assert_close(made.take(numbers), plain.take(numbers))
    made.put(torch.tensor([7]), table[9:10])
    torch.testing.assert_close(made.take(torch.tensor(7)), table[9], atol=1e-3, rtol=0)
    other = CodedRows(3, made._shared[0], cached=True).eval()
    other.take(torch.tensor([0]))
    other.move(made, torch.tensor([2, 0]), torch.tensor([7, 30]))
    torch.testing.assert_close(other.take(torch.tensor([2, 0])), table[[9, 30]], atol=1e-3, rtol=0)


def test_kept_vectors_are_not_used_in_training_and_not_kept_after_it() -> None:
    table = vectors(40)
    made = coded(table, 4, cached=True)
    numbers = torch.arange(40)
    made.take(numbers)
    made.train()
    made.take(numbers).sum().backward()  # type: ignore[no-untyped-call]
    values = made._shared[0].values
    assert values.grad is not None and bool((values.grad != 0).any())
    with torch.no_grad():
        values += 1.0
    torch.testing.assert_close(made.eval().take(numbers), table + 1.0, atol=1e-3, rtol=0)


def test_bytes_that_do_not_divide_the_width_are_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match=r"vector_bytes is 5, .* 16; choose for example 4"):
        Centres(16, 5)
