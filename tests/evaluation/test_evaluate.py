from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers_stored import CLASSES, features, stored

from vitdsi.backbones.reader import ReadPhotos
from vitdsi.collection.remove import remove
from vitdsi.columns.labels import Labels
from vitdsi.errors import UsageError
from vitdsi.evaluation.evaluate import evaluate
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings
from vitdsi.state import Calibration, IndexState


class NumberReader:
    """Gives the features (n, 48) of photos that are written as numbers, and says which were altered."""

    def __init__(self, of: torch.Tensor) -> None:
        self.of = of
        self.altered = 0

    def load(self, sources: Sequence[bytes], alter: Any = None, **_: Any) -> ReadPhotos:
        self.altered += len(sources) if alter is not None else 0
        rows = [int(source) for source in sources]
        return ReadPhotos(
            np.arange(len(rows)), self.of[rows], torch.zeros(len(rows), 32, 32), [""] * len(rows), []
        )


QUERIES = features(20, seed=3)
PHOTOS = [str(i).encode() for i in range(20)]
LABELS = [f"class {i % CLASSES}" for i in range(20)]


def measured(state: IndexState, *given: Any, of: torch.Tensor = QUERIES, **options: Any) -> dict[str, Any]:
    return evaluate(state, NumberReader(of), *given, **options)  # type: ignore[arg-type]


def test_without_queries_the_index_is_measured_with_its_own_images() -> None:
    metrics = measured(stored())
    assert set(metrics) == {"IA@1", "IA@5"}
    assert metrics["IA@1"].value == 1.0 and metrics["IA@1"].queries == 60
    assert metrics["IA@5"].chance == pytest.approx(5 / 60)


def test_removed_images_are_neither_queries_nor_candidates() -> None:
    metrics = measured(remove(stored(), range(10)))
    assert metrics["IA@1"].queries == 50
    assert metrics["IA@1"].chance == pytest.approx(1 / 50)


def test_precision_and_recall_count_images_of_the_query_s_class() -> None:
    state = stored(labels=True)
    metrics = measured(state, PHOTOS, LABELS)
    assert set(metrics) == {"IA@1", "IA@5", "P@10", "MAP@10", "MAP", "Recall@100"}
    found = rankings(state, QUERIES, SearchOptions(k=10))
    hits = np.array([[i % CLASSES == q % CLASSES for i in row] for q, row in enumerate(found)])
    assert metrics["P@10"].value == pytest.approx(hits.mean())
    assert metrics["P@10"].chance == pytest.approx(1 / CLASSES)
    assert metrics["Recall@100"].value == 1.0  # 60 images are all within the first 100
    assert metrics["MAP"].value > metrics["MAP"].chance


def test_class_of_an_image_without_a_label_is_the_first_part_of_its_image_id() -> None:
    state = stored()
    names = [f"class {i % CLASSES}/{i}.jpg" for i in range(60)]
    by_name = measured(replace(state, image_ids=names), PHOTOS, LABELS)
    by_label = measured(
        replace(state, labels=Labels.of([name.split("/")[0] for name in names])), PHOTOS, LABELS
    )
    assert by_name["MAP"].value == by_label["MAP"].value > by_name["MAP"].chance


def test_queries_of_a_class_that_is_not_indexed_are_excluded_and_counted() -> None:
    labels = ["no such class", *LABELS[1:]]
    metrics = measured(stored(labels=True), PHOTOS, labels)
    assert (metrics["P@10"].queries, metrics["P@10"].excluded) == (19, 1)


def test_removed_images_are_not_relevant() -> None:
    state = remove(stored(labels=True), range(0, 60, CLASSES))  # all of class 0
    metrics = measured(state, PHOTOS, LABELS)
    assert (metrics["MAP"].queries, metrics["MAP"].excluded) == (16, 4)


def test_queries_without_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="needs the queries' classes"):
        measured(stored(), PHOTOS)


def test_index_without_images_cannot_be_evaluated() -> None:
    with pytest.raises(UsageError, match="every image was removed"):
        measured(remove(stored(), range(60)))


def test_indexing_accuracy_is_left_out_where_features_were_dropped() -> None:
    dropped = replace(stored(labels=True), features=None, thumbnails=None)
    assert measured(dropped) == {}
    assert set(measured(dropped, PHOTOS, LABELS)) == {"P@10", "MAP@10", "MAP", "Recall@100"}


@pytest.mark.parametrize(("score", "auroc"), [(2.0, 1.0), (-1.0, 0.0)])
def test_auroc_compares_held_out_copies_with_images_outside_the_collection(
    score: float, auroc: float
) -> None:
    calibration = Calibration(inside_scores=(score,) * 30, min_score=score)
    state = stored()
    state = replace(state, report=replace(state.report, calibration=calibration))
    metrics = measured(state, outside=PHOTOS)
    assert set(metrics) == {"IA@1", "IA@5", "AUROC"}
    assert metrics["AUROC"].value == auroc


@pytest.mark.parametrize("labels", [False, True])
def test_photos_from_outside_are_altered_as_the_held_out_views_are(labels: bool) -> None:
    reader = NumberReader(QUERIES)
    evaluate(stored(labels=labels), reader, outside=PHOTOS)  # type: ignore[arg-type]
    assert reader.altered == (0 if labels else len(PHOTOS))


def test_beam_size_below_the_number_of_results_is_raised_to_it() -> None:
    state = stored(labels=True)
    narrow, wide = (measured(state, PHOTOS, LABELS, beam_size=size) for size in (1, 60))
    assert narrow["P@10"].queries == wide["P@10"].queries == 20
    assert narrow["MAP"].value == wide["MAP"].value  # which scores every id, whatever the beam
