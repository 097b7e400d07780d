from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers_duplicates import index_with_copies, pairs

from vitdsi.collection.compact import compact
from vitdsi.collection.remove import remove
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.names import Names
from vitdsi.errors import UsageError
from vitdsi.search.decisions import decide_again, keep_both, undecided, with_decisions
from vitdsi.search.duplicates import near_identical


def test_pairs_that_are_kept_are_not_reported_again() -> None:
    state = index_with_copies()
    assert near_identical(state) == [[0, 60, 61], [5, 62], [7, 63], [9, 64]]
    kept = keep_both(keep_both(state, [5, 62]), [0, 60, 61])
    assert near_identical(kept) == [[7, 63], [9, 64]]
    assert near_identical(decide_again(kept, [5, 62])) == [[5, 62], [7, 63], [9, 64]]
    assert decide_again(kept, [5, 62, 0, 60, 61]).decisions == state.decisions == ()


def test_images_connected_by_a_third_one_are_still_one_group() -> None:
    state = keep_both(index_with_copies(), [60, 61])
    assert near_identical(state)[0] == [0, 60, 61]


def test_decisions_survive_removal_and_compaction() -> None:
    state = keep_both(index_with_copies(), [5, 62])
    smaller = compact(remove(state, [0, 60, 61, 64]), retrain=False)
    assert smaller.decisions == state.decisions
    assert near_identical(smaller) == [[6, 60]]  # 7 and 63 under their new numbers


def test_decision_is_about_content_and_not_about_names() -> None:
    state = keep_both(index_with_copies(), [5, 62])
    assert undecided(state, pairs((5, 62), (62, 5), (7, 63))).tolist() == [False, False, True]
    renamed = replace(state, image_ids=Names.of(f"new {name}" for name in state.image_ids))
    assert not undecided(renamed, pairs((5, 62))).any()
    other = replace(state, hashes=ContentHashes.of([content[::-1] for content in state.hashes]))
    assert undecided(other, pairs((5, 62))).all()


def test_decisions_of_another_index_are_added() -> None:
    state = keep_both(index_with_copies(), [5, 62])
    other = keep_both(index_with_copies(), [7, 63])
    assert near_identical(with_decisions(state, other.decisions)) == [[0, 60, 61], [9, 64]]


def test_images_that_were_not_files_are_known_by_their_name() -> None:
    state = index_with_copies()
    state = keep_both(replace(state, hashes=ContentHashes.of([""] * len(state.hashes))), [5, 62])
    assert undecided(state, pairs((5, 62), (5, 7))).tolist() == [False, True]


def test_order_and_repetition_do_not_matter() -> None:
    state = index_with_copies()
    assert keep_both(state, [5, 62]).decisions == keep_both(keep_both(state, [62, 5, 5]), [5, 62]).decisions
    assert undecided(state, np.empty((0, 2), dtype=np.int64)).shape == (0,)


@pytest.mark.parametrize("ids", [[], [5], [5, 5]])
def test_decision_about_fewer_than_two_images_is_refused(ids: list[int]) -> None:
    for decide in (keep_both, decide_again):
        with pytest.raises(UsageError, match="two images or more"):
            decide(index_with_copies(), ids)
