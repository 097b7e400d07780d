from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.paper.bovw import BagOfVisualWords

pytest.importorskip("cv2")


def texture(seed: int, cell: int = 8, size: int = 96) -> np.ndarray:
    """An RGB mosaic (size, size, 3) with many corners, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, size=(size // cell, size // cell, 3), dtype=np.uint8)
    return np.kron(small, np.ones((cell, cell, 1), dtype=np.uint8))


def blank(value: int = 128) -> np.ndarray:
    return np.full((64, 64, 3), value, dtype=np.uint8)


def disks(seed: int, size: int = 96) -> np.ndarray:
    """A grey image of bright round blobs, whose descriptors differ from those of mosaics."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for cx, cy in rng.uniform(10, size - 10, size=(12, 2)):
        image = np.maximum(image, 255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18))
    return np.repeat(image.astype(np.uint8)[..., None], 3, axis=2)


def small(**arguments: object) -> BagOfVisualWords:
    return BagOfVisualWords(num_words=20, max_descriptors=2000, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("root_sift", [False, True])
@pytest.mark.parametrize("tf_idf", [False, True])
def test_indexed_image_finds_itself_first(root_sift: bool, tf_idf: bool) -> None:
    images = [texture(i, cell=8 + 4 * (i % 2)) for i in range(4)] + [disks(i) for i in range(4)]
    ids, scores = small(root_sift=root_sift, tf_idf=tf_idf).fit(images).search(images, 3)
    assert ids.shape == scores.shape == (8, 3)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    assert ids[:, 0].tolist() == list(range(8))
    assert np.allclose(scores[:, 0], 1, atol=1e-5)
    assert np.all(np.diff(scores, axis=1) <= 0)


def test_query_finds_images_of_the_same_texture_first() -> None:
    index = small().fit([texture(i) for i in range(4)] + [disks(i) for i in range(4)])
    ids, _ = index.search([texture(50), disks(50)], 4)
    assert [sorted(row) for row in ids.tolist()] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_scores_are_cosines_of_word_counts() -> None:
    images = [texture(i) for i in range(3)]
    index = small().fit(images)
    counts = np.stack([index._count(image, index._words) for image in images])  # type: ignore[arg-type]
    assert np.array_equal(counts.sum(axis=1), [len(index._descriptors(image)) for image in images])
    unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    ids, scores = index.search(images, 3)
    assert np.allclose(scores, np.take_along_axis(unit @ unit.T, ids, axis=1), atol=1e-5)


def test_tf_idf_weights_a_word_by_the_number_of_images_with_it() -> None:
    images = [texture(i) for i in range(3)] + [disks(i) for i in range(3)]
    index = small(tf_idf=True).fit(images)
    present = np.stack([index._count(image, index._words) > 0 for image in images])  # type: ignore[arg-type]
    expected = np.log(6 / np.maximum(present.sum(axis=0), 1))
    assert np.allclose(index._idf, expected, atol=1e-6)
    assert len(np.unique(expected)) > 1


def test_root_sift_is_the_root_of_the_normalised_descriptor() -> None:
    plain = small()._descriptors(texture(0))
    rooted = small(root_sift=True)._descriptors(texture(0))
    assert np.allclose(np.linalg.norm(rooted, axis=1), 1, atol=1e-5)
    assert np.allclose(rooted**2, plain / plain.sum(axis=1, keepdims=True), atol=1e-6)


def test_images_without_descriptors_rank_last_in_order_of_ids() -> None:
    index = small().fit([blank(), texture(0), blank(50), disks(0)])
    ids, scores = index.search([texture(0), blank(), np.zeros((1, 1, 3), dtype=np.uint8)], 6)
    assert ids.tolist() == [[1, 3, 0, 2, -1, -1]] + [[1, 3, 0, 2, -1, -1]] * 2
    assert np.all(scores[1:, :4] == 0) and np.all(scores[0, 2:4] == 0)
    assert np.all(np.isneginf(scores[:, 4:]))


def test_same_seed_gives_the_same_scores() -> None:
    images = [texture(i) for i in range(4)]
    runs = [small(seed=seed).fit(images).search(images, 4)[1] for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_vocabulary_has_no_more_words_than_the_bounded_sample_has_distinct_descriptors() -> None:
    index = BagOfVisualWords(num_words=5, max_descriptors=7)
    assert len(index._sample([texture(i) for i in range(4)])) == 7
    few = BagOfVisualWords(num_words=1000, max_descriptors=1000).fit([disks(0)])
    descriptors = few._descriptors(disks(0))
    assert few._words is not None
    assert len(few._words) == len(np.unique(descriptors, axis=0)) < 1000


def test_invalid_arguments_raise() -> None:
    with pytest.raises(UsageError, match="num_words=0"):
        BagOfVisualWords(num_words=0)
    with pytest.raises(UsageError, match="at least num_words"):
        BagOfVisualWords(num_words=20, max_descriptors=10)
    with pytest.raises(UsageError, match="no images"):
        small().fit([])
    with pytest.raises(UsageError, match="no SIFT descriptors in any of 2"):
        small().fit([blank(), blank()])
    with pytest.raises(UsageError, match=r"shape \(8, 8\)"):
        small().fit([np.zeros((8, 8), dtype=np.uint8)])
    with pytest.raises(UsageError, match="float"):
        small().fit([np.zeros((8, 8, 3))])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="before fit"):
        small().search([blank()], 1)
    index = small().fit([texture(0)])
    with pytest.raises(UsageError, match="k=0"):
        index.search([blank()], 0)
    assert index.search([], 2)[0].shape == (0, 2)


_FIT = """
import json, os, sys
from pathlib import Path
import numpy as np
import cv2, sklearn.cluster
from vitdsi.paper.bovw import BagOfVisualWords

def fit():
    rng = np.random.default_rng(0)
    images = [np.kron(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8), np.ones((8, 8, 1), dtype=np.uint8))
              for _ in range(int(sys.argv[1]))]
    BagOfVisualWords(num_words=50, max_descriptors=10_000).fit(images).search(images[:2], 2)
"""

_COUNT_THREADS = """
def threads():
    return len(os.listdir("/proc/self/task"))

# Ask for several threads, as on a machine with many cores; a pool of one thread would start none.
cv2.setNumThreads(4)
before = threads()
fit()
print(json.dumps({"new": threads() - before, "opencv": cv2.getNumThreads(), "torch": "torch" in sys.modules}))
"""


def run(code: str, *arguments: str, openmp: str) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["OMP_NUM_THREADS"] = openmp
    done = subprocess.run(
        [sys.executable, "-c", _FIT + code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to count threads")
def test_fit_starts_no_threads_and_does_not_import_torch() -> None:
    assert run(_COUNT_THREADS, "4", openmp="4") == {"new": 0, "opencv": 4, "torch": False}
