from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_images import photo
from helpers_stored import add, collection, content, features, own_first, stored

from vitdsi import ImageIndex, load_config
from vitdsi.collection.add import add as add_images
from vitdsi.collection.add import new_images
from vitdsi.collection.compact import compact
from vitdsi.collection.remove import remove
from vitdsi.errors import UnreadableImagesError, UsageError
from vitdsi.model.graft import graft
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings

SCHEMES = ["semantic", "random", "clustered"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_added_images_are_found_and_existing_ids_stay(scheme: str) -> None:
    index = stored(scheme=scheme, labels=scheme == "clustered")
    weights = {name: value.clone() for name, value in index.model.state_dict().items()}
    grown = add(index, 12)
    assert grown.image_ids[:60] == index.image_ids
    assert grown.image_ids[60:] == [f"new/{i:03}.jpg" for i in range(12)]
    length = index.trie.max_length
    assert torch.equal(grown.trie.codes[:60, :length], index.trie.codes)
    assert (grown.trie.codes[:60, length:] == grown.trie.vocabulary.pad).all()
    assert own_first(index, range(60)) == 1.0
    assert own_first(grown, range(60, 72)) >= 0.9
    assert own_first(grown, range(60)) >= 0.9
    # the index that was given is as it was
    assert len(index.image_ids) == len(index.trie.codes) == 60
    assert all(torch.equal(weights[name], value) for name, value in index.model.state_dict().items())


def test_many_small_additions_keep_old_and_new_images_findable() -> None:
    grown = stored()
    for step in range(5):
        grown = add(grown, 4, seed=10 + step, name=f"step{step}")
    assert own_first(grown, range(60)) >= 0.95
    assert own_first(grown, range(60, 80)) >= 0.95
    assert [change.images for change in grown.changes] == [4] * 5


@pytest.mark.parametrize("scheme", ["semantic", "random"])
def test_codes_get_longer_when_no_shorter_one_is_free(scheme: str) -> None:
    index = stored(14, scheme, 4)  # 16 ids of two digits in base 4
    before = index.trie.max_length
    grown = add(index, 30)
    assert grown.trie.max_length > before
    assert torch.equal(grown.trie.codes[:14, :before], index.trie.codes)
    assert len(grown.trie.live_ids()) == 44
    assert own_first(grown, range(44)) >= 0.95


def test_weights_of_old_images_stay_while_there_is_room() -> None:
    index = stored()
    grown = add(index, 3)
    assert grown.trie.max_length == index.trie.max_length
    _, known = graft(index.model, index.trie, grown.trie, 0)
    assert known.all()  # no new nodes, so they have the same numbers
    after = grown.model.state_dict()
    for name, value in index.model.state_dict().items():
        assert torch.equal(value, after[name][: len(value)] if value.dim() else after[name]), name
    new = torch.arange(60, 63)
    vectors = index.model.embeddings(features(3, 1))
    torch.testing.assert_close(grown.model.head.vectors(new), vectors, atol=0.2, rtol=0)  # as codes of bytes


@pytest.mark.parametrize(("calibrated_with", "again"), [(61, False), (50, True)])
def test_scores_are_calibrated_again_once_one_in_a_hundred_images_came(
    calibrated_with: int, again: bool
) -> None:
    state = stored()
    calibration = replace(state.report.calibration, images=calibrated_with)
    state = replace(state, report=replace(state.report, calibration=calibration))
    assert (add(state, 1).report.calibration != calibration) == again


def test_a_quarter_of_added_images_have_a_view_that_is_held_out() -> None:
    def more_views(count: int, seed: int = 0) -> int:
        grown = add(replace(state, resolved=replace(state.resolved, seed=seed)), count)
        assert grown.held_out is not None and state.held_out is not None
        return len(grown.held_out.ids) - len(state.held_out.ids)

    state = stored()
    assert more_views(8) == 2
    assert {more_views(1, seed) for seed in range(12)} == {0, 1}


def test_new_images_are_those_with_another_name_or_content() -> None:
    index = stored()
    given = collection(3)  # the same content
    fresh, replaced = new_images(index, given)
    assert fresh.image_ids == [] and replaced == []
    changed = replace(given, hashes=[given.hashes[0], content("other", 0), given.hashes[2]])
    fresh, replaced = new_images(index, changed)
    assert (fresh.image_ids, replaced) == (["old/001.jpg"], [1])
    assert fresh.facts == {0: given.facts[1]}
    removed = remove(index, [2])
    fresh, replaced = new_images(removed, given)
    assert (fresh.image_ids, replaced) == (["old/002.jpg"], [])


def test_images_added_without_stored_features_are_found_and_old_ones_stay() -> None:
    index = compact(stored(), retrain=False, keep_features=False)
    assert index.features is None and index.thumbnails is None
    grown = add(index, 10)
    assert grown.features is None
    new = collection(10, 1).features
    assert (rankings(grown, new, SearchOptions(k=1))[:, 0] == np.arange(60, 70)).mean() >= 0.8
    assert stored().features is not None
    assert (rankings(grown, stored().features, SearchOptions(k=1))[:, 0] == np.arange(60)).mean() >= 0.9
    with pytest.raises(UsageError, match="has the features of all images"):
        compact(grown, retrain=True)


def test_images_without_classes_cannot_be_added_to_an_index_with_classes() -> None:
    index = stored(labels=True)
    with pytest.raises(UsageError, match="the images of this index have classes; give labels"):
        add_images(index, collection(3, 1, name="new"), reader=None)  # type: ignore[arg-type]
    unchanged, result = add_images(index, collection(60), reader=None)  # type: ignore[arg-type]
    assert unchanged is index and result.unchanged == 60


@pytest.fixture
def small(toy: object) -> ImageIndex:
    """An empty index whose backbone is the toy, so that photos are read in no time."""
    config = load_config(overrides=["model.backbone=toy", "training.max_epochs=2", "device=cpu"])
    return ImageIndex(config)


def write(folder: Path, **seeds: int) -> Path:
    """Photos by name, of which those with the same seed have the same bytes."""
    folder.mkdir(exist_ok=True)
    for name, seed in seeds.items():
        photo(24, 16, seed).save(folder / f"{name}.png")
    return folder


def test_result_names_added_replaced_skipped_duplicate_and_unmatched_images(
    small: ImageIndex, tmp_path: Path
) -> None:
    small.fit(write(tmp_path / "photos", a=0, b=1, c=2, d=3))
    more = write(tmp_path / "photos", b=10, e=11, f=11)
    (more / "broken.png").write_bytes(b"no image")
    facts = {"e.png": {"album": "x"}, "nowhere.png": {"album": "y"}}
    result = small.add(more, metadata=facts, replace=True)
    assert result.image_ids == ["b.png", "e.png", "f.png"]
    assert result.replaced == ["b.png"]
    assert result.unchanged == 3
    assert [Path(error.path).name for error in result.skipped] == ["broken.png"]
    assert result.duplicates == (("e.png", "f.png"),)
    assert result.unmatched == ("nowhere.png",)
    assert [found.image_id for found in small.search(more / "e.png", where="album = 'x'")] == ["e.png"]
    assert len(small.trie_.live_ids()) == 6


def test_adding_what_the_index_holds_changes_nothing(small: ImageIndex, tmp_path: Path) -> None:
    photos = write(tmp_path / "photos", a=0, b=1, c=2)
    before = small.fit(photos).state_
    result = small.add(photos)
    assert (result.image_ids, result.replaced, result.unchanged) == ([], [], 3)
    assert small.state_ is before


def test_changed_content_is_refused_unless_it_is_to_be_replaced(small: ImageIndex, tmp_path: Path) -> None:
    photos = write(tmp_path / "photos", a=0, b=1)
    before = small.fit(photos).state_
    write(photos, b=9)
    with pytest.raises(UsageError, match=r"1 image_ids, such as 'b.png'; replace them \(--replace\)"):
        small.add(photos)
    assert small.state_ is before


def test_strict_addition_names_all_unreadable_files_and_changes_nothing(
    small: ImageIndex, tmp_path: Path
) -> None:
    photos = write(tmp_path / "photos", a=0, b=1)
    before = small.fit(photos).state_
    write(photos, c=2)
    for name in ("broken.png", "worse.png"):
        (photos / name).write_bytes(b"no image")
    with pytest.raises(UnreadableImagesError, match="unreadable files: 2") as error:
        small.add(photos, strict=True)
    assert [Path(skipped.path).name for skipped in error.value.errors] == ["broken.png", "worse.png"]
    assert small.state_ is before
