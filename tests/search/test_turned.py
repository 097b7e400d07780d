from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_images import photo
from PIL import Image

from vitdsi.search.turned import nearest_turned, orientations, turn_free


def thumbnails(count: int) -> torch.Tensor:
    grey = [photo(96, 96, seed=i).convert("L").resize((32, 32), Image.Resampling.BOX) for i in range(count)]
    return torch.stack([torch.from_numpy(np.array(image)) for image in grey])


def test_all_orientations_of_a_picture_have_the_same_descriptor() -> None:
    pictures = thumbnails(20)
    turned = torch.cat([orientations(picture[None]) for picture in pictures])
    vectors = turn_free(turned).view(20, 8, -1)
    torch.testing.assert_close(vectors, vectors[:, :1].expand_as(vectors), atol=1e-5, rtol=0)
    assert vectors[0, 0].norm().item() == pytest.approx(1)


def test_descriptors_of_different_pictures_differ_and_change_little_with_noise() -> None:
    pictures = thumbnails(40)
    noise = torch.randint(-6, 7, pictures.shape, generator=torch.Generator().manual_seed(0))
    noisy = (pictures + noise).clamp(0, 255).byte()
    vectors = turn_free(torch.cat([pictures, torch.rot90(noisy, 1, (1, 2))]))
    cosines = vectors[:40] @ vectors[40:].T
    assert (cosines.argmax(1) == torch.arange(40)).all()
    assert cosines.diag().min() > 0.98
    assert (cosines - torch.eye(40) * 2).max() < 0.9


def test_nearest_descriptor_is_that_of_the_turned_picture() -> None:
    pictures = thumbnails(20)
    vectors = turn_free(torch.cat([pictures, torch.rot90(pictures, 3, (1, 2))]))
    rows = nearest_turned(vectors[20:], vectors[:20])
    assert rows.shape == (20, 5)
    assert rows[:, 0].tolist() == list(range(20))
    assert nearest_turned(vectors[:2], vectors[:3]).shape == (2, 3)


def test_flat_pictures_have_finite_descriptors() -> None:
    assert turn_free(torch.full((3, 32, 32), 7, dtype=torch.uint8)).isfinite().all()


def test_orientations_are_upright_ones_first_and_all_different() -> None:
    picture = thumbnails(1)
    found = orientations(picture)
    assert torch.equal(found[0], picture[0]) and torch.equal(found[1], picture[0].flip(1))
    assert torch.equal(found[3], torch.rot90(picture[0], 2))
    assert len({tuple(each.flatten().tolist()) for each in found}) == 8
