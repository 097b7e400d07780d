from __future__ import annotations

from pathlib import Path

import numpy as np
import own_id_scheme
import pytest
from own_id_scheme import InOrderIds

from vitdsi.ids import SCHEMES, Growth, IdContext
from vitdsi.ids.trie import Trie

pytest.importorskip("skimage", reason="the photos are inside scikit-image")


@pytest.mark.parametrize("count", [1, 2, 137])
def test_assign_numbers_the_images_in_order_without_prefixes(count: int) -> None:
    codes = InOrderIds().assign(IdContext(count, 10))
    assert Trie(codes, 10).live_ids().tolist() == list(range(count))
    assert codes.tolist() == sorted(codes.tolist())


def test_grow_gives_free_codes_of_the_same_length_while_there_are_any() -> None:
    scheme = InOrderIds()
    codes = scheme.assign(IdContext(12, 10))
    new = scheme.grow(Growth(codes, np.ones(12, dtype=bool), 30, 10))
    assert new.shape == (30, 2)
    assert len(Trie(np.concatenate([codes, new]), 10).live_ids()) == 42


@pytest.mark.slow
def test_main_registers_the_scheme_and_searches_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEMES, "in_order", InOrderIds())  # restored after the test
    own_id_scheme.main(tmp_path)
    out = capsys.readouterr().out
    assert "the ids of the first photos: [[0, 0], [0, 1], [0, 2]]" in out
    assert "indexing accuracy" in out
