from __future__ import annotations

import copy
import dataclasses
import json
import re

import pytest
import torch
from helpers_stored import stored

from vitdsi.config import load_config
from vitdsi.errors import ImageReadError
from vitdsi.model.heads import DigitHead
from vitdsi.state import BuildReport, Calibration, Change, HeldOut

REPORT = BuildReport(
    7,
    steps=30,
    seconds=2.5,
    seconds_reading=1.25,
    indexing_accuracy=0.5,
    calibration=Calibration((0.5, 0.25, 1.0), -2.0, 7, (0.5, 0.25), 0.25),
    history=({"step": 10.0, "loss": 1.5},),
)


def test_change_is_dated_in_utc_to_the_second() -> None:
    change = Change.now("add", 3)
    assert (change.verb, change.images) == ("add", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", change.time)


def test_report_read_from_json_equals_the_report_that_was_written() -> None:
    assert BuildReport.from_dict(json.loads(json.dumps(REPORT.as_dict()))) == REPORT


def test_report_leaves_out_what_was_not_measured() -> None:
    assert set(BuildReport(7).as_dict()) == {"images", "calibration", "history"}
    assert BuildReport.from_dict(BuildReport(7).as_dict()) == BuildReport(7)


def test_skipped_files_duplicates_and_unmatched_names_are_not_stored() -> None:
    report = dataclasses.replace(
        REPORT,
        skipped=(ImageReadError("a.jpg", "the file is empty"),),
        duplicates=(("b.jpg", "c.jpg"),),
        unmatched=("d.jpg",),
    )
    assert BuildReport.from_dict(report.as_dict()) == REPORT


def test_changed_appends_a_change_and_leaves_the_state_as_it_is() -> None:
    state = stored()
    first = dataclasses.replace(state, changes=state.changed("add", 3))
    both = first.changed("remove", 2)
    assert [(change.verb, change.images) for change in both] == [("add", 3), ("remove", 2)]
    assert len(first.changes) == 1 and state.changes == ()


def test_state_cannot_be_assigned_to() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        stored().image_ids = []  # type: ignore[misc]


def test_scores_of_former_formats_become_the_default_calibration() -> None:
    former = {"images": 7, "inside_scores": [0.5, 0.25], "min_score": 0.25, "history": []}
    assert BuildReport.from_dict(former).calibration == Calibration()


def test_held_out_views_are_taken_and_joined_with_their_ids_and_classes() -> None:
    views = HeldOut(torch.arange(6.0).view(3, 2), torch.tensor([4, 5, 6]), ["a", "b", "c"])
    taken = views.take(torch.tensor([2, 0]))
    assert taken.ids.tolist() == [6, 4] and taken.labels == ["c", "a"]
    joined = taken.joined(views.with_ids(torch.tensor([1, 2, 3])))
    assert joined.ids.tolist() == [6, 4, 1, 2, 3] and joined.labels == ["c", "a", "a", "b", "c"]
    assert joined.features[:2].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert HeldOut(views.features, views.ids).joined(HeldOut(views.features, views.ids)).labels is None


@pytest.mark.parametrize("override", ["seed=0", "labels=folder"])
def test_results_are_reranked_by_default_with_and_without_classes(override: str) -> None:
    state = dataclasses.replace(stored(), resolved=load_config(overrides=[override]))
    assert state.reranks_by_default


def test_results_are_not_reranked_by_default_if_the_head_keeps_no_vectors() -> None:
    state = stored()
    model = copy.deepcopy(state.model)
    model.head = DigitHead(state.resolved.model, state.trie)
    assert state.reranks_by_default and not dataclasses.replace(state, model=model).reranks_by_default


def test_results_are_not_reranked_by_default_if_the_stem_makes_no_embeddings() -> None:
    state = stored()
    model = copy.deepcopy(state.model)
    model.stem.embeds = False  # type: ignore[misc]
    assert not dataclasses.replace(state, model=model).reranks_by_default
