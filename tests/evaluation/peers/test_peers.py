from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import ConfigError, UsageError
from vitdsi.evaluation.peers import PEERS, Peer, peer_named
from vitdsi.evaluation.peers.base import Floats, Given, Scores

_APPROXIMATE = {"float16", "int8", "HNSW", "IVF-PQ", "OPQ"}
_SUPERVISED = {"linear probe", "LDA cosine", "metric projection cosine"}
_BY_OWN_VECTOR = [name for name in PEERS if " + " not in name]  # the others mix an image with its neighbours


def _require(name: str) -> None:
    if name in _APPROXIMATE:
        pytest.importorskip("faiss")


def _clusters(count: int, seed: int = 0) -> tuple[Floats, list[str]]:
    """Positive features (count, 32) of four classes, which lie round four centres, and the classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).uniform(0, 2, size=(4, 32))
    classes = np.arange(count) % 4
    return np.maximum(centres[classes] + rng.normal(0, 0.3, (count, 32)), 0).astype(np.float32), [
        "abcd"[c] for c in classes
    ]


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_finds_the_class_of_a_query(name: str) -> None:
    _require(name)
    vectors, labels = _clusters(80)
    more, more_labels = _clusters(40, seed=1)
    queries, query_labels = _clusters(20, seed=2)
    peer = peer_named(name)
    assert peer.name == name
    assert peer.needs_labels == (name in _SUPERVISED)
    assert peer.fit(vectors, labels, more, more_labels) is peer
    ids, scores = peer.search(queries, 5)
    assert ids.shape == scores.shape == (20, 5)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    assert np.all(np.diff(scores, axis=1) <= 0)
    least = (
        0.5 if name == "whitened cosine" else 0.9
    )  # whitening weighs the axes of the classes no more than others
    assert np.mean(np.array(labels)[ids] == np.array(query_labels)[:, None]) > least
    assert 0 < peer.bytes_per_image < 4 * (384 + 80) + 1


@pytest.mark.parametrize("name", _BY_OWN_VECTOR)
def test_peers_without_neighbours_find_an_indexed_image_by_its_own_features(name: str) -> None:
    _require(name)
    vectors, labels = _clusters(80)
    ids, _ = peer_named(name).fit(vectors, labels).search(vectors, 1)
    # Codes of a few bits cannot tell all images apart.
    assert np.mean(ids[:, 0] == np.arange(80)) >= (0.9 if name in ("IVF-PQ", "OPQ") else 1.0)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_gives_the_same_result_again_and_leaves_its_arguments_alone(name: str) -> None:
    _require(name)
    vectors, labels = _clusters(80)
    queries, _ = _clusters(10, seed=2)
    before = vectors.copy(), queries.copy()
    first = peer_named(name).fit(vectors, labels).search(queries, 80)
    again = peer_named(name).fit(vectors, labels).search(queries, 80)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(vectors, before[0]) and np.array_equal(queries, before[1])


@pytest.mark.parametrize("name", [name for name in PEERS if name not in {"IVF-PQ", "OPQ", "LDA cosine"}])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_peers_without_codebooks_and_covariances_rank_all_of_a_few_images(name: str, count: int) -> None:
    _require(name)
    vectors, labels = _clusters(count)
    ids, scores = peer_named(name).fit(vectors, labels).search(vectors, count + 1)
    assert [sorted(row) for row in ids.tolist()] == [[-1, *range(count)]] * count
    assert np.all(np.isneginf(scores[:, -1])) and np.isfinite(scores[:, :-1]).all()


@pytest.mark.parametrize("name", sorted(set(PEERS) - _SUPERVISED - {"IVF-PQ", "OPQ"}))
def test_label_free_peers_index_a_single_image_and_duplicates(name: str) -> None:
    _require(name)
    vector = np.full((1, 32), 2.0)
    assert peer_named(name).fit(vector).search(vector, 2)[0].tolist() == [[0, -1]]
    ids, _ = peer_named(name).fit(np.repeat(vector, 5, axis=0)).search(vector, 5)
    assert sorted(ids[0].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", PEERS)
def test_no_queries_give_no_rows(name: str) -> None:
    _require(name)
    vectors, labels = _clusters(80)
    ids, scores = peer_named(name).fit(vectors, labels).search(vectors[:0], 3)
    assert ids.shape == scores.shape == (0, 3)


@pytest.mark.parametrize("name", sorted(_SUPERVISED))
def test_supervised_peers_refuse_missing_or_single_classes(name: str) -> None:
    vectors, labels = _clusters(8)
    with pytest.raises(UsageError, match="learns from classes; give the label"):
        peer_named(name).fit(vectors)
    with pytest.raises(UsageError, match="all photos are 'a'"):
        peer_named(name).fit(vectors, ["a"] * 8)
    with pytest.raises(UsageError, match="3 labels for 8 photos"):
        peer_named(name).fit(vectors, labels[:3])


def test_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"peer is 'nearest'; choose raw cosine, .* or metric projection cosine"
    ):
        peer_named("nearest")


def test_a_new_peer_needs_one_class_and_one_registry_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class First(Peer):
        name = "first"

        def _fit(self, given: Given) -> None:
            self.bytes_per_image = 0.0

        def _scores(self, queries: Floats) -> Scores:
            return -np.arange(self._count, dtype=np.float32) + np.zeros((len(queries), 1), dtype=np.float32)

    monkeypatch.setitem(PEERS, First.name, First)
    ids, _ = peer_named("first").fit(np.ones((3, 2))).search(np.ones((2, 2)), 3)
    assert ids.tolist() == [[0, 1, 2]] * 2
