from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photographed, textured
from PIL import Image, ImageDraw

from vitdsi import ImageIndex, IndexConfig
from vitdsi.backbones import BACKBONES
from vitdsi.config import load_config
from vitdsi.errors import ImageReadError, IndexFormatError, UsageError
from vitdsi.progress import Progress

SHORT = [
    "training.max_epochs=150",
    "training.paper.warmup_steps=5",
    "training.batch_size=32",
    "training.evaluate_every=10",
]
TOY = "model.backbone=toy"
PIXELS = ["model.stem=pixels", "model.paper.image_size=32", "model.paper.patch_size=8"]


def paint(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """Distinct coloured shapes in two class folders."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        image = Image.new("RGB", (80, 72), tuple(int(x) for x in rng.integers(0, 256, 3)))
        draw = ImageDraw.Draw(image)
        left, top = (int(x) for x in rng.integers(0, 40, 2))
        shape = draw.ellipse if i % 2 else draw.rectangle
        shape((left, top, left + 34, top + 30), fill=tuple(int(x) for x in rng.integers(0, 256, 3)))
        path = folder / ("round" if i % 2 else "square") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def index(photos: Path) -> ImageIndex:
    return ImageIndex(load_config(overrides=SHORT)).fit(photos)


def test_every_image_finds_itself(index: ImageIndex, photos: Path) -> None:
    assert index.report_.indexing_accuracy == 1.0
    results = index.search_many([photos / name for name in index.image_ids_], k=3)
    assert [row[0].image_id for row in results] == index.image_ids_
    for row in results:
        assert [r.rank for r in row] == [1, 2, 3]
        assert len({r.id for r in row}) == 3
        assert all(index.image_ids_[r.id] == r.image_id for r in row)
    for row in index.search_many([photos / name for name in index.image_ids_], k=3, regions=1):
        assert row[0].score > max(0.5, row[1].score, row[2].score)


@pytest.mark.parametrize("k", [1, 24, 500])
def test_search_returns_k_results_or_as_many_as_there_are_images(
    index: ImageIndex, photos: Path, k: int
) -> None:
    found = index.search(photos / index.image_ids_[5], k)
    assert len(found) == min(k, 24)
    if k >= 24:
        assert {r.image_id for r in found} == set(index.image_ids_)


def test_searching_in_batches_equals_searching_one_by_one(index: ImageIndex, photos: Path) -> None:
    paths = [photos / name for name in index.image_ids_[:7]]
    alone = [index.search(path, 4) for path in paths]
    together = index.search_many(paths, 4, batch_size=3)
    assert [[r.id for r in row] for row in alone] == [[r.id for r in row] for row in together]


def test_loaded_index_gives_the_results_of_the_saved_one(
    index: ImageIndex, photos: Path, tmp_path: Path
) -> None:
    index.save(tmp_path / "out.dsi")
    again = ImageIndex.load(tmp_path / "out.dsi")
    path = photos / index.image_ids_[3]
    assert again.search(path, 10) == index.search(path, 10)
    assert again.info() == index.info()
    index.save(tmp_path / "out.dsi")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.dsi"]


@pytest.mark.usefixtures("toy")
def test_interrupted_and_resumed_fit_equals_an_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "joint" and progress.done == 10:
            raise KeyboardInterrupt

    config = load_config(overrides=[*SHORT, TOY, "training.max_epochs=30"])
    whole = ImageIndex(config).fit(photos)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        ImageIndex(config).fit(photos, checkpoint=state, on_progress=interrupt)
    resumed = ImageIndex(config).fit(photos, checkpoint=state, resume=True)
    weights = whole.model_.state_dict()
    for name, value in resumed.model_.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.usefixtures("toy")
def test_resuming_with_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "joint":
            raise KeyboardInterrupt

    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        ImageIndex(load_config(overrides=[*SHORT, TOY])).fit(photos, checkpoint=state, on_progress=interrupt)
    other = load_config(overrides=[*SHORT, TOY, "model.embed_dim=64"])
    with pytest.raises(UsageError, match="start without resume"):
        ImageIndex(other).fit(photos, checkpoint=state, resume=True)


def test_index_with_classes_and_queries_is_better_than_chance(photos: Path, tmp_path: Path) -> None:
    queries = paint(tmp_path / "queries", 20, seed=5)
    config = load_config(overrides=[*SHORT, "labels=folder", "ids.scheme=clustered"])
    labelled = ImageIndex(config).fit(photos, queries=queries)
    assert labelled.labels_ is not None and set(labelled.labels_) == {"round", "square"}
    metrics = labelled.evaluate(queries)
    assert set(metrics) == {"IA@1", "IA@5", "P@10", "MAP@10", "MAP", "Recall@100"}
    assert metrics["Recall@100"].value == 1.0
    assert metrics["P@10"].queries == 20
    assert metrics["P@10"].chance == pytest.approx(0.5)
    assert metrics["MAP"].value > metrics["MAP"].chance


def test_sequential_schedule_trains_indexing_then_retrieval(photos: Path) -> None:
    overrides = [
        *SHORT, "labels=folder", *PIXELS, "model.paper.dropout=0.1", "model.paper.head=digits",
        "ids.scheme=random", "ids.paper.variable_length=true", "training.paper.target=sampled",
        "training.paper.schedule=sequential", "training.paper.constrained=false",
        "training.paper.retrieval_epochs=40",
    ]  # fmt: skip
    phases: list[str] = []
    fitted = ImageIndex(load_config(overrides=overrides)).fit(
        photos, on_progress=lambda p: phases.append(p.phase)
    )
    order = list(dict.fromkeys(phase for phase in phases if phase in ("indexing", "retrieval")))
    assert order == ["indexing", "retrieval"]
    assert len(fitted.search(photos / fitted.image_ids_[0], 24)) == 24


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    "overrides", [["model.stem=map", TOY], [*PIXELS, "ids.scheme=random"]], ids=["map", "pixels"]
)
def test_stems_of_maps_and_pixels_build_an_index_without_labels(
    photos: Path, overrides: list[str], tmp_path: Path
) -> None:
    config = load_config(overrides=[*SHORT, "model.depth=1", "training.max_epochs=10", *overrides])
    fitted = ImageIndex(config).fit(photos)
    fitted.save(tmp_path / "out.dsi")
    found = ImageIndex.load(tmp_path / "out.dsi").search(photos / fitted.image_ids_[4], 24)
    assert {r.image_id for r in found} == set(fitted.image_ids_)
    assert found == fitted.search(photos / fitted.image_ids_[4], 24)


@pytest.mark.usefixtures("toy")
def test_arrays_are_named_by_position(photos: Path) -> None:
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((photos / "round").iterdir())]
    fitted = ImageIndex(load_config(overrides=[*SHORT, TOY])).fit(arrays)
    assert fitted.image_ids_ == [f"{i:06}" for i in range(12)]
    assert fitted.search(arrays[2], 1)[0].id == 2


def test_searching_with_an_unreadable_file_raises(index: ImageIndex, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageReadError, match=r"empty\.jpg: the file is empty"):
        index.search(tmp_path / "empty.jpg")


@pytest.mark.usefixtures("toy")
def test_collection_of_one_image_can_be_searched(photos: Path) -> None:
    fitted = ImageIndex(load_config(overrides=[*SHORT, TOY])).fit(photos / "round" / "01.png")
    assert [r.image_id for r in fitted.search(photos / "round" / "03.png")] == ["01.png"]


@pytest.mark.usefixtures("toy")
def test_index_without_stored_features_gives_the_same_results(photos: Path) -> None:
    config = load_config(overrides=[*SHORT, TOY, "training.max_epochs=10"])
    kept, dropped = (ImageIndex(config).fit(photos, keep_features=keep) for keep in (True, False))
    assert kept.features_ is not None and dropped.features_ is None
    query = photos / "round" / "03.png"
    assert dropped.search(query, 5) == kept.search(query, 5)
    assert isinstance(dropped.near_identical(), list)


@pytest.mark.usefixtures("toy")
def test_features_that_the_cache_has_are_not_kept_and_read_from_there(photos: Path, tmp_path: Path) -> None:
    config = load_config(overrides=[*SHORT, TOY, "training.max_epochs=10"])
    index = ImageIndex(config, cache=tmp_path / "cache").fit(photos)
    assert index.features_ is None
    assert ImageIndex(config).fit(photos).features_ is not None  # there is no cache
    assert "IA@1" in index.evaluate()
    index.remove([0])
    index.compact(retrain=True)
    assert index.features_ is None and index.state_.changes[-1].verb == "build"
    shutil.rmtree(tmp_path / "cache")
    index.save(tmp_path / "saved.dsi")
    with pytest.raises(UsageError, match="has the features of all images"):
        ImageIndex.load(tmp_path / "saved.dsi", cache=tmp_path / "cache").compact(retrain=True)


@pytest.mark.usefixtures("toy")
def test_changes_of_a_loaded_index_are_saved_to_its_folder(photos: Path, tmp_path: Path) -> None:
    config = load_config(overrides=[*SHORT, TOY, "training.max_epochs=10"])
    path = tmp_path / "out.dsi"
    ImageIndex(config).fit(photos).save(path)
    weights = (path / "model-000001.safetensors").stat().st_mtime_ns
    loaded = ImageIndex.load(path)
    loaded.remove(["round/03.png", 0])
    loaded.save(path)
    assert (path / "model-000001.safetensors").stat().st_mtime_ns == weights  # of the parts, only two changed
    again = ImageIndex.load(path)
    assert again.info()["removed"] == 2 and again.info() == loaded.info()
    again.compact(retrain=False)
    again.save(tmp_path / "copy.dsi")
    assert len(ImageIndex.load(tmp_path / "copy.dsi").image_ids_) == 22
    assert ImageIndex.load(path).info()["removed"] == 2


def test_index_is_searched_with_the_weights_that_it_was_built_with_alone(
    photos: Path, tmp_path: Path, toy: type[ToyBackbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = ImageIndex(load_config(overrides=[*SHORT, TOY, "training.max_epochs=10"])).fit(photos)
    index.save(tmp_path / "toy.dsi")
    assert index.info()["backbone"] == "toy" and index.info()["weights"] == toy().weights
    query = photos / index.image_ids_[0]
    monkeypatch.setattr(toy, "weight", 2.0)
    loaded = ImageIndex.load(tmp_path / "toy.dsi")
    with pytest.raises(
        UsageError, match=r"built with weights \w+ of toy, and those found here are \w+; give"
    ):
        loaded.search(query)
    monkeypatch.setattr(toy, "weight", 1.0)
    monkeypatch.setitem(BACKBONES, "elsewhere", BACKBONES["toy"])
    monkeypatch.delitem(BACKBONES, "toy")
    with pytest.raises(UsageError, match=r"model\.backbone is 'toy'"):
        loaded.search(query)
    assert ImageIndex.load(tmp_path / "toy.dsi", backbone="elsewhere").search(query) == index.search(query)


@pytest.mark.usefixtures("toy")
def test_near_identical_images_are_named_in_groups() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(pixels).resize((48, 48))) for pixels in small]
    fitted = ImageIndex(load_config(overrides=[*SHORT, TOY])).fit([*images, images[4][:, ::-1]])
    assert fitted.near_identical() == [["000004", "000012"]]


def test_wrong_arguments_are_refused_with_advice(photos: Path, index: ImageIndex, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="call fit"):
        ImageIndex(IndexConfig()).search(photos / "round" / "01.png")
    with pytest.raises(UsageError, match="at least 1"):
        index.search(photos / "round" / "01.png", 0)
    with pytest.raises(UsageError, match="at least k"):
        index.search(photos / "round" / "01.png", 10, beam_size=3)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match="none of the 1 images"):
        ImageIndex().fit(tmp_path / "only")


def test_broken_and_newer_indexes_are_refused(index: ImageIndex, tmp_path: Path) -> None:
    path = tmp_path / "out.dsi"
    with pytest.raises(UsageError, match="no such index"):
        ImageIndex.load(path)
    index.save(path)
    description = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(IndexFormatError, match="upgrade"):
        ImageIndex.load(path)
    (path / "index.json").write_text("{")
    with pytest.raises(IndexFormatError, match="broken"):
        ImageIndex.load(path)
    (path / "index.json").write_text(json.dumps(description))
    (path / "model-000001.safetensors").write_bytes(b"\0" * 30)
    with pytest.raises(IndexFormatError, match="broken"):
        ImageIndex.load(path)
    (path / "index.json").unlink()
    with pytest.raises(IndexFormatError, match="not an index"):
        ImageIndex.load(path)
    with pytest.raises(UsageError, match="is not an index"):
        index.save(path)


def test_adding_to_an_empty_index_is_refused_before_photos_are_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"this ImageIndex is empty: call fit\(images\)"):
        ImageIndex().add(tmp_path / "no such folder")


def _textured(*settings: str) -> ImageIndex:
    """An index that is hardly trained, of six photos with many keypoints."""
    config = load_config(
        overrides=[*SHORT[1:], *PIXELS, "ids.scheme=random", "training.max_epochs=2", *settings]
    )
    return ImageIndex(config).fit([textured(seed=i) for i in range(6)])


@pytest.fixture(scope="module")
def verified() -> ImageIndex:
    return _textured()


class TestKeypoints:
    def test_certain_image_comes_first_and_the_others_keep_their_order(self, verified: ImageIndex) -> None:
        query = photographed(textured(seed=3))
        plain = [r.image_id for r in verified.search(query, verify=False)]
        (first, *others) = verified.search(query)
        assert first.image_id == "000003" and first.certain
        assert [r.image_id for r in others] == [name for name in plain if name != "000003"]

    def test_image_below_the_first_k_can_be_certain(self, verified: ImageIndex) -> None:
        for seed in range(6):
            (first,) = verified.search(photographed(textured(seed=seed)), k=1, min_score=0.5, beam_size=1)
            assert first.image_id == f"{seed:06}"

    def test_pages_are_parts_of_the_verified_list(self, verified: ImageIndex) -> None:
        query = photographed(textured(seed=3))
        everything = verified.search(query)
        pages = [verified.search(query, k=2, offset=offset) for offset in (0, 2, 4)]
        assert [result for page in pages for result in page] == everything

    def test_more_like_is_verified_by_the_stored_keypoints(self) -> None:
        index = _textured()
        index.add([photographed(textured(seed=3))], prefix="photo/")
        (first, *others) = index.more_like("photo/000000", k=6)
        assert first.image_id == "000003" and first.certain
        assert len(others) == 5 and not any(result.certain for result in others)
        assert index.more_like("photo/000000", k=6, verify=False)[0].inliers is None

    def test_image_that_a_filter_does_not_allow_is_not_found(self, verified: ImageIndex) -> None:
        found = verified.search(photographed(textured(seed=3)), allow=["000001", "000002"])
        assert not any(r.certain for r in found) and len(found) == 2

    def test_added_and_compacted_images_have_keypoints(self) -> None:
        index = _textured()
        new = textured(seed=9)
        index.add([new], prefix="new/")
        index.remove(["000001", "000004"])
        index.compact(retrain=False)
        assert index.state_.keypoints is not None and len(index.state_.keypoints) == 5
        for name, photo in (("new/000000", new), ("000005", textured(seed=5))):
            assert [r.image_id for r in index.search(photographed(photo)) if r.certain] == [name]

    def test_index_without_keypoints_verifies_nothing(self) -> None:
        index = _textured("keypoints=0")
        assert {r.inliers for r in index.search(textured(seed=1))} == {None}
        with pytest.raises(UsageError, match="no keypoints"):
            index.search(textured(seed=1), verify=True)
