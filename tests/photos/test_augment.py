from __future__ import annotations

from typing import Any

import pytest
import torch

from vitdsi.errors import UsageError
from vitdsi.photos.augment import DRAWS, augment, augment_with


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 8, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=seeded(99))


def test_views_keep_shape_and_range_and_follow_the_generator() -> None:
    images = batch()
    kept = images.clone()
    views = augment(images, seeded())
    assert views.shape == images.shape
    assert views.dtype == images.dtype
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    assert torch.equal(views, augment(images, seeded()))
    assert not torch.equal(views, augment(images, seeded(1)))
    assert torch.equal(images, kept)


def test_empty_batch_stays_empty() -> None:
    assert augment(batch(0), seeded()).shape == (0, 3, 32, 32)


def test_extreme_colours_stay_in_range() -> None:
    views = augment(
        torch.cat([torch.ones(4, 3, 8, 8), torch.zeros(4, 3, 8, 8), batch(4, 8)]), seeded(), jitter=1.0
    )
    assert 0 <= float(views.min()) <= float(views.max()) <= 1


def test_without_any_alteration_images_are_unchanged() -> None:
    images = batch()
    views = augment(images, seeded(), crop=(1, 1), flip=False, jitter=0)
    torch.testing.assert_close(views, images, atol=1e-5, rtol=0)


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = batch(200, 8)
    views = augment(images, seeded(), crop=(1, 1), jitter=0)
    flipped = (views - images.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    same = (views - images).abs().amax((1, 2, 3)) < 1e-4
    assert bool((flipped | same).all())
    assert 75 < int(flipped.sum()) < 125


def test_crop_keeps_the_asked_area_inside_the_image() -> None:
    side = 64
    ramp = (torch.arange(side) + 0.5) / side
    images = torch.zeros(100, 3, side, side)
    images[:, 0], images[:, 1] = ramp, ramp[:, None]
    views = augment(images, seeded(), crop=(0.6, 1.0), flip=False, jitter=0)
    # Away from the borders the red ramp's slope is the side of the crop, in x and in y alike.
    width = (views[:, 0, 32, 48] - views[:, 0, 32, 16]) * 2
    height = (views[:, 1, 48, 32] - views[:, 1, 16, 32]) * 2
    torch.testing.assert_close(width, height, atol=1e-4, rtol=0)
    area = width * height
    assert 0.6 - 1e-3 <= float(area.min()) < 0.65
    assert 0.95 < float(area.max()) <= 1 + 1e-3
    left, right = views[:, 0, 32, 0], views[:, 0, 32, -1]
    assert float(left.min()) >= 0.5 / side - 1e-4
    assert float(right.max()) <= 1 - 0.5 / side + 1e-4
    assert float(left.std()) > 0.02


def test_colours_change_by_brightness_then_contrast_then_saturation() -> None:
    """Brightness, contrast and saturation one after the other, as Pillow's ImageEnhance defines them."""
    images = 0.4 + 0.2 * batch()
    jitter = 0.2
    views = augment(images, seeded(), crop=(1, 1), flip=False, jitter=jitter)
    factors = 1 + jitter * (2 * torch.rand((7, len(images)), generator=seeded())[4:] - 1)
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in factors)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    expected = images * brightness
    mean = (expected * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    expected = contrast * expected + (1 - contrast) * mean
    expected = saturation * expected + (1 - saturation) * (expected * luma).sum(1, keepdim=True)
    torch.testing.assert_close(views, expected, atol=1e-5, rtol=0)


def test_generator_advances_equally_with_any_options() -> None:
    one, two = seeded(), seeded()
    augment(batch(), one)
    augment(batch(), two, crop=(1, 1), flip=False, jitter=0)
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=two))


def test_images_do_not_influence_each_other() -> None:
    images = batch()
    other = images.clone()
    other[3] = 0.5
    views, others = augment(images, seeded()), augment(other, seeded())
    keep = [i for i in range(8) if i != 3]
    torch.testing.assert_close(views[keep], others[keep])


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_images_of_a_wrong_shape_or_type_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="augment takes"):
        augment(images, seeded())


@pytest.mark.parametrize("options", [{"crop": (0, 1)}, {"crop": (1, 0.5)}, {"jitter": -0.1}])
def test_ranges_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="need 0 < crop"):
        augment(batch(), seeded(), **options)


def test_given_numbers_alter_as_a_generator_that_draws_them() -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    numbers = torch.rand((DRAWS, 5), generator=torch.Generator().manual_seed(2))
    altered = augment(images, torch.Generator().manual_seed(2))
    torch.testing.assert_close(augment_with(images, numbers), altered, rtol=0, atol=0)
    assert not torch.equal(altered, images)
