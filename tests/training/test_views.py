from __future__ import annotations

import pytest
import torch

from vitdsi.training.views import FeatureViews, PixelViews


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_clean_features_are_the_rows_as_float() -> None:
    features = torch.randn(6, 4).half()
    clean = FeatureViews(features, torch.empty(0)).clean(torch.tensor([4, 0, 4]))
    assert clean.dtype == torch.float32
    assert torch.equal(clean, features[[4, 0, 4]].float())


def test_without_differences_an_altered_view_is_the_clean_one() -> None:
    views = FeatureViews(torch.randn(5, 4), torch.empty(0, 4))
    rows = torch.tensor([1, 3])
    assert torch.equal(views.altered(rows, generator()), views.clean(rows))


def test_alteration_adds_one_difference_scaled_as_a_whole_and_per_number() -> None:
    features, rows = torch.randn(6, 3, 40), torch.arange(6).repeat(50)
    # differences in different cells, so that the one that was added can be read off
    differences = torch.zeros(3, 3, 40)
    for i in range(3):
        differences[i, i] = 2.0
    views = FeatureViews(features, differences)
    moved = (views.altered(rows, generator()) - views.clean(rows)) / 2
    assert ((moved.abs().amax(2) > 1e-5).sum(1) <= 1).all()
    picked = moved.abs().amax(2).argmax(1)
    assert set(picked.tolist()) == {0, 1, 2}
    scale = moved[torch.arange(300), picked]
    assert scale.min() >= -1e-5 and scale.max() <= 3 + 1e-5
    strength = scale.mean(1)  # about the whole difference's strength, 0 .. 1.5
    assert strength.max() > 1.3 and strength.min() < 0.2
    within = (scale / strength[:, None])[strength > 0.1]
    assert within.min() < 0.05 and 1.8 < within.max() < 2.6
    assert within.std() == pytest.approx(3**-0.5, abs=0.05)


def test_altered_features_stay_nonnegative_where_the_features_are() -> None:
    features = torch.tensor([[0.0, 0.5, -0.5]]).repeat(200, 1)
    moved = FeatureViews(features, torch.full((1, 3), -2.0)).altered(torch.arange(200), generator())
    assert moved[:, :2].min() == 0 and (moved[:, 2] <= -0.5).all() and moved[:, 2].min() < -2


def test_same_generator_state_gives_the_same_view() -> None:
    rows = torch.arange(8)
    pixels = torch.randint(0, 256, (8, 3, 12, 12), dtype=torch.uint8)
    for views in (FeatureViews(torch.randn(8, 5), torch.randn(4, 5)), PixelViews(pixels)):
        first, again = views.altered(rows, generator(3)), views.altered(rows, generator(3))
        assert torch.equal(first, again)
        assert not torch.equal(first, views.altered(rows, generator(4)))


def test_pixels_are_scaled_to_one_and_stay_there_when_altered() -> None:
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    pixels[0], pixels[1] = 0, 255
    views, rows = PixelViews(pixels), torch.tensor([1, 0, 3])
    clean = views.clean(rows)
    assert clean.dtype == torch.float32
    assert clean[0].min() == 1 and clean[1].max() == 0
    torch.testing.assert_close(clean[2] * 255, pixels[3].float())
    altered = views.altered(rows, generator())
    assert altered.shape == clean.shape
    assert altered.min() >= 0 and altered.max() <= 1
    assert not torch.equal(altered[2], clean[2])


def test_views_leave_the_collection_unchanged() -> None:
    features, pixels = torch.randn(4, 5), torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    before = features.clone(), pixels.clone()
    FeatureViews(features, torch.randn(2, 5)).altered(torch.arange(4), generator())
    PixelViews(pixels).altered(torch.arange(4), generator())
    assert torch.equal(features, before[0]) and torch.equal(pixels, before[1])
