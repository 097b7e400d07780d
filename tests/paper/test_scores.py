from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from vitdsi.config import load_config
from vitdsi.evaluation.metrics import precision_at
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.scores import (
    METRICS,
    paper_map_at_10,
    paper_recall_at_100,
    rank,
    score_chance,
    score_model,
    score_rankings,
)

COUNT, QUERIES = 150, 24


def lists(seed: int = 0, queries: int = QUERIES) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    rankings = np.stack([rng.permutation(COUNT) for _ in range(queries)])
    relevant = [np.sort(rng.permutation(COUNT)[: rng.integers(1, 30)]) for _ in range(queries)]
    return rankings, relevant


def test_metrics_equal_those_counted_query_by_query() -> None:
    rankings, relevant = lists()
    rng = np.random.default_rng(1)
    own = np.stack([rng.permutation(COUNT)[:5] for _ in range(COUNT)])
    own[:60, 0] = np.arange(60)  # may occur a second time, which IA ignores
    found = score_rankings(own, rankings, relevant, COUNT, seed=0)["metrics"]
    assert tuple(found) == METRICS
    precision, average, recall = [], [], []
    for ranking, wanted in zip(rankings.tolist(), map(set, relevant), strict=True):
        hits = [image in wanted for image in ranking]
        precision.append(sum(hits[:10]) / 10)
        at = [sum(hits[: i + 1]) / (i + 1) for i in range(10) if hits[i]]
        average.append(sum(at) / min(len(wanted), 10))
        recall.append(sum(hits[:100]) / len(wanted))
    expected = {
        "IA@1": np.mean([row[0] == i for i, row in enumerate(own)]),
        "IA@5": np.mean([i in row for i, row in enumerate(own)]),
        "P@10": np.mean(precision),
        "MAP@10": np.mean(average),
        "Recall@100": np.mean(recall),
    }
    assert {name: metric["value"] for name, metric in found.items()} == pytest.approx(expected)
    for name, metric in found.items():
        low, high = metric["ci95"]
        assert low < metric["value"] < high
        assert metric["queries"] == (COUNT if name.startswith("IA") else QUERIES)
    assert found["Recall@100"]["chance"] == pytest.approx(100 / COUNT)
    assert found["IA@5"]["chance"] == pytest.approx(5 / COUNT)


def test_paper_metrics_are_means_of_ten_sampled_queries() -> None:
    rankings, relevant = lists()
    relevant[3] = np.array([], dtype=np.int64)
    own = np.tile(np.arange(5), (COUNT, 1))
    found = score_rankings(own, rankings, relevant, COUNT, seed=7)["paper"]
    counted = [q for q in range(QUERIES) if q != 3]
    drawn = np.random.default_rng(7).permutation(counted)[:10]
    precision = [np.isin(rankings[q, :10], relevant[q]).sum() / 10 for q in drawn]
    recall = [np.isin(rankings[q, :100], relevant[q]).sum() / len(relevant[q]) for q in drawn]
    assert found["MAP@10"] == pytest.approx(np.mean(precision))
    assert found["Recall@100"] == pytest.approx(np.mean(recall))
    assert math.isnan(paper_recall_at_100(rankings[:2], [relevant[3]] * 2, seed=0))
    nothing = score_rankings(own, rankings, [relevant[3]] * QUERIES, COUNT, seed=0)
    assert nothing["paper"]["MAP@10"] is None and nothing["metrics"]["P@10"]["value"] is None


