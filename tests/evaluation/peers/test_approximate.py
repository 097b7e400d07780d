from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.approximate import Approximate
from vitdsi.evaluation.peers.cosine import Cosine
from vitdsi.evaluation.peers.spaces import Raw


def _vectors(count: int, seed: int = 0, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize(
    "kind, least_overlap, bytes_per_image",
    [("flat16", 0.99, 128), ("flat8", 0.95, 64), ("hnsw", 0.95, 600), ("ivf-pq", 0.3, 64), ("opq", 0.3, 64)],
)
def test_most_of_the_nearest_are_found_with_these_bytes(
    kind: str, least_overlap: float, bytes_per_image: float
) -> None:
    items, queries = _vectors(600), _vectors(40, seed=1)
    exact, _ = Cosine(Raw()).fit(items).search(queries, 10)
    peer = Approximate(kind).fit(items)
    ids, scores = peer.search(queries, 10)
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, exact, strict=True)])
    assert overlap >= least_overlap
    assert np.all(np.diff(scores, axis=1) <= 0)
    assert peer.bytes_per_image == pytest.approx(bytes_per_image, rel=0.2)


@pytest.mark.parametrize("kind", ["ivf-pq", "opq"])
@pytest.mark.parametrize("count", [64, 100, 300])
def test_codebooks_shrink_with_the_collection_and_all_images_are_ranked(
    kind: str, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    ids, _ = Approximate(kind).fit(_vectors(count, width=320)).search(_vectors(2, seed=1, width=320), count)
    assert [sorted(row) for row in ids.tolist()] == [list(range(count))] * 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["ivf-pq", "opq"])
def test_too_few_images_for_codebooks_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="63 images are too few for codebooks; index at least 64"):
        Approximate(kind).fit(_vectors(63))


def test_zero_and_extreme_vectors_are_normalised() -> None:
    items = np.array([[0, 0], [3e38, 0], [0, 1e-42]], dtype=np.float32)
    ids, scores = Approximate("hnsw").fit(items).search(np.array([[2.0, 1.0]]), 3)
    assert ids.tolist() == [[1, 2, 0]]
    assert np.allclose(scores, [[2 / 5**0.5, 1 / 5**0.5, 0]], atol=1e-6)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"kind='lsh': must be one of flat16, flat8, hnsw, ivf-pq, opq"):
        Approximate("lsh")
