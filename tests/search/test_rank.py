from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vitdsi import ImageIndex
from vitdsi.collection.remove import remove
from vitdsi.config import load_config
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE
from vitdsi.search.evidence import relevance
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import candidates, indexing_accuracy, rank
from vitdsi.search.searched import WholeIndex
from vitdsi.state import Calibration

_SHORT = ["training.max_epochs=20", "training.batch_size=32", "ids.base=4"]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    small = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    return [np.kron(image, np.ones((16, 16, 1), dtype=np.uint8)) for image in small]


@pytest.fixture(scope="module")
def index(images: list[np.ndarray]) -> ImageIndex:
    return ImageIndex(load_config(overrides=_SHORT)).fit(images)


def test_results_are_reranked_unless_told_otherwise(index: ImageIndex, images: list[np.ndarray]) -> None:
    labels = ["a", "b"] * 10
    classes = ImageIndex(load_config(overrides=[*_SHORT, "labels=folder"])).fit(images, labels)
    for built in (index, classes):
        query = (built.features_[:4] + built.features_[4:8]).float() / 2
        ids = {
            how: rank(built.state_, query, SearchOptions(k=20, rerank=how)).ids for how in (None, True, False)
        }
        assert np.array_equal(ids[None], ids[True])
        # With classes, relevance may agree with probability.
        assert built is classes or not np.array_equal(ids[True], ids[False])


def test_without_reranking_results_are_ordered_by_probability(index: ImageIndex) -> None:
    queries = (index.features_[:3] + index.features_[3:6]).float() / 2
    found = rank(index.state_, queries, SearchOptions(k=20, rerank=False))
    assert (np.diff(found.log_probs, axis=1) <= 1e-6).all()
    assert found.proven.all()


def test_reranking_returns_only_the_ids_that_a_filter_allows(index: ImageIndex) -> None:
    within = index.trie_.restrict([2, 3, 5])
    found = rank(index.state_, index.features_[:4], SearchOptions(k=10, rerank=True), within)
    assert [sorted(row) for row in found.ids.tolist()] == [[2, 3, 5]] * 4
    assert (found.scores > 0).all()


def test_log_probabilities_do_not_depend_on_k_the_batch_filters_or_removed_images(index: ImageIndex) -> None:
    state, queries = index.state_, (index.features_[:4] + index.features_[4:8]).float() / 2
    everything = rank(state, queries, SearchOptions(k=20, rerank=False))
    np.testing.assert_allclose(np.exp(everything.log_probs).sum(1), 1, atol=1e-5)
    exact = [dict(zip(*row, strict=True)) for row in zip(everything.ids, everything.log_probs, strict=True)]
    smaller = remove(state, [0, 1, 6, 7, 8])
    for k, beam_size, rerank, rows in [
        (1, None, True, 4),
        (20, None, False, 1),
        (7, 8, None, 2),
        (3, 3, True, 4),
    ]:
        options = SearchOptions(k=k, beam_size=beam_size, rerank=rerank)
        for given, within in [(state, None), (state, state.trie.restrict(range(3, 9))), (smaller, None)]:
            found = rank(given, queries[:rows], options, within)
            for row in range(rows):
                expected = [exact[row][i] for i in found.ids[row]]
                np.testing.assert_allclose(found.log_probs[row], expected, atol=1e-4)


def test_narrow_beam_is_marked_as_proven_only_where_it_equals_the_exact_search(index: ImageIndex) -> None:
    queries = index.features_.float().roll(1, 0) + index.features_.float()
    exact = rank(index.state_, queries, SearchOptions(k=5, rerank=False))
    beam = rank(index.state_, queries, SearchOptions(k=5, beam_size=5, rerank=False))
    assert exact.proven.all()
    assert (np.sort(exact.ids[beam.proven]) == np.sort(beam.ids[beam.proven])).all()
    assert (beam.log_probs <= exact.log_probs + 1e-5).all()


def test_reranking_works_with_collapse_and_allow(index: ImageIndex, images: list[np.ndarray]) -> None:
    found = index.search(images[7], k=5, rerank=True, collapse=True)
    assert found[0].id == 7 and len(found) == 5
    plain = index.search(images[7], k=5, rerank=False)
    assert plain[0].id == 7 and plain[0].score == pytest.approx(found[0].score, rel=1e-4)
    assert index.search_many([images[7]], k=5, rerank=True, allow=["000003"])[0][0].id == 3


def test_reranking_without_a_trie_head_is_refused(images: list[np.ndarray]) -> None:
    digits = ImageIndex(load_config(overrides=[*_SHORT, "model.paper.head=digits"])).fit(images[:4])
    assert len(digits.search(images[0], k=2)) == 2
    with pytest.raises(UsageError, match="no trie head"):
        digits.search(images[0], k=2, rerank=True)


