"""Ways to make the graphs of an export smaller: bytes, time, and agreement with float32.

    python benchmarks/quantized.py photos.dsi QUERIES --images PHOTOS [--count 200] > results/web/quantized.json

Beside the precisions of `vitdsi export`, of which int8 is calibrated with photos of PHOTOS, each weight of the graph
that reads photos is rounded to the nearest number of int8, with which it computes in float32; or that graph is
quantised by ONNX Runtime: dynamically, or statically with the activations of 100 photos of QUERIES that are not
searched for. Each way answers `--count` photos, read as a whole and without verification.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from locked import commit_of
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from web import agreement, in_python

from vitdsi import ImageIndex
from vitdsi.export.precision import PRECISIONS, SMALL
from vitdsi.exported.graphs import READ, STEP
from vitdsi.exported.manifest import MANIFEST
from vitdsi.photos.decode import load_square
from vitdsi.photos.find import scan_folder

_CALIBRATION = 100


class _Squares(CalibrationDataReader):
    """Squares of photos, one after the other."""

    def __init__(self, photos: Sequence[bytes], size: int) -> None:
        self._squares: Iterator[Any] = (load_square(photo, size).transpose(2, 0, 1)[None] for photo in photos)

    def get_next(self) -> dict[str, Any] | None:
        square = next(self._squares, None)
        return None if square is None else {"pixels": np.ascontiguousarray(square)}


def int8_nearest(source: Path, target: Path) -> None:
    """Round weights to the nearest number of int8, with a scale for each output channel.

    The graph turns them into float32 again.
    """
    model = onnx.load(source)
    readers = {name: node for node in model.graph.node for name in node.input[1:]}
    nodes = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        axis = 0 if readers[name].op_type in ("Conv", "Gemm") else values.ndim - 1  # of the outputs
        scale = np.abs(values).max(tuple(at for at in range(values.ndim) if at != axis), keepdims=True) / 127
        scale[scale == 0] = 1
        rounded = np.rint(values / scale).astype(np.int8)
        tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, f"{name}.stored"))
        model.graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}.scale"))
        cast = onnx.helper.make_node("Cast", [tensor.name], [f"{name}.float"], to=onnx.TensorProto.FLOAT)
        nodes += [cast, onnx.helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name])]
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    onnx.save_model(model, target)


def with_graph(export: Path, target: Path, quantize: Callable[[Path, Path], None]) -> Path:
    """Copy an export, and replace the graph that reads photos."""
    shutil.copytree(export, target)
    quantize(export / READ, target / READ)
    manifest = json.loads((target / MANIFEST).read_text("utf-8"))
    manifest["files"][READ]["bytes"] = (target / READ).stat().st_size
    (target / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return target


def main() -> None:
    """Export, quantise, search and compare; print everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    records = scan_folder(given.queries, "none")
    chosen = records[:: max(1, len(records) // given.count)][: given.count]
    photos = [record.path.read_bytes() for record in chosen]
    others = [record for record in records if record not in chosen]
    chosen = others[:: max(1, len(others) // _CALIBRATION)][:_CALIBRATION]
    calibration = [record.path.read_bytes() for record in chosen]
    index = ImageIndex.load(given.index, device="cpu")
    size = index.reader.image_size

    def dynamic(source: Path, target: Path) -> None:
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)

    def static(source: Path, target: Path) -> None:
        quantize_static(
            source,
            target,
            _Squares(calibration, size),
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        )

    commit, _ = commit_of(Path(__file__).parents[1], allow_dirty=True)
    report: dict[str, Any] = {"commit": commit, "images": len(index.image_ids_), "queries": len(photos)}
    with tempfile.TemporaryDirectory() as temporary:
        exports = {
            precision: index.export_onnx(
                Path(temporary) / precision, precision=precision, images=given.images
            )
            for precision in PRECISIONS
        }
        for name, quantize in (("int8 nearest", int8_nearest), ("dynamic", dynamic), ("static", static)):
            exports[name] = with_graph(exports["float32"], Path(temporary) / name, quantize)
        expected = in_python(exports["float32"], photos)[0]
        for name, folder in exports.items():
            found, seconds = in_python(folder, photos)
            report[name] = {
                "bytes": {graph: (folder / graph).stat().st_size for graph in (READ, STEP)},
                "processor": seconds,
                **agreement(found, expected),
            }
            print(name, report[name], file=sys.stderr, flush=True)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
