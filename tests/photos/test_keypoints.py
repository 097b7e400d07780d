from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers_images import encoded, textured
from PIL import Image

from vitdsi.errors import ImageReadError
from vitdsi.photos.keypoints import (
    DESCRIPTOR_BYTES,
    KEYPOINT_BYTES,
    SCALE,
    Keypoints,
    PhotoKeypoints,
    detect,
    pack,
    unpack,
)


def test_detect_gives_the_strongest_keypoints_of_a_photo() -> None:
    photo = textured(320, 200)
    many, few = detect(photo, 200, 320), detect(photo, 40, 320)
    assert len(few.positions) == 40 < len(many.positions)
    assert few.descriptors.shape == (40, DESCRIPTOR_BYTES) and few.descriptors.dtype == np.uint8
    assert few.positions.dtype == np.uint16 and few.size == (320, 200)
    strongest = set(map(tuple, many.positions[:60].tolist()))  # a spot may have several directions
    assert set(map(tuple, few.positions.tolist())) <= strongest


def test_positions_are_shares_of_width_and_height() -> None:
    photo = Image.new("RGB", (400, 200), "white")
    photo.paste("black", (296, 96, 304, 104))  # its centre is at (300, 100)
    found = detect(photo, 1, 400).positions / SCALE
    assert found == pytest.approx(np.array([[0.75, 0.5]]), abs=0.01)


def test_large_photo_is_scaled_down_to_the_side() -> None:
    photo = textured(640, 480)
    assert detect(photo, 10, 320).size == (320, 240)
    assert detect(photo, 10, 1000).size == (640, 480)


@pytest.mark.parametrize(
    "photo", [Image.new("RGB", (64, 64), "grey"), Image.new("RGB", (1, 1)), Image.new("L", (900, 2))]
)
def test_photo_without_structure_has_no_keypoints(photo: Image.Image) -> None:
    found = detect(photo, 100, 300)
    assert found.descriptors.shape == (0, DESCRIPTOR_BYTES) and found.positions.shape == (0, 2)


def test_broken_photo_is_an_error() -> None:
    with pytest.raises(ImageReadError):
        detect(encoded(textured(64, 64), "PNG")[:60], 100, 300)


def test_packed_descriptors_are_told_apart_as_well_as_the_given_ones() -> None:
    photo = np.asarray(textured(320, 240).convert("L"))
    _, found = cv2.SIFT.create(200).detectAndCompute(photo, None)
    noisy = np.abs(found + np.random.default_rng(0).normal(0, 15, found.shape)).astype(np.float32)
    packed = pack(found)
    assert packed.shape == (len(found), DESCRIPTOR_BYTES)
    vectors = unpack(packed)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    nearest = (unpack(pack(noisy)) @ vectors.T).argmax(1)
    assert (nearest == np.arange(len(found))).mean() > 0.95


def _keypoints(*counts: int) -> list[PhotoKeypoints]:
    rng = np.random.default_rng(len(counts))
    return [
        PhotoKeypoints(
            rng.integers(0, 256, (n, DESCRIPTOR_BYTES), dtype=np.uint8),
            rng.integers(0, SCALE, (n, 2), dtype=np.uint16),
            (10, 10),
        )
        for n in counts
    ]


def test_keypoints_are_taken_and_joined_by_photo() -> None:
    photos = _keypoints(3, 0, 5, 2)
    everything = Keypoints.of(photos)
    assert len(everything) == 4 and everything.total == 10
    assert everything.since(0).offsets.tolist() == [0, 3, 3, 8, 10]
    chosen, expected = everything.take([2, 1]), Keypoints.of([photos[2], photos[1]])
    joined = Keypoints.of(photos[:2]).joined(Keypoints.of(photos[2:]))
    for found, wanted in ((chosen, expected), (joined, everything)):
        for i in range(len(wanted)):
            for part, expected_part in zip(found.of_photo(i), wanted.of_photo(i), strict=True):
                assert np.array_equal(part, expected_part)
    for i, photo in enumerate(photos):
        descriptors, positions = joined.of_photo(i)
        assert np.array_equal(descriptors, photo.descriptors) and np.array_equal(positions, photo.positions)
    later = joined.since(1)
    assert len(later) == 3 and np.array_equal(later.values, everything.since(1).values)


def test_keypoints_of_no_photos_are_empty() -> None:
    nothing = Keypoints.of([])
    assert len(nothing) == 0 and nothing.since(0).values.shape == (0, KEYPOINT_BYTES)
    assert len(nothing.joined(Keypoints.of(_keypoints(2)))) == 1