def test_index_that_does_not_compare_pictures_finds_none_alike(images: list[np.ndarray]) -> None:
    digits = ImageIndex(load_config(overrides=[*_SHORT, "model.paper.head=digits"])).fit(images[:4])
    found = rank(digits.state_, digits.features_[:2], SearchOptions(k=2), alike=2)
    assert (found.picture_places == NONE).all()
    assert found.ids.tolist() == rank(digits.state_, digits.features_[:2], SearchOptions(k=2)).ids.tolist()


def test_images_that_look_alike_are_candidates_of_the_first_page(index: ImageIndex) -> None:
    state, parts = index.state_, (index.features_[[2, 9, 2, 5]].float() + index.features_[[3]].float()) / 2
    alike = WholeIndex(state, parts, None, 2).alike(3).ids
    found = rank(state, parts, SearchOptions(k=1, beam_size=1, rerank=False), parts=2, alike=3)
    for row in range(2):
        in_turns = list(dict.fromkeys(alike[row].mT.flatten().tolist()))[:3]
        places = found.picture_places[row]
        assert found.ids[row, np.argsort(places)][-3:].tolist() == in_turns
        assert sorted(places[places != NONE].tolist()) == [0, 1, 2]


def test_images_that_look_alike_are_those_of_any_rotation(index: ImageIndex) -> None:
    turned = index.features_[[2, 9, 4, 5]].float()
    found = rank(index.state_, turned, SearchOptions(k=2, any_rotation=True), alike=4)
    places = found.picture_places[0]
    assert set(found.ids[0, places != NONE].tolist()) == {2, 9, 4, 5}


def test_parts_of_a_query_are_merged_into_one_distribution(index: ImageIndex) -> None:
    state, parts = index.state_, index.features_[[2, 9, 2, 5]].float()
    merged = rank(state, parts, SearchOptions(k=20, rerank=False), parts=2)
    alone = rank(state, parts, SearchOptions(k=20, rerank=False))
    for row in range(2):
        assert sorted(merged.ids[row].tolist()) == list(range(20))
        expected = np.zeros(20)
        for part in (2 * row, 2 * row + 1):
            np.add.at(expected, alone.ids[part], np.exp(alone.log_probs[part]) / 2)
        np.testing.assert_allclose(np.exp(merged.log_probs[row]), expected[merged.ids[row]], rtol=1e-4)
        assert (np.diff(merged.log_probs[row]) <= 1e-6).all()
    assert merged.proven.all()


def test_results_name_the_part_that_is_most_like_them(index: ImageIndex) -> None:
    found = rank(index.state_, index.features_[[2, 9]].float(), SearchOptions(k=2), parts=2)
    assert dict(zip(found.ids[0].tolist(), found.parts[0].tolist(), strict=True)) == {2: 0, 9: 1}


@pytest.mark.parametrize("labels", ["none", "folder"])
@pytest.mark.parametrize("parts", [1, 3])
@torch.inference_mode()
def test_a_strong_claim_comes_before_what_is_most_relevant(
    index: ImageIndex, parts: int, labels: str
) -> None:
    state = replace(index.state_, resolved=replace(index.state_.resolved, labels=labels))
    vectors, split = state.model.head.vectors(torch.arange(20)), -state.model.stem.categories
    categories = torch.nn.functional.normalize(vectors[:, split:], dim=1)
    other = int((categories @ categories[2]).argmin())
    query = torch.cat([vectors[2, :split], vectors[other, split:]]).expand(parts, -1)
    needs_none = parts > 1 and labels == "none"
    for likeness, first in (
        (-1.0, 2),
        (1.5, 2 if needs_none else other),
    ):  # what all pictures exceed, and none
        report = replace(state.report, calibration=Calibration(different_pictures=likeness))
        changed = replace(state, report=report)
        found = candidates(changed, query, SearchOptions(k=20), parts=parts, embedded=True)
        assert int(found.ids[0, 0]) == first
        ordered = relevance(changed, found.evidence)[0, int(first == 2) :]
        assert bool((ordered[:-1] >= ordered[1:] - 1e-5).all())


@pytest.mark.parametrize("k", [1, 3])
def test_merged_log_probabilities_do_not_depend_on_k_or_filters(index: ImageIndex, k: int) -> None:
    parts = index.features_[[2, 9, 5]].float()
    everything = rank(index.state_, parts, SearchOptions(k=20, rerank=False), parts=3)
    exact = dict(zip(everything.ids[0].tolist(), everything.log_probs[0].tolist(), strict=True))
    for within in (None, index.trie_.restrict([1, 2, 6, 9])):
        found = rank(index.state_, parts, SearchOptions(k=k, rerank=False), within, parts=3)
        for image, log_prob in zip(found.ids[0].tolist(), found.log_probs[0].tolist(), strict=True):
            assert log_prob == pytest.approx(exact[image], abs=1e-4)


def test_indexing_accuracy_of_a_large_index_is_measured_on_a_sample(
    index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indexing_accuracy(index.state_) == (1.0, 20)
    monkeypatch.setattr("vitdsi.search.rank.MAX_MEASURED", 7)
    assert indexing_accuracy(index.state_) == (1.0, 7)
