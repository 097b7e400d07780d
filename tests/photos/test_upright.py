from __future__ import annotations

import numpy as np
import pytest
from helpers_images import difference, photo
from PIL import Image

from vitdsi.photos import upright
from vitdsi.photos.upright import upright_rgb


def _deep(dtype: type, scale: float) -> Image.Image:
    return Image.fromarray((np.asarray(photo().convert("L"), np.float64) * scale).astype(dtype))


@pytest.mark.parametrize(
    "image",
    [_deep(np.uint16, 257), _deep(np.int32, 90), _deep(np.float32, 1 / 255), photo().convert("RGBA")],
    ids=["I;16", "I", "F", "RGBA"],
)
def test_bands_of_rows_give_what_the_whole_image_gives(
    image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    if image.mode == "RGBA":
        image.putalpha(photo().convert("L"))
    whole = upright_rgb(image)
    monkeypatch.setattr(upright, "_BAND_PIXELS", 7 * image.width)
    assert difference(upright_rgb(image), whole) == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_image_is_kept_unless_it_is_released(mode: str) -> None:
    image = photo().convert(mode)
    assert difference(upright_rgb(image), upright_rgb(image)) == 0
