from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_images import photo
from helpers_stored import collection, stored
from PIL import Image

from vitdsi import living
from vitdsi.duplicates import (
    NEAR_IDENTICAL,
    Similarity,
    first_of_each,
    joined,
    near_identical,
    search_distinct,
)
from vitdsi.errors import UsageError
from vitdsi.storage import Stored

COPIES = {60: 0, 61: 0, 62: 5, 63: 7, 64: 9}  # id -> the image that it is a copy of


def thumbnail(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("L").resize((32, 32), Image.Resampling.BOX)))


@pytest.fixture(scope="module")
def index() -> Stored:
    """60 images with pictures of their own; a crop, a mirror image, a brighter one, a dull one and a copy are added."""
    pictures = [photo(seed=i, width=96, height=96) for i in range(60)]
    copies = [
        pictures[0].crop((10, 4, 92, 86)),
        pictures[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        pictures[5].point(lambda value: min(255, int(1.2 * value))),
        pictures[7].point(lambda value: 60 + value // 3),
        pictures[9],
    ]
    before = replace(stored(), thumbnails=torch.stack([thumbnail(p) for p in pictures]))
    assert before.inputs is not None
    fresh = replace(
        collection(5, name="copy"),
        inputs=before.inputs[list(COPIES.values())] * 1.01,
        thumbnails=torch.stack([thumbnail(p) for p in copies]),
    )
    return living.add(before, fresh, loader=None)  # type: ignore[arg-type]  # differences are known


def pairs(*given: tuple[int, int]) -> np.ndarray:
    return np.array(given, dtype=np.int64).reshape(-1, 2)


def test_copies_are_similar_and_other_pictures_are_not(index: Stored) -> None:
    similarity = Similarity(index)
    copied = pairs(*COPIES.items())
    assert similarity.above(copied, NEAR_IDENTICAL).all()
    assert similarity.above(copied[:, ::-1], NEAR_IDENTICAL).all()
    others = pairs(*((i, j) for i in range(20) for j in range(i)))
    assert not similarity.above(others, NEAR_IDENTICAL).any()
    assert similarity.above(others, -1).all()
    assert similarity.above(pairs((64, 9)), 1.19).all() and not similarity.above(copied, 1.21).any()
    assert similarity.above(pairs(), 0).shape == (0,)


def test_groups(index: Stored) -> None:
    assert near_identical(index) == [[0, 60, 61], [5, 62], [7, 63], [9, 64]]


def test_removed_images_are_in_no_group(index: Stored) -> None:
    gone = [0, 5, 9]
    groups = near_identical(living.remove(index, gone))
    assert not {i for group in groups for i in group} & set(gone)
    assert [60, 61] in groups
    assert near_identical(living.remove(index, range(64))) == []


def test_what_is_joined() -> None:
    assert joined(pairs((4, 1), (1, 7), (2, 3), (8, 9), (9, 2), (5, 6))) == [[2, 3, 8, 9], [1, 4, 7], [5, 6]]
    assert joined(pairs((1, 2), (2, 1), (1, 2))) == [[1, 2]]
    assert joined(pairs()) == []


def test_first_of_each(index: Stored) -> None:
    similarity = Similarity(index)
    assert first_of_each([60, 3, 0, 61, 9, 64, 5], 10, similarity) == [60, 3, 9, 5]
    assert first_of_each([60, 3, 0, 61, 9, 64, 5], 2, similarity) == [60, 3]
    assert first_of_each([], 3, similarity) == []


@pytest.mark.parametrize("k", [1, 4, 60, 70])
def test_search_distinct(index: Stored, k: int) -> None:
    similarity = Similarity(index)
    assert index.inputs is not None
    ids, scores = search_distinct(index, index.inputs[:12].float(), k, similarity)
    assert ids.shape == scores.shape == (12, k)
    for row, probable in zip(ids.tolist(), scores, strict=True):
        found = [i for i in row if i >= 0]
        assert len(found) == min(k, 60)
        assert len({COPIES.get(i, i) for i in found}) == len(found)
        assert (np.diff(probable) <= 0).all() and (probable[len(found) :] == 0).all()


def test_search_distinct_within_a_filter(index: Stored) -> None:
    assert index.inputs is not None
    within = index.trie.restrict([0, 60, 61, 5, 6])
    ids, _ = search_distinct(index, index.inputs[:1].float(), 4, Similarity(index), within=within)
    assert {COPIES.get(i, i) for i in ids[0].tolist()} == {0, 5, 6, -1}


def test_without_tokens() -> None:
    with pytest.raises(UsageError, match="keeps no tokens"):
        Similarity(replace(stored(), inputs=None, thumbnails=None))
