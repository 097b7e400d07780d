from __future__ import annotations

from dataclasses import fields, replace

import pytest
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.export.sharable import OPTIONAL, Sharing, sharable
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import IndexState


def private(labels: bool = False) -> IndexState:
    return stored(labels=labels)


def test_by_default_only_what_a_search_needs_is_shared() -> None:
    state = private()
    shared = sharable(state, Sharing())
    assert shared.features is None and shared.thumbnails is None and shared.held_out is None
    assert shared.keypoints is None
    assert not len(shared.differences) and not any(shared.hashes) and shared.metadata.columns() == {}
    assert shared.image_ids == state.image_ids
    assert state.features is not None
    options = SearchOptions(k=5)
    one, other = (rank(which, state.features[:3], options) for which in (state, shared))
    assert (one.ids == other.ids).all() and (one.scores == other.scores).all()


def test_everything_is_shared_that_is_asked_for() -> None:
    state = private()
    shared = sharable(state, Sharing(OPTIONAL))
    assert shared.features is state.features and shared.thumbnails is state.thumbnails
    assert shared.held_out is state.held_out and shared.differences is state.differences
    assert shared.hashes == state.hashes and shared.metadata.columns() == state.metadata.columns() != {}


def test_pairs_that_are_kept_are_shared_with_thumbnails_and_names_alone() -> None:
    state = replace(private(), decisions=(("old/000.jpg", "old/001.jpg"),))
    assert sharable(state, Sharing(["thumbnails"])).decisions == state.decisions
    for sharing in (Sharing(), Sharing(["thumbnails"], names=False)):
        assert sharable(state, sharing).decisions == ()


def test_every_field_of_a_state_was_considered() -> None:
    """A new field may tell about the photos: say in `sharable` whether it is shared, and add it here."""
    shared_always = {"requested", "resolved", "model", "trie", "image_ids", "labels", "report", "changes"}
    shared_always |= {"weights", "text_gap", "generation"}
    optional = {
        "features",
        "held_out",
        "differences",
        "keypoints",
        "thumbnails",
        "decisions",
        "metadata",
        "hashes",
    }
    assert {field.name for field in fields(IndexState)} == shared_always | optional


def test_names_are_numbers_if_they_are_not_shared() -> None:
    state = private(labels=True)
    shared = sharable(state, Sharing(OPTIONAL, names=False))
    assert shared.image_ids[:2] == ["000000", "000001"]
    assert state.labels is not None and shared.labels is not None
    pairs = set(zip(state.labels, shared.labels, strict=True))
    assert len(pairs) == len(set(state.labels)) == len(set(shared.labels))
    assert not set(state.labels) & set(shared.labels)


def test_removed_images_are_dropped() -> None:
    state = private()
    shared = sharable(remove(state, [0, 3]), Sharing(["features"]))
    assert shared.image_ids == [name for i, name in enumerate(state.image_ids) if i not in (0, 3)]
    assert shared.features is not None and len(shared.features) == len(shared.image_ids)


@pytest.mark.parametrize(
    ("backbone", "shared"),
    [("/home/someone/models/mine", "mine"), ("facebook/dinov2-small", "facebook/dinov2-small")],
)
def test_of_the_folder_of_a_backbone_only_its_name_is_shared(backbone: str, shared: str) -> None:
    state = private()
    requested, resolved = (
        replace(config, model=replace(config.model, backbone=backbone))
        for config in (state.requested, state.resolved)
    )
    made = sharable(replace(state, requested=requested, resolved=resolved), Sharing())
    assert made.requested.model.backbone == made.resolved.model.backbone == shared


def test_what_is_shared_and_left_out_is_described() -> None:
    some = Sharing(["thumbnails"], names=False)
    assert any("thumbnail" in line for line in some.shared())
    assert not any("thumbnail" in line for line in some.left_out())
    assert any("names" in line for line in some.left_out())
    assert len(some.shared()) + len(some.left_out()) == len(OPTIONAL) + 2
    assert any("image_ids" in line for line in Sharing().shared())


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(
        UsageError,
        match="include has 'photos'; choose from features, keypoints, thumbnails, metadata, hashes",
    ):
        Sharing(["photos"])
