"""Exporting an index: ONNX graphs, flat arrays and a manifest, which are searched without torch."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import UsageError
from vitdsi.export.graphs import write_graphs
from vitdsi.export.int8 import calibration_photos, quantised
from vitdsi.export.onnxruntime_web import onnxruntime_web
from vitdsi.export.precision import check_precision, store_weights
from vitdsi.export.web import Web, write_page, write_pictures
from vitdsi.exported.graphs import READ, STEP
from vitdsi.exported.manifest import FORMAT_VERSION, MANIFEST, file_hash, identity
from vitdsi.files import replace_folder
from vitdsi.model.heads import DigitHead, TrieHead
from vitdsi.model.heads.rows import CodedRows, FloatRows, Rows
from vitdsi.search.evidence import (
    FIRST_SHARPNESS,
    LOWEST_LOG_PROB,
    PART_PENALTY,
    first_place,
    relevance_weights,
)
from vitdsi.search.queries import regions_by_default
from vitdsi.search.rank import min_reranked
from vitdsi.state import IndexState

__all__ = ["export_onnx"]

Array = npt.NDArray[Any]


def export_onnx(
    state: IndexState,
    reader: FeatureReader,
    folder: Path,
    index: Path | None = None,
    *,
    precision: str = "float32",
    images: Path | None = None,
    web: Web | None = None,
) -> None:
    """Export an index to a folder, which is replaced if it is an exported index.

    Args:
        state: what the index holds, on the CPU.
        reader: what the index reads photos with, on the CPU.
        folder: where to write.
        index: the folder of the index, as the state was read from it or saved to it. The export remembers which one
            it was made from. None remembers none.
        precision: how the weights of the graphs are stored, one of `PRECISIONS`.
        images: the folder that was indexed: int8 is calibrated with some of its photos, and the page shows small
            pictures of them. Without it, the page shows the grey pictures of the index.
        web: write a page as well, which searches the export in a browser. Keypoints are then left out, since the page
            has no use for them.

    Raises:
        UsageError: the folder exists and is not an exported index, the index is not on the CPU or was changed since it
            was opened, its head cannot be exported, there is no such precision, or int8 has too few photos; or ONNX
            Runtime for browsers cannot be had, the folder of photos has none of the index, or the backbone resizes
            photos as ONNX cannot.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} exists and is not an exported index; give another output")
    model = state.model
    if next(model.parameters()).device.type != "cpu" or reader.device.type != "cpu":
        raise UsageError("the index is on a GPU; open it with device='cpu' to export it")
    if not isinstance(model.head, (TrieHead, DigitHead)):
        raise UsageError(f"heads of the class {type(model.head).__name__} cannot be exported")
    check_precision(precision, images)
    made_from = None if index is None else identity(index)
    if made_from is not None and made_from["generation"] != state.generation:
        raise UsageError(f"{index} was changed by another process since it was opened; open it again")
    runtime = None if web is None else onnxruntime_web(web.onnxruntime)
    backbone = reader.backbone
    if precision == "int8" and images is not None:
        backbone = quantised(backbone, reader.kind, calibration_photos(images, reader))
    with replace_folder(folder) as new:
        write_graphs(new, model, backbone, reader.kind)
        for name in (READ, STEP):
            store_weights(new / name, precision)
        arrays = _arrays(state if web is None else replace(state, keypoints=None))
        for name, array in arrays.items():
            array.tofile(new / f"{name}.bin")
        if runtime is not None:
            write_page(new, reader, runtime)
        files = {
            path.relative_to(new).as_posix(): _about(path, arrays.get(path.name.removesuffix(".bin")))
            for path in sorted(new.rglob("*"))
            if path.is_file()
        }
        manifest = {
            "format_version": FORMAT_VERSION,
            "index": made_from,
            "precision": precision,
            **_description(state, reader),
            "files": files,
        }
        if web is not None:
            pictures = write_pictures(new, state, images)
            manifest["page"] = {"name": web.name, "labels": state.resolved.labels, "pictures": pictures}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")


def _about(path: Path, array: Array | None) -> dict[str, Any]:
    about: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    if array is not None:
        about |= {"dtype": array.dtype.str, "shape": list(array.shape)}
    return about


def _description(state: IndexState, reader: FeatureReader) -> dict[str, Any]:
    """Return what a search must know beside the arrays."""
    model, calibration = state.model, state.report.calibration
    weights = relevance_weights(state)
    calibrated = calibration.images or state.reranks_by_default
    whole, parts = first_place(state), first_place(state, parts=2)
    return {
        "images": int(state.trie.live.sum()),
        "image_size": reader.image_size,
        "resample": int(reader.backbone.resample),
        "bos": model.vocabulary.bos,
        "head": "trie" if isinstance(model.head, TrieHead) else "digits",
        "reranks": state.reranks_by_default,
        "reranked": min_reranked(state),
        "regions": regions_by_default(state),
        "min_score": calibration.min_score,
        "scoring": {
            "categories": model.stem.categories,
            "part_penalty": PART_PENALTY,
            "sharpness": FIRST_SHARPNESS,
            "first": None if whole is None else whole._asdict(),
            "first_of_parts": None if parts is None else parts._asdict(),
            "log_prob": weights.log_prob,
            "picture": weights.picture,
            "category": weights.category,
            "same": weights.same,
            "same_above": weights.same_above,
            "weights": list(calibration.weights) if calibrated else None,
            "bias": calibration.bias,
            "lowest_log_prob": LOWEST_LOG_PROB,
        },
    }


def _arrays(state: IndexState) -> dict[str, Array]:
    """Return the flat arrays of an export by their names, all of them little-endian."""
    names = [os.fsencode(name) for name in state.image_ids]
    arrays = {
        "child": _numpy(state.trie.child, "<i4"),
        "live": _numpy(state.trie.live, "u1"),
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_ends": np.cumsum([len(name) for name in names], dtype="<u4"),
    }
    if state.keypoints is not None:
        kept = state.keypoints.since(0)
        arrays |= {"keypoints": kept.values, "keypoint_offsets": kept.offsets.astype("<i8")}
    head = state.model.head
    if isinstance(head, TrieHead):
        arrays |= {
            "leaves": _rows(head.leaves),
            "leaf_bias": _numpy(head.leaf_bias, "<f4"),
            "branches": _rows(head.branches),
            "branch_bias": _numpy(head.branch_bias, "<f4"),
        }
        if head.centres is not None:
            arrays["centres"] = _numpy(head.centres.values, "<f4")
    return arrays


def _rows(rows: Rows) -> Array:
    if isinstance(rows, CodedRows):
        return _numpy(rows.codes, "u1")
    assert isinstance(rows, FloatRows)
    return _numpy(rows.weight, "<f4")


def _numpy(values: Tensor, dtype: str) -> Array:
    made: Array = np.ascontiguousarray(values.detach().cpu().numpy().astype(dtype))
    return made
