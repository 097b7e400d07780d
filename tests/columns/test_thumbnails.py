from __future__ import annotations

import numpy as np
import torch
from helpers_images import photo

from vitdsi.columns.thumbnails import Thumbnails


def pictures(count: int) -> torch.Tensor:
    images = [photo(seed=i, width=64, height=64).convert("L").resize((32, 32)) for i in range(count)]
    return torch.from_numpy(np.stack([np.array(image) for image in images]))


def test_picture_is_nearly_the_same_in_182_bytes() -> None:
    given = pictures(30)
    made = Thumbnails.of(given)
    assert made.rows.since(0).shape == (30, 182)
    found = made.all()
    assert found.shape == given.shape and found.dtype == torch.uint8
    both = [
        part.float().flatten(1) - part.float().flatten(1).mean(1, keepdim=True) for part in (given, found)
    ]
    assert torch.nn.functional.cosine_similarity(*both).min() > 0.97
    assert (given.float() - found.float()).abs().mean() < 4


def test_picture_of_one_brightness_is_exact() -> None:
    given = torch.tensor([0, 7, 255], dtype=torch.uint8)[:, None, None].expand(3, 32, 32)
    assert torch.equal(Thumbnails.of(given).all(), given)


def test_joined_and_taken_thumbnails_are_those_that_were_given() -> None:
    given = pictures(9)
    made = Thumbnails.of(given[:6]).joined(given[6:])
    whole = Thumbnails.of(given).all()
    assert len(made) == 9 and torch.equal(made.all(), whole)
    ids = np.array([8, 0, 6])
    assert torch.equal(made.at(ids), whole[ids]) and torch.equal(made.take(ids).all(), whole[ids])
    assert len(made.joined(given[:0])) == 9 and Thumbnails.of(given[:0]).all().shape == (0, 32, 32)
