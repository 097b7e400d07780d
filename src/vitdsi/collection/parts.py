"""The parts of an index on disk: how each part of a state is written to a file and read from it.

Weights and arrays are safetensors, which are memory-mapped: what is not used is not read, and processes share what is.
The rest is JSON and SQLite; nothing is pickled.

Some parts have a row for each image and are written in segments: a file has the rows of the ids from one on, and what
is already in other files is not written again (`vitdsi.columns.segments`). Weights of the model that belong to one
image each are a part of their own, in segments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from vitdsi.collection.validation import check_array, check_numbers, check_offsets
from vitdsi.collection.weights import shared_weights, weights_of_images
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.columns.segments import Array, Column, Ragged
from vitdsi.columns.thumbnails import THUMBNAIL_BYTES, Thumbnails
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.codes import Vocabulary
from vitdsi.ids.trie import NONE, Trie
from vitdsi.photos.keypoints import KEYPOINT_BYTES, Keypoints
from vitdsi.state import HeldOut, IndexState, TextGap

__all__ = [
    "GROWING",
    "PARTS",
    "SEGMENTED",
    "Files",
    "absent",
    "holds",
    "read_parts",
    "write_part",
]

PARTS = {
    "model": "safetensors",
    "rows": "safetensors",
    "trie": "safetensors",
    "ids": "safetensors",
    "live": "safetensors",
    "differences": "safetensors",
    "held_out": "safetensors",
    "metadata": "sqlite",
    "features": "safetensors",
    "thumbnails": "safetensors",
    "keypoints": "safetensors",
    "decisions": "json",
}
"""The parts, and what the names of their files end with."""

SEGMENTED = ("rows", "trie", "ids", "metadata", "features", "thumbnails", "keypoints")
"""The parts that are written in segments."""

GROWING = ("model", "live", "held_out", *SEGMENTED)
"""The parts that change when images are added."""

Files: TypeAlias = Mapping[str, Sequence[Path]]
"""The files of each part, in order."""


def absent(state: IndexState, part: str) -> bool:
    """Return whether a state has nothing that belongs into a part."""
    if part == "decisions":
        return not state.decisions
    if part == "rows":
        return not state.model.head.compares
    return part in ("held_out", "features", "thumbnails", "keypoints") and getattr(state, part) is None


def write_part(part: str, file: Path, state: IndexState, first: int = 0) -> None:
    """Write a part of a state to a file; of a part in segments, the rows of the ids from `first` on."""
    if part == "metadata":
        state.metadata.save(file, first)
    elif part == "decisions":
        file.write_text(json.dumps({"keep_both": state.decisions}), "utf-8")
    else:
        tensors, texts = _WRITTEN[part](state, first)
        lists = {name: json.dumps(values) for name, values in texts.items()}
        # Not that of safetensors.torch, which makes a type of ctypes for each size and keeps it for ever.
        arrays = {name: value.cpu().contiguous().numpy() for name, value in tensors.items()}
        save_file(arrays, file, lists or None)


_Content: TypeAlias = "tuple[dict[str, Tensor], dict[str, Sequence[str]]]"


def _trie(state: IndexState, first: int) -> _Content:
    return {"codes": state.trie.tree.small_codes[first:]}, {}


def _ids(state: IndexState, first: int) -> _Content:
    arrays = {**state.image_ids.since(first), "content": state.hashes.rows.since(first)}
    texts: dict[str, Sequence[str]] = {}
    if state.labels is not None:
        arrays["labels"] = state.labels.rows.since(first)
        texts["classes"] = state.labels.classes
    return _tensors(arrays), texts


def _live(state: IndexState, first: int) -> _Content:
    """The live ids, and those that have a code, as bits."""
    pad = state.trie.vocabulary.pad
    masks = {"live": state.trie.live, "coded": state.trie.tree.small_codes[:, 0] != pad}
    return _tensors({name: np.packbits(mask.numpy()) for name, mask in masks.items()}), {}


def _differences(state: IndexState, first: int) -> _Content:
    tensors = {"differences": state.differences.half()}
    if state.text_gap is not None:
        gap = state.text_gap
        tensors["text_gap"] = torch.stack([gap.text_mean, gap.photo_mean])
        tensors["text_gap_scale"] = torch.tensor([gap.scale, gap.pairs], dtype=torch.float64)
    return tensors, {}


def _held_out(state: IndexState, first: int) -> _Content:
    assert state.held_out is not None
    views = state.held_out
    return {"features": views.features, "ids": views.ids}, {} if views.labels is None else {
        "labels": views.labels
    }


def _features(state: IndexState, first: int) -> _Content:
    assert state.features is not None
    return {"features": state.features[first:]}, {}


def _thumbnails(state: IndexState, first: int) -> _Content:
    assert state.thumbnails is not None
    return _tensors({"thumbnails": state.thumbnails.rows.since(first)}), {}


def _keypoints(state: IndexState, first: int) -> _Content:
    assert state.keypoints is not None
    return _tensors(vars(state.keypoints.since(first))), {}


_WRITTEN: dict[str, Callable[[IndexState, int], _Content]] = {
    "model": lambda state, first: (shared_weights(state.model), {}),
    "rows": lambda state, first: (weights_of_images(state.model, first), {}),
    "trie": _trie,
    "ids": _ids,
    "live": _live,
    "differences": _differences,
    "held_out": _held_out,
    "features": _features,
    "thumbnails": _thumbnails,
    "keypoints": _keypoints,
}


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.require(value, requirements=["C", "W"])) for name, value in arrays.items()
    }


def holds(part: str, file: Path, state: IndexState, first: int = 0, last: int | None = None) -> bool:
    """Return whether a file has the tensors of a part as they are, of `rows` those of the ids `first` to `last` - 1."""
    now = weights_of_images(state.model, first, last) if part == "rows" else _WRITTEN[part](state, first)[0]
    stored = load_file(file)
    return stored.keys() == now.keys() and all(
        value.dtype == stored[name].dtype and torch.equal(value.cpu(), stored[name])
        for name, value in now.items()
    )


def read_parts(files: Files, base: int, lineage: str) -> dict[str, Any]:
    """Read all parts but the model; return them as arguments of `IndexState`.

    Raises:
        ValueError: the parts do not fit together. Broken files raise other exceptions, too.
    """
    ids = [_arrays(file) for file in files["ids"]]
    for part in ids:
        _check_ids(part)
    names = Names.from_arrays(ids, lineage)
    labels = None
    if "labels" in ids[-1]:
        classes = _list(files["ids"][-1], "classes") or []
        labels = Labels(classes, Column([part["labels"] for part in ids]))
        check_numbers("the classes of images", labels.numbers, len(classes))
    parts: dict[str, Any] = {
        "trie": _read_trie(files, base, len(names)),
        "image_ids": names,
        "labels": labels,
        "hashes": ContentHashes(Column([part["content"] for part in ids])),
        "features": None,
        "thumbnails": None,
        "keypoints": None,
        "metadata": MetadataStore.load(*files["metadata"]),
        "held_out": None,
        "decisions": (),
        **read_differences(load_file(files["differences"][0])),
    }
    if "features" in files:
        read = [load_file(file)["features"] for file in files["features"]]
        parts["features"] = read[0] if len(read) == 1 else torch.cat(read)
    if "thumbnails" in files:
        pictures = [_arrays(file)["thumbnails"] for file in files["thumbnails"]]
        for array in pictures:
            check_array("thumbnails", array, "uint8", None, THUMBNAIL_BYTES)
        parts["thumbnails"] = Thumbnails(Column(pictures))
    if "keypoints" in files:
        segments = [Ragged(**_arrays(file)) for file in files["keypoints"]]
        for segment in segments:
            check_array("keypoints", segment.values, "uint8", None, KEYPOINT_BYTES)
            check_offsets("offsets of keypoints", segment.offsets, len(segment.values))
        parts["keypoints"] = Keypoints(segments)
    if "held_out" in files:
        (file,) = files["held_out"]
        views = load_file(file)
        check_numbers("ids of held-out views", views["ids"], len(names), first=NONE)
        if len(views["ids"]) != len(views["features"]):
            raise ValueError("held-out views and their ids do not fit together")
        parts["held_out"] = HeldOut(views["features"], views["ids"], _list(file, "labels"))
    if "decisions" in files:
        parts["decisions"] = read_decisions(files["decisions"][0])
    for name in ("trie", "labels", "hashes", "features", "thumbnails", "keypoints"):
        rows = parts[name].live if name == "trie" else parts[name]
        if rows is not None and len(rows) != len(names):
            raise ValueError(f"it has {len(names)} image_ids, and {name} for {len(rows)}")
    return parts


def _check_ids(arrays: Mapping[str, Array]) -> None:
    count = len(arrays["order"])
    check_offsets("offsets of names", arrays["offsets"], len(arrays["text"]))
    for name, kind in {"text": "uint8", "hashes": "int64", "order": "int32", "content": "int64"}.items():
        check_array(name, arrays[name], kind, None if name in ("text", "content") else count)
    check_numbers("rows of names", arrays["order"], count)


def _read_trie(files: Files, base: int, count: int) -> Trie:
    codes = [load_file(file)["codes"] for file in files["trie"]]
    for part in codes:
        check_array("codes", part.numpy(), "int", None, None)
        check_numbers("tokens of codes", part, Vocabulary(base).pad + 1)
    length, pad = max(part.shape[1] for part in codes), Vocabulary(base).pad
    codes = [torch.nn.functional.pad(part, (0, length - part.shape[1]), value=pad) for part in codes]
    joined = codes[0] if len(codes) == 1 else torch.cat(codes)
    (file,) = files["live"]
    live, coded = (
        torch.from_numpy(np.unpackbits(bits, count=count).astype(bool))
        for bits in (_arrays(file)[name] for name in ("live", "coded"))
    )
    if not bool(coded.all()):
        joined = joined.masked_fill(~coded[:, None], pad)
    return Trie(joined, base, live)


def read_differences(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what was measured of alterations and texts, as arguments of `IndexState`."""
    gap = None
    if "text_gap" in tensors:
        scale, pairs = tensors["text_gap_scale"].tolist()
        text_mean, photo_mean = tensors["text_gap"]
        gap = TextGap(text_mean, photo_mean, scale, int(pairs))
    return {"differences": tensors["differences"], "text_gap": gap}


def read_decisions(file: Path) -> tuple[tuple[str, str], ...]:
    """Read the pairs of near-identical images that are to be kept both."""
    pairs = json.loads(file.read_text("utf-8"))["keep_both"]
    return tuple((str(first), str(second)) for first, second in pairs)


def _arrays(file: Path) -> dict[str, Array]:
    return {name: value.numpy() for name, value in load_file(file).items()}


def _list(file: Path, name: str) -> list[str] | None:
    """Read a list of texts that stands beside the tensors of a file, or None if there is none."""
    with safe_open(file, "pt") as opened:
        text = (opened.metadata() or {}).get(name)
    return None if text is None else [str(value) for value in json.loads(text)]
