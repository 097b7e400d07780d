from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_images import textured
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.export.photo_graph import PHOTO, write_photo_graph
from vitdsi.photos.decode import to_square

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
@pytest.mark.parametrize("size", [(320, 240), (90, 90), (201, 160), (50, 41)])
def test_squares_are_those_of_pillow(
    size: tuple[int, int], resample: Image.Resampling, tmp_path: Path
) -> None:
    photo = textured(seed=1).resize(size)
    write_photo_graph(tmp_path, 64, resample)
    graph = onnxruntime.InferenceSession(tmp_path / PHOTO)
    side = min(size)
    left, top = ((length - side) / 2 for length in size)
    box = np.array([left, top, left + side, top + side], np.float32)
    (pixels,) = graph.run(None, {"photo": np.asarray(photo.convert("RGBA")), "box": box})
    expected = to_square(photo, 64, resample).transpose(2, 0, 1)
    assert np.abs(pixels[0].astype(int) - expected).max() <= 1


def test_a_filter_that_onnx_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resizes photos with lanczos"):
        write_photo_graph(tmp_path, 64, Image.Resampling.LANCZOS)
