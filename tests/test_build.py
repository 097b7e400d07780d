from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitdsi import ImageIndex, build
from vitdsi.build import default_base, sized
from vitdsi.config import IndexConfig, load_config


@pytest.mark.parametrize("count", [1, 2, 255, 257, 4096, 4097, 60_000])
def test_numbers_are_written_in_two_digits_of_the_smallest_base(count: int) -> None:
    base = default_base("random", count)
    assert base**2 >= count and 16 <= base <= 256
    assert base == 16 or (base // 2) ** 2 < count
    assert default_base("semantic", count) >= base


@pytest.mark.parametrize(
    ("count", "width"), [(10, 384), (87_381, 384), (87_382, 192), (349_526, 48), (10**8, 48)]
)
def test_the_model_is_sized_by_the_number_of_images(count: int, width: int) -> None:
    config = IndexConfig()
    assert sized(config, count).model.head_dim == width
    assert config.model.head_dim == 384


@pytest.mark.parametrize(
    ("count", "queries", "epochs"), [(100, 0, 180), (2500, 0, 36), (10**6, 0, 25), (100, 50, 216)]
)
def test_training_ends_sooner_where_there_are_many_images(count: int, queries: int, epochs: float) -> None:
    assert sized(IndexConfig(), count, queries).training.max_epochs == pytest.approx(epochs)


@pytest.mark.parametrize(("ratio", "raised"), [(0, 0), (0.5, 0.75), (0.1, 0.25), (1, 1)])
def test_queries_raise_the_share_of_retrieval_so_that_each_photo_is_drawn_as_often(
    ratio: float, raised: float
) -> None:
    config = load_config(overrides=[f"training.retrieval_ratio={ratio}"])
    assert sized(config, 100, 200).training.retrieval_ratio == pytest.approx(raised)
    assert sized(config, 100).training.retrieval_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("limit", ["max_epochs=7", "minutes=2"])
def test_a_limit_that_was_given_stays(limit: str) -> None:
    training = load_config(overrides=[f"training.{limit}"]).training
    assert sized(load_config(overrides=[f"training.{limit}"]), 100).training == training


def test_a_width_that_was_asked_for_is_only_ever_lowered() -> None:
    config = load_config(overrides=["model.head_dim=24"])
    assert sized(config, 10).model.head_dim == sized(config, 10**8).model.head_dim == 24


def test_an_index_keeps_the_size_that_its_images_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_MOST_IN_ROWS", 2 * 6 * 48)
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    index = ImageIndex(load_config(overrides=["training.max_epochs=2"])).fit(list(images))
    index.save(tmp_path / "six.dsi")
    loaded = ImageIndex.load(tmp_path / "six.dsi")
    assert loaded.config.model.head_dim == index.config.model.head_dim == 48
    assert loaded.search(images[0], k=6) == index.search(images[0], k=6)


def test_a_second_fit_is_sized_as_the_first() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
    index = ImageIndex(load_config(overrides=["training.max_epochs=2"]))
    ratios = [index.fit(images[:2], queries=images[2:]).config.training.retrieval_ratio for _ in range(2)]
    assert ratios == pytest.approx([0.75, 0.75])
