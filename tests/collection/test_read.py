from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_images import encoded, photo
from PIL import Image

from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.read import Collection, read_collection
from vitdsi.errors import UnreadableImagesError, UsageError
from vitdsi.photos.decode import content_hash


@pytest.fixture
def reader(toy: object) -> FeatureReader:
    return FeatureReader("pooled", backbone="toy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos in two class folders, of which 0.png and 2.png have the same bytes, and a broken file."""
    root = tmp_path / "photos"
    for number, (label, seed) in enumerate((("cat", 0), ("cat", 1), ("dog", 0))):
        (root / label).mkdir(parents=True, exist_ok=True)
        photo(24, 16, seed).save(root / label / f"{number}.png")
    (root / "cat" / "broken.jpg").write_bytes(b"no image")
    return root


def read(folder: Path, reader: FeatureReader, **options: bool) -> Collection:
    return read_collection(folder, None, reader, **{"by_folder": True, **options})


def test_folder_gives_relative_paths_classes_hashes_and_skipped_files(
    folder: Path, reader: FeatureReader
) -> None:
    given = read(folder, reader)
    assert given.image_ids == ["cat/0.png", "cat/1.png", "dog/2.png"]
    assert given.labels == ["cat", "cat", "dog"]
    assert given.hashes == [content_hash(folder / name) for name in given.image_ids]
    assert [Path(error.path).name for error in given.skipped] == ["broken.jpg"]
    assert len(given) == len(given.sources) == len(given.features) == len(given.thumbnails) == 3


def test_folder_has_no_classes_unless_they_are_asked_for(folder: Path, reader: FeatureReader) -> None:
    assert read(folder, reader, by_folder=False).labels is None


def test_given_labels_win_over_class_folders_and_follow_their_photos(
    folder: Path, reader: FeatureReader
) -> None:
    names = ["zero", "one", "broken", "two"]  # in the order of the paths, where broken.jpg is third
    given = read_collection(folder, names, reader, by_folder=True)
    assert dict(zip(given.image_ids, given.labels or [], strict=True)) == {
        "cat/0.png": "zero",
        "cat/1.png": "one",
        "dog/2.png": "two",
    }


def test_wrong_number_of_labels_is_refused_before_photos_are_read(
    folder: Path, reader: FeatureReader
) -> None:
    with pytest.raises(UsageError, match=r"^1 labels were given for 2 images$"):
        read_collection([folder / "no such file", b""], ["cat"], reader, by_folder=False)


def test_strict_raises_one_error_with_all_unreadable_files(folder: Path, reader: FeatureReader) -> None:
    (folder / "dog" / "empty.png").touch()
    with pytest.raises(UnreadableImagesError, match=r"^unreadable files: 2; ") as error:
        read(folder, reader, strict=True)
    assert sorted(Path(skipped.path).name for skipped in error.value.errors) == ["broken.jpg", "empty.png"]


def test_strict_accepts_a_folder_in_which_all_files_can_be_read(folder: Path, reader: FeatureReader) -> None:
    (folder / "cat" / "broken.jpg").unlink()
    assert len(read(folder, reader, strict=True)) == 3


def test_sequence_of_photos_without_paths_is_named_by_position(folder: Path, reader: FeatureReader) -> None:
    path = folder / "cat" / "0.png"
    sources = [photo(seed=1), np.asarray(photo(seed=2)), encoded(photo(seed=3), "PNG"), path, str(path), path]
    given = read_collection(sources, None, reader, by_folder=True)
    name = path.as_posix()
    assert given.image_ids == ["000000", "000001", "000002", name, f"{name}#2", f"{name}#3"]
    assert given.labels is None
    assert given.hashes[:3] == ["", "", ""] and given.hashes[3] == given.hashes[4] == content_hash(path)


def test_taken_photos_keep_everything_that_belongs_to_them(folder: Path, reader: FeatureReader) -> None:
    given = read(folder, reader).with_facts({"cat/0.png": {"album": "x"}, "dog/2.png": {"album": "y"}})
    taken = given.take([2, 0])
    assert taken.image_ids == ["dog/2.png", "cat/0.png"]
    assert taken.labels == ["dog", "cat"]
    assert taken.sources == [given.sources[2], given.sources[0]]
    assert taken.hashes == [given.hashes[2], given.hashes[0]]
    assert torch.equal(taken.features, given.features[[2, 0]])
    assert torch.equal(taken.thumbnails, given.thumbnails[[2, 0]])
    assert [taken.facts[i]["album"] for i in range(2)] == ["y", "x"]
    assert len(given.take([])) == 0


def test_prefix_is_put_before_every_image_id(folder: Path, reader: FeatureReader) -> None:
    given = read(folder, reader)
    prefixed = read_collection(folder, None, reader, by_folder=True, prefix="2024/")
    assert prefixed.image_ids == [f"2024/{name}" for name in given.image_ids]
    assert prefixed.duplicates == (("2024/cat/0.png", "2024/dog/2.png"),)


def test_facts_of_the_file_are_overridden_by_the_given_metadata(
    folder: Path, reader: FeatureReader, tmp_path: Path
) -> None:
    table = tmp_path / "facts.json"
    table.write_text(json.dumps({"cat/0.png": {"width": 7, "album": "x"}, "none.png": {"album": "y"}}))
    given = read(folder, reader).with_facts(table)
    assert (given.facts[0]["width"], given.facts[0]["album"]) == (7, "x")
    assert given.facts[1]["width"] == 24 and "album" not in given.facts[1]
    assert given.unmatched == ("none.png",)
    assert read(folder, reader).with_facts(None).facts[0]["width"] == 24


def test_photos_without_files_have_only_the_facts_that_are_given(reader: FeatureReader) -> None:
    given = read_collection([photo(), photo(seed=1)], None, reader, by_folder=False)
    facts = given.with_facts({"000001": {"album": "x"}}).facts
    assert facts == {0: {}, 1: {"album": "x"}}


def test_duplicates_are_files_with_the_same_bytes(folder: Path, reader: FeatureReader) -> None:
    assert read(folder, reader).duplicates == (("cat/0.png", "dog/2.png"),)
    same = [Image.new("RGB", (8, 8))] * 2  # without files there are no bytes to compare
    assert read_collection(same, None, reader, by_folder=False).duplicates == ()
