from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import torch
import yaml
from helpers_stored import stored

from vitdsi.export.card import model_card
from vitdsi.export.sharable import Sharing, sharable
from vitdsi.state import Change, IndexState, TextGap


def card(state: IndexState, sharing: Sharing | None = None, **more: str) -> str:
    sharing = sharing or Sharing()
    return model_card(
        sharable(state, sharing), "someone/photos", sharing, {"model": 1234567, "ids": 8}, **more
    )


def test_card_holds_the_figures_of_the_index() -> None:
    state = stored()
    text = card(state)
    assert text.split("---\n")[2].startswith("\n# photos\n")
    accuracy, views = state.report.indexing_accuracy, len(state.report.calibration.inside_scores)
    assert accuracy is not None and views
    for part in (
        f"An index of {len(state.image_ids)} images, made with vitdsi {version('vitdsi')}",
        f"| {accuracy:.4f} |",
        f"calibrated on {views} held-out views",
        f"| {state.report.calibration.min_score:.4f} |",
        "model 1,234,567, ids 8",
        'ImageIndex.from_pretrained("someone/photos")',
    ):
        assert part in text


def test_what_was_not_measured_is_said() -> None:
    state = stored()
    text = card(state).split("## What was not measured")[1]
    assert "`vitdsi evaluate`" in text and "later additions" in text and "text" not in text.split("##")[0]
    gap = TextGap(torch.zeros(2), torch.zeros(2), 1.0, 12)
    assert "derived from 12 captions" in card(replace(state, text_gap=gap))
    assert "without any captions" in card(replace(state, text_gap=replace(gap, pairs=0)))
    changed = card(replace(state, changes=(Change.now("build", 9), Change.now("add", 3))))
    assert "IA@1 after the changes" in changed and "add 3" in changed
    unmeasured = replace(state.report, indexing_accuracy=None)
    assert "| not measured |" in card(replace(state, report=unmeasured))


def test_metadata_of_the_hub_is_valid_yaml() -> None:
    state = stored()
    settings = replace(state.resolved.model, backbone="facebook/dinov2-small")
    state = replace(state, resolved=replace(state.resolved, model=settings))
    front = yaml.safe_load(card(state, license="cc-by-4.0").split("---\n")[1])
    assert front["license"] == "cc-by-4.0" and front["base_model"] == "facebook/dinov2-small"
    assert front["library_name"] == "vitdsi" and "image-retrieval" in front["tags"]
    assert set(yaml.safe_load(card(stored()).split("---\n")[1])) == {"library_name", "tags"}
    assert "No licence was given" in card(stored())


def test_card_says_what_is_contained_and_left_out() -> None:
    text = card(stored(), Sharing(["thumbnails"]))
    assert "- Contained: a grey thumbnail" in text and "- Left out: the features" in text
