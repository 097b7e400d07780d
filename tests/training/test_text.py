from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch

from vitdsi.backbones.reader import FeatureReader
from vitdsi.training.text import measure_text_gap, with_text_differences

WIDTH, COUNT = 16, 40


class TextReader:
    """Reads a text as the row of `texts` whose number it is, and any other text as a random vector."""

    def __init__(self, texts: torch.Tensor, reads_text: bool = True) -> None:
        self.texts, self.reads_text = texts, reads_text

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.stack(
            [
                self.texts[int(t)] if t.isdigit() else 2 + torch.randn(WIDTH, generator=generator)
                for t in texts
            ]
        )


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(0))


def reader(texts: torch.Tensor, reads_text: bool = True) -> FeatureReader:
    return cast("FeatureReader", TextReader(texts, reads_text))


def captions(count: int = COUNT) -> dict[int, str]:
    return {i: str(i) for i in range(count)}


def test_pairs_that_differ_by_a_shift_and_a_scale_have_no_difference_left(photos: torch.Tensor) -> None:
    texts = 0.25 * photos + 3
    gap, differences = measure_text_gap(photos, captions(), reader(texts), 0, 10)
    assert gap.pairs == COUNT and gap.scale == pytest.approx(4)
    torch.testing.assert_close(gap.closed(texts), photos, atol=1e-4, rtol=0)
    assert differences.shape == (10, WIDTH) and differences.abs().max() < 1e-4


def test_differences_of_pairs_are_those_of_captions_and_their_photos(photos: torch.Tensor) -> None:
    texts = photos + 0.5 * torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(5))
    gap, differences = measure_text_gap(photos, captions(), reader(texts), 0, 99)
    expected = gap.closed(texts) - photos
    assert sorted(differences.norm(dim=1).tolist()) == pytest.approx(sorted(expected.norm(dim=1).tolist()))


@pytest.mark.parametrize(
    "given", [{}, captions(7), dict.fromkeys(range(COUNT), " ")], ids=["no", "few", "blank"]
)
def test_without_enough_captions_differences_are_as_long_as_photos_are_far_from_their_mean(
    photos: torch.Tensor, given: dict[int, str]
) -> None:
    gap, differences = measure_text_gap(photos, given, reader(photos), 0, 500)
    assert gap.pairs == 0
    torch.testing.assert_close(gap.photo_mean, photos.mean(0))
    assert 1.5 < float(gap.text_mean.mean()) < 2.5
    spread = (photos - photos.mean(0)).square().sum(1).mean().sqrt()
    assert differences.shape == (500, WIDTH)
    assert float(differences.square().sum(1).mean().sqrt()) == pytest.approx(float(spread), rel=0.1)


def test_one_seed_gives_one_result(photos: torch.Tensor) -> None:
    one, two, other = (measure_text_gap(photos, {}, reader(photos), seed, 5)[1] for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_half_of_the_differences_are_those_of_texts(photos: torch.Tensor) -> None:
    measured = torch.ones(60, WIDTH)
    gap, differences = with_text_differences(measured, photos, {}, reader(photos), 0)
    assert gap is not None
    assert len(differences) == 120 and torch.equal(differences[:60], measured)


def test_a_backbone_without_text_changes_nothing(photos: torch.Tensor) -> None:
    measured = torch.ones(60, WIDTH)
    assert with_text_differences(measured, photos, captions(), reader(photos, False), 0) == (None, measured)
