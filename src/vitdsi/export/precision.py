"""Smaller graphs: weights that are stored in float16, and computed with in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitdsi.errors import UsageError

__all__ = ["PRECISIONS", "SMALL", "check_precision", "store_weights"]

PRECISIONS = ("float32", "float16")
SMALL = 1024
"""A tensor of fewer numbers is left as it is."""


def check_precision(precision: str) -> None:
    """Raise a UsageError unless a precision is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}; choose {' or '.join(PRECISIONS)}")


def store_weights(path: Path, precision: str) -> None:
    """Store the weights of a graph in another type.

    The graph turns them into float32 again. ONNX Runtime does so once, when it opens the graph, so that a search takes
    as long as without.

    Args:
        path: the file, which is written again.
        precision: one of `PRECISIONS`.
    """
    if precision == "float32":
        return
    import onnx

    model = onnx.load(path)
    nodes = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= SMALL:
            name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
            if np.abs(values).max() > np.finfo(np.float16).max:
                continue
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.stored"))
            nodes.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)
