import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.photos.hard_views import HardViews, hard_view

NOTHING = HardViews(**dict.fromkeys(HardViews.__dataclass_fields__, 0.0))
SIZE = 64


def picture(height: int = 90, width: int = 120) -> np.ndarray:
    """A gradient with a bright square."""
    made = np.zeros((height, width, 3), np.uint8)
    made[..., 0] = np.linspace(0, 255, width)
    made[20:40, 30:60] = 255
    return made


def other_photo() -> np.ndarray:
    return np.full((50, 70, 3), (10, 200, 30), np.uint8)


def view(seed: int = 0, strengths: HardViews = NOTHING, background: np.ndarray | None = None) -> np.ndarray:
    return hard_view(picture(), background, SIZE, np.random.default_rng(seed), strengths)


def test_equal_seeds_give_equal_views_and_other_seeds_give_others():
    first = hard_view(picture(), other_photo(), SIZE, np.random.default_rng(3))
    again = hard_view(picture(), other_photo(), SIZE, np.random.default_rng(3))
    other = hard_view(picture(), other_photo(), SIZE, np.random.default_rng(4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_view_is_a_square_of_the_wanted_size_and_leaves_the_picture_alone():
    original = picture()
    given = original.copy()
    made = hard_view(given, None, SIZE, np.random.default_rng(0))
    assert made.shape == (SIZE, SIZE, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(given, original)


def test_without_effects_the_picture_fills_the_longer_side_of_a_plain_view():
    made = view()
    row = made[SIZE // 2].astype(int)
    assert row[-1, 0] > 200 > 60 > row[1, 0]  # the gradient from left to right
    assert np.array_equal(made[0], made[1])  # plain above the picture, which is wider than high


def test_the_background_surrounds_a_small_picture():
    strengths = HardViews(**{**NOTHING.__dict__, "background": 1.0, "scale": 1.0})
    corners = [view(seed, strengths, other_photo())[0, 0].tolist() for seed in range(20)]
    assert corners.count([10, 200, 30]) > 8


@pytest.mark.parametrize("effect", sorted(set(HardViews.__dataclass_fields__) - {"background"}))
def test_each_effect_alone_changes_some_of_the_views(effect: str):
    strengths = HardViews(**{**NOTHING.__dict__, effect: 1.0})
    changed = [not np.array_equal(view(seed), view(seed, strengths)) for seed in range(60)]
    assert any(changed)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 3), (2, 2, 3)])
def test_pictures_of_any_shape_have_views(shape: tuple[int, ...]):
    made = np.full(shape, 128, np.uint8)
    for seed in range(20):
        assert hard_view(made, made, 32, np.random.default_rng(seed)).shape == (32, 32, 3)


def test_a_strength_out_of_range_is_named():
    with pytest.raises(UsageError, match=r"glare=3: the strength of an effect is between 0 and 2"):
        HardViews(glare=3)
