from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from vitdsi.backbones.preprocessing import Preprocessing
from vitdsi.errors import ConfigError


def processor(**values: Any) -> SimpleNamespace:
    """An image processor with these values and no others."""
    known = {"image_mean": [0.5, 0.25, 0.0], "image_std": [0.5, 1.0, 2.0], "rescale_factor": 1 / 255}
    return SimpleNamespace(**{"size": {"shortest_edge": 8}} | known | values)


def test_values_are_scaled_and_normalised_by_channel() -> None:
    made = Preprocessing.of(processor(), "m")
    pixels = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    torch.testing.assert_close(made(pixels)[0, :, 0, 0], torch.tensor([1.0, 0.75, 0.5]))
    plain = Preprocessing.of(processor(do_normalize=False, do_rescale=False), "m")
    assert plain(pixels).unique().tolist() == [255.0]


def test_centre_is_cut_out_of_the_square() -> None:
    crop = processor(size={"shortest_edge": 8}, do_center_crop=True, crop_size={"height": 4, "width": 4})
    made = Preprocessing.of(crop, "m")
    assert (made.image_size, made.crop) == (8, 4)
    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    pixels[..., 2:6, 2:6] = 255
    assert (made(pixels)[0, 0] == 1).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": {"height": 8, "width": 8}}, (8, 8)),
        (
            {"size": {"shortest_edge": 6}, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}},
            (8, 8),
        ),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (256, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384)),
    ],
)
def test_sizes_follow_the_processor(values: dict[str, Any], expected: tuple[int, int]) -> None:
    made = Preprocessing.of(processor(**values), "m")
    assert (made.image_size, made.crop) == expected


def test_channels_are_reversed_for_models_that_expect_blue_first() -> None:
    made = Preprocessing.of(processor(do_normalize=False, do_flip_channel_order=True), "m")
    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    pixels[:, 0] = 255
    assert made(pixels)[0, :, 0, 0].tolist() == [0.0, 0.0, 1.0]


def test_filter_is_that_of_the_processor() -> None:
    assert Preprocessing.of(processor(resample=3), "m").resample == Image.Resampling.BICUBIC
    assert Preprocessing.of(processor(resample=2), "m").resample == Image.Resampling.BILINEAR


def test_key_depends_on_every_value() -> None:
    given: list[dict[str, Any]] = [
        {},
        {"image_mean": [0.5, 0.25, 0.1]},
        {"resample": 3},
        {"size": {"shortest_edge": 9}},
        {"do_flip_channel_order": True},
    ]
    assert len({Preprocessing.of(processor(**values), "m").key() for values in given}) == len(given)


@pytest.mark.parametrize("size", [{"height": 8, "width": 6}, {"longest_edge": 8}, None])
def test_models_that_read_no_squares_are_refused(size: dict[str, int] | None) -> None:
    with pytest.raises(ConfigError, match=r"model.backbone is 'm', whose image processor has the size \{"):
        Preprocessing.of(processor(size=size), "m")
