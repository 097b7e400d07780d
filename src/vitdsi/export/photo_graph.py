"""The ONNX graph that makes the square of a photo which `read.onnx` reads: crop, antialiased resize."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from vitdsi.errors import UsageError

__all__ = ["PHOTO", "write_photo_graph"]

PHOTO = "photo.onnx"

_OPSET, _IR_VERSION = 18, 8  # the first opset in which a resize may be antialiased
_MODES: dict[Image.Resampling, dict[str, Any]] = {
    Image.Resampling.BILINEAR: {"mode": "linear"},
    Image.Resampling.BICUBIC: {"mode": "cubic", "cubic_coeff_a": -0.5},
}


def write_photo_graph(folder: Path, size: int, resample: Image.Resampling) -> None:
    """Write the graph from `photo` (height, width, 4), uint8, to `pixels` (1, 3, size, size), uint8.

    The rectangle between the int64 inputs `start` (top, left, 0) and `end` (bottom, right, 3) is cut out and resized
    as by Pillow: values differ by 1 at most, from rounding. At its edges `to_square` differs more, since it also reads
    what lies beside the square.

    Raises:
        UsageError: ONNX has no such filter.
    """
    from onnx import TensorProto, checker, helper, save_model

    if resample not in _MODES:
        raise UsageError(
            f"the backbone resizes photos with {resample.name.lower()}, which ONNX cannot; leave out --web"
        )
    nodes = [
        helper.make_node("Slice", ["photo", "start", "end"], ["part"]),
        helper.make_node("Transpose", ["part"], ["channels"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["channels", "first"], ["batch"]),
        # Pillow leaves out what would be outside of the photo, too.
        helper.make_node(
            "Resize",
            ["batch", "", "", "sizes"],
            ["pixels"],
            antialias=1,
            exclude_outside=1,
            **_MODES[resample],
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "photo",
        [
            helper.make_tensor_value_info("photo", TensorProto.UINT8, ["height", "width", 4]),
            helper.make_tensor_value_info("start", TensorProto.INT64, [3]),
            helper.make_tensor_value_info("end", TensorProto.INT64, [3]),
        ],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 3, size, size])],
        [
            helper.make_tensor("first", TensorProto.INT64, [1], [0]),
            helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 3, size, size]),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="vitdsi"
    )
    checker.check_model(model)
    save_model(model, folder / PHOTO)