def test_paper_map_at_10_is_the_mean_precision_of_ten_sampled_queries() -> None:
    rankings, relevant = lists(seed=5, queries=40)
    relevant[3] = np.array([], dtype=np.int64)
    counted = [q for q in range(len(relevant)) if len(relevant[q])]
    precision = precision_at(rankings, relevant, 10)
    figures = [paper_map_at_10(rankings, relevant, seed=seed) for seed in range(200)]
    # The mean of ten precisions, which are tenths, is a multiple of a hundredth; the mean over all queries is not.
    np.testing.assert_allclose(np.array(figures) * 100, np.round(np.array(figures) * 100))
    assert len(set(figures)) > 3
    assert np.mean(figures) == pytest.approx(precision[counted].mean(), abs=0.01)
    assert paper_map_at_10(rankings, relevant, seed=3) == figures[3]
    whole = paper_map_at_10(rankings, relevant, seed=0, queries=1000)
    assert whole == pytest.approx(precision[counted].mean())
    assert np.isnan(paper_map_at_10(rankings[:1], [np.array([], dtype=np.int64)], seed=0))


def test_chance_equals_the_mean_of_random_rankings() -> None:
    rankings, relevant = lists(queries=400)
    chance = score_chance(rankings, relevant, COUNT)
    own = np.stack([np.random.default_rng(i).permutation(COUNT)[:5] for i in range(COUNT)])
    measured = score_rankings(own, rankings, relevant, COUNT, seed=0)["metrics"]
    for name in ("P@10", "MAP@10", "Recall@100"):
        assert chance["metrics"][name]["value"] == pytest.approx(measured[name]["value"], abs=0.02)
        assert chance["metrics"][name]["ci95"] == [None, None]
    assert chance["metrics"]["IA@1"]["value"] == pytest.approx(1 / COUNT)
    assert chance["paper"]["MAP@10"] == chance["metrics"]["P@10"]["value"]


def tiny(architecture: str) -> tuple[Seq2Seq, Trie]:
    trie = Trie(scheme_named("random").assign(IdContext(30, 10, variable_length=True)), 10)
    sizes = ("paper.image_size=16", "embed_dim=16", "mlp_dim=16", "depth=1", "decoder_depth=1", "num_heads=2")
    given = [f"model.{text}" for text in (*sizes, f"paper.architecture={architecture}")]
    torch.manual_seed(0)
    return Seq2Seq(load_config("paper", given).model, trie, (3, 16, 16)), trie


@pytest.mark.parametrize("architecture", ["encoder_decoder", "single_stack"])
def test_rank_sorts_all_ids_by_their_probability(architecture: str) -> None:
    model, trie = tiny(architecture)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    found = rank(model, trie, pixels, 30)
    assert [sorted(row) for row in found.tolist()] == [list(range(30))] * 3
    allowed = (trie.child != NONE)[trie.nodes.clamp(min=0)]
    with torch.no_grad():
        for image, row in zip(pixels.float() / 255, found, strict=True):
            scores = model(image.expand(30, -1, -1, -1), trie.codes, trie.nodes)
            log_probs = scores.masked_fill(~allowed, -torch.inf).log_softmax(-1)
            each = log_probs.gather(2, trie.codes[..., None]).squeeze(2)
            total = each.masked_fill(trie.nodes == NONE, 0).sum(1)
            best = total[torch.from_numpy(row)]
            assert torch.all(best[:-1] >= best[1:] - 1e-5)


def test_score_model_ranks_queries_against_all_ids() -> None:
    model, trie = tiny("single_stack")
    pixels = torch.randint(0, 256, (36, 3, 16, 16), dtype=torch.uint8)
    relevant = [np.arange(q, 30, 3) for q in range(3)] * 2
    found = score_model(model, trie, pixels[:30], pixels[30:], relevant, 0)
    assert found["metrics"]["Recall@100"]["value"] == 1.0
    own = rank(model, trie, pixels[:30], 30)
    assert found["metrics"]["IA@5"]["value"] == pytest.approx(
        sum(i in row[:5] for i, row in enumerate(own)) / 30
    )
    assert not model.training
    assert list(itertools.chain(found)) == ["metrics", "values", "paper"]
    assert found["metrics"]["P@10"]["value"] == pytest.approx(np.mean(found["values"]["P@10"]), abs=1e-6)
    assert found["metrics"]["IA@1"]["value"] == pytest.approx(np.mean(found["values"]["IA@1"]), abs=1e-6)
