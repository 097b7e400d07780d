from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers_ranks import gradients, in_ranks

from vitdsi.engine.ranks import ALONE


def test_one_process_alone_has_all_rows_and_changes_nothing() -> None:
    rows = torch.arange(5)
    assert ALONE.share(rows).tolist() == [0, 1, 2, 3, 4]
    assert ALONE.from_first(lambda: 3) == 3
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    ALONE.sum_gradients([parameter])
    assert parameter.grad.tolist() == [1, 1]
    assert ALONE.sum(torch.tensor(2.0)) == 2


@pytest.mark.slow
def test_gradients_are_summed_dense_ones_whole_and_sparse_ones_by_row(tmp_path: Path) -> None:
    for of_all, of_one, of_none, table, used_by_one in in_ranks(2, tmp_path, gradients):
        assert of_all.tolist() == [3, 3, 3]
        assert of_one.tolist() == [0, 1, 2]
        assert of_none is None
        assert table[:, 0].tolist() == [0, 2, 0, 0, 2]
        assert used_by_one[:, 0].tolist() == [1, 0, 1, 0, 0]
