from __future__ import annotations

from dataclasses import replace

import pytest

from vitdsi.collection.resolve import embedding_dim_for, epochs_for, resolve_config
from vitdsi.config import IndexConfig, ModelConfig, load_config


@pytest.mark.parametrize("count", [1, 2, 255, 257, 4096, 4097, 60_000])
def test_base_left_open_is_the_smallest_power_of_two_that_writes_numbers_in_two_digits(count: int) -> None:
    base = resolve_config(load_config(overrides=["ids.scheme=random"]), count).ids.base
    assert base is not None and base**2 >= count and 16 <= base <= 256
    assert base == 16 or (base // 2) ** 2 < count
    semantic = resolve_config(IndexConfig(), count).ids.base
    assert semantic is not None and semantic >= base


def test_base_that_was_asked_for_stays() -> None:
    assert resolve_config(load_config(overrides=["ids.base=10"]), 10**6).ids.base == 10


@pytest.mark.parametrize(
    ("count", "width"), [(10, 512), (524_288, 512), (524_289, 256), (10**6, 256), (10**8, 32)]
)
def test_embedding_is_narrowed_for_very_many_images_and_the_request_stays(count: int, width: int) -> None:
    requested = IndexConfig()
    assert resolve_config(requested, count).model.embedding_dim == width == embedding_dim_for(count, 512)
    assert requested.model.embedding_dim == 512


def test_embedding_narrower_than_the_bound_is_never_changed() -> None:
    config = load_config(overrides=["model.embedding_dim=24"])
    assert {resolve_config(config, count).model.embedding_dim for count in (10, 10**8)} == {24}


@pytest.mark.parametrize(
    ("count", "queries", "epochs"),
    [(100, 0, 180), (2500, 0, 36), (10**5, 0, 5.692), (10**6, 0, 0.5692), (100, 50, 216)],
)
def test_epochs_left_open_are_fewer_for_many_images(count: int, queries: int, epochs: float) -> None:
    assert resolve_config(IndexConfig(), count, queries).training.max_epochs == pytest.approx(epochs, 1e-3)
    if not queries:
        assert epochs_for(count) == pytest.approx(epochs, 1e-3)


@pytest.mark.parametrize(("ratio", "raised"), [(0, 0), (0.5, 0.75), (0.1, 0.25), (1, 1)])
def test_queries_raise_the_share_of_retrieval_so_that_each_photo_is_drawn_as_often(
    ratio: float, raised: float
) -> None:
    config = load_config(overrides=[f"training.retrieval_ratio={ratio}"])
    assert resolve_config(config, 100, 200).training.retrieval_ratio == pytest.approx(raised)
    assert resolve_config(config, 100).training.retrieval_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("limit", ["max_epochs=7", "minutes=2"])
def test_limit_that_was_given_stays(limit: str) -> None:
    requested = load_config(overrides=[f"training.{limit}"])
    assert resolve_config(requested, 100).training == requested.training


@pytest.mark.parametrize(
    ("width", "asked", "resolved"), [(512, 128, 128), (96, 128, 96), (512, 100, 64), (64, None, None)]
)
def test_bytes_of_a_vector_divide_its_width(width: int, asked: int | None, resolved: int | None) -> None:
    requested = replace(IndexConfig(vector_bytes=asked), model=ModelConfig(embedding_dim=width))
    assert resolve_config(requested, 10).vector_bytes == resolved


@pytest.mark.parametrize(
    ("count", "prototypes"),
    [(10, 32), (2**15, 32), (2**15 + 1, 16), (200_000, 16), (300_000, 8), (10**6, 4), (10**8, 1)],
)
def test_branches_of_many_images_have_fewer_prototypes(count: int, prototypes: int) -> None:
    assert resolve_config(IndexConfig(), count).model.prototypes == prototypes
    assert resolve_config(load_config(overrides=["model.prototypes=0"]), count).model.prototypes == 0
