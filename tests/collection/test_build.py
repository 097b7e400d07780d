from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_stored import collection, stored

from vitdsi import ImageIndex
from vitdsi.collection import build as build_module
from vitdsi.collection import resolve
from vitdsi.collection.build import rebuild, relevance_of
from vitdsi.config import load_config
from vitdsi.errors import ConfigError, UnreadableImagesError, UsageError
from vitdsi.model.categories import Categories, categories_from_classes
from vitdsi.state import BuildReport, Calibration

SHORT = ["training.max_epochs=2"]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))


def test_loaded_index_keeps_the_embedding_width_of_its_build(
    images: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "MAX_ROW_NUMBERS", 6 * 64)
    index = ImageIndex(load_config(overrides=SHORT)).fit(images)
    index.save(tmp_path / "six.dsi")
    loaded = ImageIndex.load(tmp_path / "six.dsi")
    assert loaded.config.model.embedding_dim == index.config.model.embedding_dim == 64
    assert loaded.search(images[0], k=6) == index.search(images[0], k=6)


def test_second_fit_resolves_the_settings_afresh(images: list[np.ndarray]) -> None:
    index = ImageIndex(load_config(overrides=SHORT))
    ratios = [index.fit(images[:2], queries=images[2:]).config.training.retrieval_ratio for _ in range(2)]
    assert ratios == pytest.approx([0.75, 0.75])


def test_second_fit_after_load_resolves_the_settings_afresh(images: list[np.ndarray], tmp_path: Path) -> None:
    ImageIndex(load_config(overrides=SHORT)).fit(images[:2], queries=images[2:]).save(tmp_path / "two.dsi")
    loaded = ImageIndex.load(tmp_path / "two.dsi")
    assert loaded.config.training.retrieval_ratio == pytest.approx(0.75)
    assert loaded.fit(images[:2]).config.training.retrieval_ratio == pytest.approx(0.5)


def test_retraining_a_loaded_index_lowers_the_retrieval_share_that_its_queries_had_raised(
    images: list[np.ndarray], tmp_path: Path
) -> None:
    ImageIndex(load_config(overrides=SHORT)).fit(images[:2], queries=images[2:]).save(tmp_path / "two.dsi")
    loaded = ImageIndex.load(tmp_path / "two.dsi")
    loaded.compact(retrain=True)
    assert loaded.config.training.retrieval_ratio == pytest.approx(0.5)
    loaded.save(tmp_path / "again.dsi")
    again = ImageIndex.load(tmp_path / "again.dsi")
    again.compact(retrain=True)
    assert again.config == loaded.config


def test_embedding_width_follows_the_size_of_the_collection_at_each_fit_and_retraining(
    images: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "MAX_ROW_NUMBERS", 6 * 96)
    config = load_config(overrides=[*SHORT, "model.embedding_dim=192"])
    ImageIndex(config).fit(images).save(tmp_path / "six.dsi")
    loaded = ImageIndex.load(tmp_path / "six.dsi")
    assert loaded.model_.head.vectors(loaded.trie_.live_ids()).shape == (6, 96)
    loaded.remove([0, 1, 2])
    loaded.compact(retrain=True)
    assert loaded.config.model.embedding_dim == 192
    assert loaded.model_.head.vectors(loaded.trie_.live_ids()).shape == (3, 192)
    assert loaded.fit(images).config.model.embedding_dim == 96


def test_report_names_skipped_files_duplicates_and_unmatched_metadata(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, shade in (("a.png", 10), ("b.png", 10), ("c.png", 90)):
        from PIL import Image

        Image.new("RGB", (32, 32), (shade, 5, 7)).save(photos / name)
    (photos / "broken.png").write_bytes(b"no image")
    facts = {"a.png": {"album": "x"}, "nobody.png": {"album": "y"}}
    report = ImageIndex(load_config(overrides=SHORT)).fit(photos, metadata=facts).report_
    assert report.images == 3
    assert [Path(error.path).name for error in report.skipped] == ["broken.png"]
    assert report.duplicates == (("a.png", "b.png"),)
    assert report.unmatched == ("nobody.png",)
    assert report.seconds is not None and report.seconds_reading is not None
    assert 0 <= report.seconds_reading <= report.seconds


def test_strict_raises_before_anything_is_learned(tmp_path: Path, images: list[np.ndarray]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    index = ImageIndex(load_config(overrides=SHORT))
    with pytest.raises(UnreadableImagesError, match="unreadable files: 1") as error:
        index.fit([images[0], broken], strict=True)
    assert [Path(skipped.path).name for skipped in error.value.errors] == ["broken.png"]
    with pytest.raises(UsageError, match="is empty"):
        _ = index.state_


@pytest.mark.parametrize(
    "setting",
    ["ids.scheme=alphabetical", "model.stem=patches", "model.paper.head=flat", "model.backbone=resnet"],
)
def test_unregistered_name_is_refused_before_photos_are_read(setting: str, tmp_path: Path) -> None:
    key, _, name = setting.partition("=")
    index = ImageIndex(load_config(overrides=[setting]))
    with pytest.raises((ConfigError, UsageError), match=rf"{key} is '{name}'; choose"):
        index.fit(tmp_path / "there is no such folder")


def test_queries_without_classes_are_refused_with_the_pixel_stem(images: list[np.ndarray]) -> None:
    config = load_config(
        overrides=[*SHORT, "model.stem=pixels", "model.paper.image_size=32", "ids.scheme=random"]
    )
    with pytest.raises(UsageError, match="queries train retrieval by class or by features"):
        ImageIndex(config).fit(images[:3], queries=images[3:])


def test_folder_labels_without_classes_are_refused() -> None:
    index = stored(labels=True)
    from dataclasses import replace

    with pytest.raises(UsageError, match="labels=folder needs class folders"):
        relevance_of(replace(index, labels=None), None)


def test_queries_without_classes_are_refused_by_an_index_with_classes() -> None:
    index = stored(labels=True)
    with pytest.raises(UsageError, match="the queries have no classes; the indexed images have class 0"):
        relevance_of(index, collection(3))


def test_views_that_were_held_out_are_kept_and_imagined_ones_are_not() -> None:
    state = stored()
    assert state.held_out is not None and state.held_out.ids.tolist() == list(range(8))
    assert state.report.calibration.images == 60
    former = replace(state, held_out=None, report=BuildReport(60))
    rebuilt = rebuild(former)
    assert rebuilt.held_out is None
    found = rebuilt.report.calibration
    assert found == Calibration(different_pictures=found.different_pictures)  # which needs no views
    again = rebuild(state)
    assert again.held_out is state.held_out
    assert again.report.calibration.images == 60


def test_with_classes_further_photos_are_held_out_of_the_categories_too(
    images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def count(features: torch.Tensor, *rest: Any) -> Categories:
        seen.append(len(features))
        return categories_from_classes(features, *rest)

    monkeypatch.setattr(build_module, "categories_from_classes", count)
    config = load_config(overrides=[*SHORT, "labels=folder"])
    ImageIndex(config).fit(images, list("aabbcc"), queries=images * 5, query_labels=list("aabbcc") * 5)
    assert seen == [6 + 27]
