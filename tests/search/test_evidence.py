from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vitdsi import ImageIndex, load_config
from vitdsi.ids.trie import NONE
from vitdsi.search.evidence import (
    evidence,
    first_place,
    merged_evidence,
    probability,
    relevance,
)
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import candidates, rank
from vitdsi.state import Calibration, IndexState

_SHORT = ["training.max_epochs=8", "training.batch_size=32", "ids.base=4"]


@pytest.fixture(scope="module")
def state() -> IndexState:
    small = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    images = [np.kron(image, np.ones((16, 16, 1), dtype=np.uint8)) for image in small]
    return ImageIndex(load_config(overrides=_SHORT)).fit(images).state_


@torch.inference_mode()
def test_evidence_holds_the_log_probability_and_both_cosines(state: IndexState) -> None:
    assert state.features is not None
    query = state.features[:2].float()
    embedding = state.model.encode(query)[1]
    ids, log_probs = torch.tensor([[3, 5], [7, NONE]]), torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    seen = evidence(state, ids, log_probs, embedding)
    split = embedding.shape[1] - state.model.stem.categories
    row = state.model.head.vectors(torch.tensor(7))
    assert torch.equal(seen[..., 0], log_probs)
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(seen[1, 0, 1], cosine(row[:split], embedding[1, :split], dim=0))
    torch.testing.assert_close(seen[1, 0, 2], cosine(row[split:], embedding[1, split:], dim=0))


def test_kinship_counts_most_and_likeness_next_unless_it_shows_the_same_picture(state: IndexState) -> None:
    report = replace(state.report, calibration=Calibration(different_pictures=0.65))
    state = replace(state, report=report)
    same, kind = (-1.0, 0.9, 0.5), (-4.0, 0.1, 0.9)
    found = relevance(state, torch.tensor([[same, kind]]))[0]
    assert found.tolist() == pytest.approx([0.5 + 0.45 - 0.01 + 20 * 0.1, 0.9 + 0.05 - 0.04], rel=1e-4)
    classes = replace(state, resolved=replace(state.resolved, labels="folder"))
    found = relevance(classes, torch.tensor([[same, kind]]))[0]
    assert found.tolist() == pytest.approx([0.5 + 0.18 - 0.02, 0.9 + 0.02 - 0.08])


def test_what_decides_the_first_place(state: IndexState) -> None:
    report = replace(state.report, calibration=Calibration(different_pictures=0.25))
    state = replace(state, report=report)
    assert first_place(state) == (0.0, pytest.approx(2.5))
    assert first_place(state, parts=5) == (0.2, None)
    classes = replace(state, resolved=replace(state.resolved, labels="folder"))
    assert first_place(classes) == first_place(classes, parts=5) == (0.2, pytest.approx(3.0))


def test_without_pictures_the_kind_alone_decides(state: IndexState) -> None:
    found = relevance(state, torch.tensor([[[-1.0, 0.9, 0.5], [-4.0, 0.1, 0.9]]]), pictures=False)[0]
    assert found.tolist() == pytest.approx([0.5, 0.9])


def test_the_part_that_is_most_like_an_image_counts_less_a_penalty(state: IndexState) -> None:
    assert state.features is not None
    embedding = state.model.embeddings(state.features[:3].float())
    ids, log_probs = torch.tensor([[0, 1, 2]]), torch.zeros(1, 3)
    whole = evidence(state, ids, log_probs, embedding[:1])
    merged, part, likeness = merged_evidence(state, ids, log_probs, embedding[None, :2])
    assert part.tolist() == [[0, 1, int(merged[0, 2, 1] > whole[0, 2, 1] + 1e-4)]]
    torch.testing.assert_close(merged[0, 0], whole[0, 0])
    own = evidence(state, ids, log_probs, embedding[1:2])
    torch.testing.assert_close(merged[0, 1, 1], own[0, 1, 1] - 0.05)
    torch.testing.assert_close(merged[..., 2], whole[..., 2])
    expected = torch.log((torch.exp(10 * whole[0, :, 1]) + torch.exp(10 * own[0, :, 1])) / 2)
    torch.testing.assert_close(likeness[0], expected)


def test_results_are_ordered_by_relevance(state: IndexState) -> None:
    assert state.features is not None
    queries = (state.features[:4].float() + state.features[4:8].float()) / 2
    found = candidates(state, queries, SearchOptions(k=20))
    ordered = relevance(state, found.evidence[:, 1:])
    assert bool((ordered[:, :-1] >= ordered[:, 1:] - 1e-6).all())


def test_probability_is_a_sigmoid_of_the_evidence_and_bounded_below(state: IndexState) -> None:
    state = replace(state, report=replace(state.report, calibration=Calibration((0.5, 2.0, 1.0), -1.0)))
    seen = torch.tensor([[[-2.0, 0.5, 0.25], [-torch.inf, 0.5, 0.25]]])
    found = probability(state, seen)
    expected = torch.sigmoid(torch.tensor([[-1 + 1 + 0.25 - 1.0, -15 + 1 + 0.25 - 1.0]]))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rerank", [True, False])
def test_the_score_of_an_image_depends_on_neither_k_nor_batch_nor_filter(
    state: IndexState, rerank: bool
) -> None:
    assert state.features is not None
    state = replace(state, report=replace(state.report, calibration=Calibration((0.2, 3.0, 0.5), -1.0)))
    queries = (state.features[:5].float() + state.features[5:10].float()) / 2
    every = rank(state, queries, SearchOptions(k=20, rerank=rerank))
    known = [
        dict(zip(i, s, strict=True)) for i, s in zip(every.ids.tolist(), every.scores.tolist(), strict=True)
    ]
    within = state.trie.restrict([2, 3, 11, 17])
    for row in range(5):
        for k, trie in ((1, None), (3, None), (4, within)):
            alone = rank(state, queries[row : row + 1], SearchOptions(k=k, rerank=rerank), trie)
            for i, score in zip(alone.ids[0].tolist(), alone.scores[0].tolist(), strict=True):
                assert score == pytest.approx(known[row][i], rel=1e-4)
    removed = replace(state, trie=state.trie.without([int(every.ids[0, 0])]))
    after = rank(removed, queries[:1], SearchOptions(k=19, rerank=rerank))
    for i, score in zip(after.ids[0].tolist(), after.scores[0].tolist(), strict=True):
        assert score == pytest.approx(known[0][i], rel=1e-4)
