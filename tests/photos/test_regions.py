from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.photos.decode import to_square
from vitdsi.photos.regions import MAX_PARTS, Region, parts_of, read_region


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (300, 300), (1000, 10), (1, 1)])
def test_parts_are_distinct_squares_inside_the_photo(size: tuple[int, int]) -> None:
    width, height = size
    parts = parts_of(width, height, MAX_PARTS)
    assert len(set(parts)) == len(parts) == MAX_PARTS
    for part in parts:
        assert part.width * width == pytest.approx(part.height * height)


def test_the_first_part_is_the_centre_square_that_an_index_reads() -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    (whole,) = parts_of(90, 60, 1)
    assert np.array_equal(read_region(photo, whole, 32), to_square(photo, 32))


def test_a_long_photo_is_read_at_its_ends_and_a_square_one_at_its_sides() -> None:
    assert Region(0, 0, 0.5, 1) in parts_of(200, 100, 5)
    assert all(part.width < 1 for part in parts_of(100, 100, 5)[1:])


@pytest.mark.parametrize("count", [0, MAX_PARTS + 1])
def test_a_number_of_parts_out_of_range_is_named(count: int) -> None:
    with pytest.raises(UsageError, match=f"regions is {count}; it must be between 1 and {MAX_PARTS}"):
        parts_of(10, 10, count)


def test_a_wide_region_is_widened_to_a_square_as_far_as_the_photo_allows() -> None:
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[30:70] = 200  # a region of 0.4 of the height at the right edge, 0.2 wide, becomes 0.4 x 0.4
    made = read_region(Image.fromarray(photo), Region(0.8, 0.3, 0.2, 0.4), 20)
    assert (made > 150).mean() > 0.9
    column = np.zeros((100, 20, 3), np.uint8)
    assert read_region(Image.fromarray(column), Region(0, 0, 1, 1), 20).shape == (20, 20, 3)


@pytest.mark.parametrize("text", ["0,0,0,1", "0.5,0,0.6,1", "-0.1,0,0.5,0.5", "nan,0,1,1"])
def test_a_region_that_is_empty_or_not_inside_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"such as 0\.25,0\.25,0\.5,0\.5"):
        Region.parse(text)


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "0,0,1,1,1"])
def test_a_region_that_is_not_four_numbers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give four numbers"):
        Region.parse(text)


def test_points_are_in_a_region_or_not() -> None:
    region = Region.parse("0.25, 0.25, 0.5, 0.5")
    assert region.as_tuple() == (0.25, 0.25, 0.5, 0.5)
    assert (0.5, 0.7) in region
    assert (0.2, 0.7) not in region
