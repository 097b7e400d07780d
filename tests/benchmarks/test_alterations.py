from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_NAMES = ("as in training", "rotation", "blur", "caption", "screenshot", "JPEG", "collage")


def _photo(seed: int = 0, size: tuple[int, int] = (90, 64)) -> Image.Image:
    """Large blocks of random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    _photo(seed=1).save(tmp_path / "other.png")
    return tmp_path / "other.png"


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("size", [(90, 64), (64, 90), (3, 2)])
def test_each_alteration_changes_an_rgb_image_repeatably(
    name: str, size: tuple[int, int], other: Path
) -> None:
    from alterations import alterations, generator_for

    photo = _photo(size=size)
    before = np.asarray(photo).copy()
    alteration = alterations([other])[name]
    first, again = (alteration(photo, generator_for(name, "abc")) for _ in range(2))
    different = alteration(photo, generator_for(name, "abd"))
    assert first.mode == "RGB"
    assert np.array_equal(np.asarray(photo), before)
    assert np.array_equal(np.asarray(first), np.asarray(again))
    if size != (3, 2):
        assert not np.array_equal(np.asarray(first.resize(size)), before)
        assert first.size != different.size or not np.array_equal(np.asarray(first), np.asarray(different))


def test_the_alterations_are_the_known_one_and_those_that_training_never_shows(other: Path) -> None:
    from alterations import KNOWN, UNSEEN, alterations

    from vitdsi.photos.alter import altered_copy

    assert tuple(alterations([other])) == (KNOWN, *UNSEEN) == _NAMES
    assert alterations([other])[KNOWN] is altered_copy


def test_draws_never_equal_those_of_training_and_depend_on_name_and_content() -> None:
    from alterations import KNOWN, generator_for

    def draws(rng: np.random.Generator) -> tuple[float, ...]:
        return tuple(rng.random(7))

    training = {draws(np.random.default_rng([seed, index])) for seed in range(20) for index in range(100)}
    benchmark = {draws(generator_for(name, str(i))) for name in (KNOWN, "blur") for i in range(100)}
    assert len(benchmark) == 200
    assert training.isdisjoint(benchmark)


def test_half_of_a_collage_is_the_photo_and_half_another(other: Path) -> None:
    from alterations import alterations, generator_for

    red = Image.new("RGB", (80, 60), (255, 0, 0))
    for content in "abcdef":
        collage = alterations([other])["collage"](red, generator_for("collage", content))
        assert collage.size == (80, 60)
        assert np.mean(np.all(np.asarray(collage) == (255, 0, 0), axis=-1)) == pytest.approx(0.5, abs=0.02)
