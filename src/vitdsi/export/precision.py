"""Smaller graphs: weights that are stored in float16 or int8, and computed with in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError

__all__ = ["PRECISIONS", "SMALL", "check_precision", "store_weights", "whole_multiples"]

PRECISIONS = ("float32", "float16", "int8")
SMALL = 1024
"""A tensor of fewer numbers is left as it is."""

_STEPS = 127  # the largest multiple of a scale
_LEAST_IN_ROW = 8  # numbers for which a scale is worth its bytes
_EXACT = 1e-5  # relative to the largest number of a row: a thousandth of a step

_Floats = npt.NDArray[np.float32]


def check_precision(precision: str, images: Path | None) -> None:
    """Raise a UsageError unless a precision is one of `PRECISIONS`, and int8 has photos to calibrate with."""
    if precision not in PRECISIONS:
        *others, last = PRECISIONS
        raise UsageError(f"precision is {precision!r}; choose {', '.join(others)} or {last}")
    if precision == "int8" and images is None:
        raise UsageError(
            "int8 needs photos to calibrate with; give the folder that was indexed: --images DIR, or images=DIR"
        )


def store_weights(path: Path, precision: str) -> None:
    """Store the weights of a graph in other types.

    With int8, a tensor that consists of whole multiples of scales is stored as these, which loses nothing. All other
    large tensors are stored in float16. The graph turns both into float32 again. ONNX Runtime does so once, when it
    opens the graph, so that a search takes as long as without.

    Args:
        path: the file, which is written again.
        precision: one of `PRECISIONS`.
    """
    if precision == "float32":
        return
    import onnx

    model = onnx.load(path)
    _move_constants(model.graph)
    nodes = []

    def store(tensor: Any, values: npt.NDArray[Any], name: str) -> None:
        """Replace a tensor by values in another type, which a node turns into float32 of this name."""
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}.stored"))
        nodes.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))

    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        multiples = whole_multiples(values) if precision == "int8" else None
        if multiples is not None:
            steps, scale = multiples
            store(tensor, steps, f"{name}.steps")
            model.graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}.scale"))
            nodes.append(onnx.helper.make_node("Mul", [f"{name}.steps", f"{name}.scale"], [name]))
        elif np.abs(values).max() <= np.finfo(np.float16).max:
            store(tensor, values.astype(np.float16), name)
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def _move_constants(graph: Any) -> None:
    """Turn nodes of constants into initializers, which is what the exporter makes of parameters of the module only.

    The weights of a backbone that is no module itself are constants.
    """
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        tensor = node.attribute[0].t
        if node.attribute[0].name == "value" and np.prod(tensor.dims) >= SMALL:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            graph.node.remove(node)


def whole_multiples(values: _Floats) -> tuple[npt.NDArray[np.int8], _Floats] | None:
    """Return values as whole numbers from -127 to 127, and scales to multiply them with, if that loses nothing.

    There is one scale for each index of the first axis, or else of the last: that of the outputs, as layers have it or
    as the exporter transposed it. None if the values are no such multiples.
    """
    for axis in (0, values.ndim - 1):
        moved = np.moveaxis(values, axis, 0)
        rows = moved.reshape(len(moved), -1)
        if rows.shape[1] < _LEAST_IN_ROW or _multiples(rows[:1]) is None:
            continue
        found = _multiples(rows)
        if found is not None:
            steps, scale = found
            shape = [len(rows) if at == axis else 1 for at in range(values.ndim)]
            made = np.moveaxis(steps.reshape(moved.shape), 0, axis)
            return np.ascontiguousarray(made), scale.reshape(shape)
    return None


def _multiples(rows: _Floats) -> tuple[npt.NDArray[np.int8], _Floats] | None:
    """Do the same for the rows of a matrix: int8 of its shape, and float32 (R, 1)."""
    largest = np.abs(rows).max(1, keepdims=True)
    largest[largest == 0] = 1
    steps, scale = np.empty(rows.shape, np.int8), np.empty_like(largest)
    left = np.arange(len(rows))
    for most in range(_STEPS, 0, -1):  # the multiple that the largest number may be
        unit = largest[left] / most
        whole = np.rint(rows[left] / unit)
        fits = (np.abs(whole * unit - rows[left]) <= _EXACT * largest[left]).all(1)
        steps[left[fits]], scale[left[fits]] = whole[fits], unit[fits]
        left = left[~fits]
        if not len(left):
            return steps, scale
    return None
