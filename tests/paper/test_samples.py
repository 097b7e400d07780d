from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_experiments import SIZE, class_folders, coco, mosaic

from vitdsi.errors import UsageError, VitdsiError
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.codes import decode_numbers
from vitdsi.ids.trie import NONE, Trie
from vitdsi.paper.samples import ROLES, Samples, label_set_order, read_dataset, sample
from vitdsi.photos.find import scan_folder

# Categories and areas of the objects in 36 photos; the largest is not always the first by name.
OBJECTS = [
    {"cat": 9.0} if i % 3 == 0 else {"dog": 5.0, "cat": 1.0} if i % 3 == 1 else {"bus": 9.0, "dog": 2.0}
    for i in range(36)
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def coco_photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return coco(tmp_path_factory.mktemp("data") / "mini", OBJECTS)


def ids_of(samples: Samples, role: str) -> list[str]:
    return [samples.records()[row].image_id for row in samples.rows(role)]


def check_relevant(samples: Samples, labels: dict[str, set[str]]) -> None:
    """Compare with the labels of all pairs of images."""
    indexed = ids_of(samples, "indexing")
    for record, found in zip(samples.records(), samples.relevant, strict=True):
        wanted = [i for i, other in enumerate(indexed) if labels[record.image_id] & labels[other]]
        assert found.tolist() == wanted


def test_roles_are_disjoint_and_have_the_shares_of_the_paper(photos: Path) -> None:
    samples = sample(read_dataset(photos), SIZE, 0)
    parts = {role: ids_of(samples, role) for role in ROLES}
    assert {role: len(part) for role, part in parts.items()} == {
        "indexing": 10,
        "train": 24,
        "validation": 4,
        "test": 2,
    }
    everything = [image_id for part in parts.values() for image_id in part]
    assert sorted(everything) == sorted(r.image_id for r in scan_folder(photos))
    assert samples.indexed == 10
    assert [samples.rows(role)[0] for role in ROLES] == [0, 10, 34, 38]
    check_relevant(samples, {image_id: {image_id[0]} for image_id in everything})
    assert samples.pairs() == 24 * 5


def test_digest_differs_between_splits(photos: Path) -> None:
    dataset = read_dataset(photos)
    first = sample(dataset, SIZE, 0)
    assert first.digest() == sample(read_dataset(photos), SIZE, 0).digest()
    others = [sample(dataset, SIZE, 1), sample(dataset, 36, 0), sample(dataset, SIZE, 0, indexing_share=0.5)]
    swapped = replace(first.split, validation=first.split.test, test=first.split.validation)
    renamed = replace(dataset, labels={name: frozenset({"x"}) for name in dataset.labels})
    others += [replace(first, split=swapped), replace(first, dataset=renamed)]
    assert len({first.digest(), *(other.digest() for other in others)}) == 6


def test_folder_with_train_and_val_is_read_from_train_and_gives_the_name(tmp_path: Path) -> None:
    class_folders(tmp_path / "set" / "train", each=2)
    class_folders(tmp_path / "set" / "val", each=1)
    both = read_dataset(tmp_path / "set")
    assert (both.name, len(both.records)) == ("set", 4)
    assert read_dataset(tmp_path / "set" / "train") == both
    alone = read_dataset(tmp_path / "set" / "val")
    assert (alone.name, len(alone.records)) == ("set", 2)


def test_sample_chooses_classes_by_name_and_size(tmp_path: Path) -> None:
    class_folders(tmp_path / "p", "abc", 12)
    class_folders(tmp_path / "q", "d", 3)
    (tmp_path / "q" / "d").rename(tmp_path / "p" / "d")
    dataset = read_dataset(tmp_path / "p")
    two = sample(dataset, 24, 0, num_classes=2)
    assert {record.label for record in two.records()} == {"a", "b"}
    many = sample(dataset, 36, 0, min_per_class=4)
    assert {record.label for record in many.records()} == {"a", "b", "c"}
    with pytest.raises(UsageError, match=r"p \(2 classes\) has 24 images; a DB size of 30"):
        sample(dataset, 30, 0, num_classes=2)


def test_too_few_images_raise(photos: Path) -> None:
    with pytest.raises(UsageError, match=f"has {SIZE} images; a DB size of 41"):
        sample(read_dataset(photos), 41, 0)
    with pytest.raises(UsageError, match=r"a role without any: .* 0 to validate"):
        sample(read_dataset(photos), 6, 0)


def test_aspect_tolerance_keeps_nearly_square_images(tmp_path: Path) -> None:
    class_folders(tmp_path / "p", each=2)
    mosaic(7).resize((40, 32)).save(tmp_path / "p" / "a" / "wide.png")
    assert len(read_dataset(tmp_path / "p").records) == 5
    kept = read_dataset(tmp_path / "p", aspect_tolerance=0.1)
    assert "a/wide.png" not in {record.image_id for record in kept.records} and len(kept.records) == 4
    for path in (tmp_path / "p").rglob("[0-9]*.png"):
        path.unlink()
    with pytest.raises(UsageError, match=r"within 1 ± 0\.1"):
        read_dataset(tmp_path / "p", aspect_tolerance=0.1)


def test_pixels_are_the_centre_square_in_rgb(tmp_path: Path) -> None:
    class_folders(tmp_path / "p", each=12)
    wide = mosaic(3)
    canvas = wide.resize((48, 32))
    canvas.paste((0, 0, 0), (0, 0, 48, 32))
    canvas.paste(wide, (8, 0))
    canvas.save(tmp_path / "p" / "a" / "00.png")
    samples = sample(read_dataset(tmp_path / "p"), 24, 0)
    pixels = samples.pixels(32)
    row = [record.image_id for record in samples.records()].index("a/00.png")
    assert pixels.shape == (24, 3, 32, 32) and pixels.dtype == torch.uint8
    np.testing.assert_array_equal(pixels[row].permute(1, 2, 0).numpy(), np.asarray(wide))
    (tmp_path / "p" / "a" / "01.png").write_bytes(b"broken")
    with pytest.raises(VitdsiError, match=r"unreadable images: 1, first .*01\.png"):
        samples.pixels(16)


def test_shared_relevance_is_any_common_category(coco_photos: tuple[Path, Path]) -> None:
    images, instances = coco_photos
    dataset = read_dataset(images, instances=instances)
    assert (dataset.name, dataset.relevance) == ("mini", "shared")
    samples = sample(dataset, 36, 0)
    check_relevant(samples, {f"{i:02}.png": set(shown) for i, shown in enumerate(OBJECTS)})


def test_largest_relevance_is_the_category_of_the_largest_object(coco_photos: tuple[Path, Path]) -> None:
    images, instances = coco_photos
    samples = sample(read_dataset(images, instances=instances, relevance="largest"), 36, 0)
    largest = {f"{i:02}.png": {max(shown, key=lambda n: shown[n])} for i, shown in enumerate(OBJECTS)}
    assert largest["01.png"] == {"dog"}
    check_relevant(samples, largest)
    shared = sample(read_dataset(images, instances=instances), 36, 0)
    assert shared.digest() != samples.digest()


@pytest.mark.parametrize("relevance", ["shared", "largest"])
def test_training_targets_are_the_relevant_ids(coco_photos: tuple[Path, Path], relevance: str) -> None:
    images, instances = coco_photos
    samples = sample(read_dataset(images, instances=instances, relevance=relevance), 36, 0)
    trie = Trie(scheme_named("random").assign(IdContext(samples.indexed, 10, variable_length=True)), 10)
    targets = samples.targets(trie)
    rows = torch.arange(len(samples.relevant))
    generator = torch.Generator().manual_seed(0)
    drawn: list[set[int]] = [set() for _ in rows]
    for _ in range(60):
        ids = targets.sample(rows, generator)
        for seen, value in zip(drawn, ids.tolist(), strict=True):
            seen.add(value)
    assert [sorted(seen) for seen in drawn] == [wanted.tolist() for wanted in samples.relevant]
    marginals = targets.marginals(trie, rows, ids)
    for row, wanted in enumerate(samples.relevant):
        first = torch.bincount(trie.codes[torch.from_numpy(wanted), 0], minlength=12).float()
        torch.testing.assert_close(marginals[row, 0], first / len(wanted))
    assert torch.equal(marginals.sum(-1) > 0, trie.nodes[ids] != NONE)


def test_label_set_order_continues_with_the_most_similar_set() -> None:
    rng = np.random.default_rng(0)
    sets = [frozenset(rng.choice(list("abcdef"), size=rng.integers(1, 5), replace=False)) for _ in range(30)]
    order = label_set_order(sets)
    assert sorted(order) == list(range(30))
    assert len(sets[order[0]]) == max(map(len, sets))

    def similarity(i: int, j: int) -> float:
        return len(sets[i] & sets[j]) / len(sets[i] | sets[j])

    for place, (here, following) in enumerate(itertools.pairwise(order)):
        best = max(similarity(here, other) for other in order[place + 1 :])
        assert similarity(here, following) == pytest.approx(best)


def test_clustered_ids_follow_the_label_set_order_or_the_class(
    coco_photos: tuple[Path, Path], photos: Path
) -> None:
    images, instances = coco_photos
    samples = sample(read_dataset(images, instances=instances), 36, 0)
    sets = [samples.dataset.labels[name] for name in ids_of(samples, "indexing")]
    context = IdContext(len(sets), 10, variable_length=True, labels=samples.cluster_labels())
    numbers = decode_numbers(scheme_named("clustered").assign(context), 10)
    assert np.argsort(numbers).tolist() == label_set_order(sets)

    samples = sample(read_dataset(photos), SIZE, 0)
    context = IdContext(samples.indexed, 10, labels=samples.cluster_labels())
    numbers = decode_numbers(scheme_named("clustered").assign(context), 10)
    assert [name[0] for _, name in sorted(zip(numbers, ids_of(samples, "indexing"), strict=True))] == list(
        "aaaaabbbbb"
    )


def test_manifest_restores_the_split(photos: Path, tmp_path: Path) -> None:
    first = sample(read_dataset(photos), 36, 3)
    first.manifest(tmp_path / "m.json")
    again = sample(read_dataset(photos, manifest=tmp_path / "m.json"), 36, 0)
    assert again.split == first.split and again.digest() == first.digest()
    assert [a.tolist() for a in again.relevant] == [b.tolist() for b in first.relevant]
    with pytest.raises(UsageError, match="the manifest has 36 images; a DB size of 40"):
        sample(read_dataset(photos, manifest=tmp_path / "m.json"), 40, 0)
    before = (tmp_path / "m.json").read_bytes()
    sample(read_dataset(photos), 36, 4).manifest(tmp_path / "m.json")
    assert (tmp_path / "m.json").read_bytes() == before, "a manifest is written once"


def test_manifest_with_another_class_raises(photos: Path, tmp_path: Path) -> None:
    sample(read_dataset(photos), 36, 0).manifest(tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text())
    content["images"][0]["class"] = "z"
    (tmp_path / "m.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="has the class 'z', but 'a' among the given images"):
        read_dataset(photos, manifest=tmp_path / "m.json")


def test_manifest_restores_a_split_of_coco(coco_photos: tuple[Path, Path], tmp_path: Path) -> None:
    images, instances = coco_photos
    first = sample(read_dataset(images, instances=instances), 36, 1)
    first.manifest(tmp_path / "m.json")
    again = sample(read_dataset(images, instances=instances, manifest=tmp_path / "m.json"), 36, 0)
    assert again.digest() == first.digest()


def test_hub_prefix_reads_a_data_set_of_the_hub(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load(*given: object) -> Any:
        asked.append(given)
        return scan_folder(photos, "folder")

    monkeypatch.setattr("vitdsi.paper.hub.load_hub", load)
    dataset = read_dataset(Path("hub:frgfm/imagenette"), downloads=tmp_path)
    assert (dataset.name, len(dataset.records)) == ("imagenette", SIZE)
    dataset = read_dataset(Path("hub:ILSVRC/imagenet-1k:validation"), downloads=tmp_path)
    assert dataset.name == "imagenet-1k-validation"
    assert asked == [
        ("frgfm/imagenette", "train", tmp_path),
        ("ILSVRC/imagenet-1k", "validation", tmp_path),
    ]


def test_relevance_that_does_not_suit_the_data_set_raises(
    photos: Path, coco_photos: tuple[Path, Path]
) -> None:
    with pytest.raises(UsageError, match="choose class for class folders"):
        read_dataset(photos, relevance="largest")
    with pytest.raises(UsageError, match="choose shared or largest for COCO"):
        read_dataset(coco_photos[0], instances=coco_photos[1], relevance="class")
