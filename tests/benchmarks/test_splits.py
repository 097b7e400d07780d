from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vitdsi.errors import UsageError
from vitdsi.paper.split import split_per_class
from vitdsi.photos.find import ImageRecord


def _records(classes: int = 4, photos: int = 100) -> list[ImageRecord]:
    return [
        ImageRecord(f"{c}/{i:03}.jpg", Path(f"{c}/{i:03}.jpg"), str(c))
        for c in range(classes)
        for i in range(photos)
    ]


def test_without_a_size_the_split_is_that_of_the_paper() -> None:
    from splits import split_of_size

    assert split_of_size(_records(), 3, None) == split_per_class(_records(), seed=3)


@pytest.mark.parametrize("size", [4, 10, 41, 200, 340])
def test_the_size_changes_what_is_indexed_and_never_what_is_searched_with(size: int) -> None:
    from splits import split_of_size

    split, base = split_of_size(_records(), 0, size), split_per_class(_records(), seed=0)
    assert (split.validation, split.test) == (base.validation, base.test)
    assert len(split.indexing) == size
    assert len(split.train) == min(round(2.4 * size), 340 - size)
    everything = [record.image_id for part in vars(split).values() for record in part]
    assert len(set(everything)) == len(everything)
    per_class = Counter(record.label for record in split.indexing)
    assert len(per_class) == 4 and max(per_class.values()) - min(per_class.values()) <= 1


def test_a_smaller_collection_is_a_part_of_a_larger_one() -> None:
    from splits import split_of_size

    small, large = (split_of_size(_records(), 0, size) for size in (20, 60))
    assert set(small.indexing) < set(large.indexing)


@pytest.mark.parametrize("size", [3, 341])
def test_a_size_that_the_set_does_not_allow_is_refused(size: int) -> None:
    from splits import split_of_size

    with pytest.raises(UsageError, match=rf"size={size}: must be from 4, .* to 340"):
        split_of_size(_records(), 0, size)
