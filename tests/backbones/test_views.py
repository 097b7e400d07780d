from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_backbones import ToyBackbone

from vitdsi.backbones.reader import FeatureReader
from vitdsi.backbones.views import read_views
from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import Pixels, Source, decode

SHADES = [np.full((20, 20, 3), shade, np.uint8) for shade in (10, 60, 110)]


def brighter(made: list[tuple[int, int]]) -> object:
    """Views that are brighter by 10 for each view, and that remember what was made."""

    def make(i: int, source: Source, wanted: Sequence[int]) -> list[Pixels]:
        made.extend((i, view) for view in wanted)
        return [np.asarray(decode(source).resize((16, 16))) + np.uint8(10 * view) for view in wanted]

    return make


def read(cache: Path | None, made: list[tuple[int, int]], views: int = 2) -> torch.Tensor:
    reader = FeatureReader("pooled", backbone="toy", cache=cache)
    names = [[f"{i} {view}" for view in range(views)] for i in range(3)]
    return read_views(reader, SHADES, names, brighter(made), "test")  # type: ignore[arg-type]


def test_views_have_their_places(toy: type[ToyBackbone]) -> None:
    views = read(None, [])
    shades = torch.tensor([[10.0, 20], [60, 70], [110, 120]]) / 255
    torch.testing.assert_close(views, shades[..., None].expand(-1, -1, 3).half(), atol=1e-3, rtol=1e-3)


def test_only_views_that_are_not_cached_are_made(toy: type[ToyBackbone], tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []
    first = read(tmp_path, made)
    assert sorted(made) == [(i, view) for i in range(3) for view in range(2)]
    made.clear()
    more = read(tmp_path, made, views=3)
    assert sorted(made) == [(0, 2), (1, 2), (2, 2)]
    assert torch.equal(more[:, :2], first)


def test_a_photo_that_cannot_be_read_is_an_error(toy: type[ToyBackbone], tmp_path: Path) -> None:
    reader = FeatureReader("pooled", backbone="toy")
    with pytest.raises(ImageReadError, match="gone"):
        read_views(reader, [tmp_path / "gone.png"], [["name"]], brighter([]), "test")  # type: ignore[arg-type]


def test_no_photos_have_no_views(toy: type[ToyBackbone]) -> None:
    reader = FeatureReader("pooled", backbone="toy")
    assert read_views(reader, [], [], brighter([]), "test").shape == (0, 0, 3)  # type: ignore[arg-type]
