"""A summary of an index: its size, ids, settings, last changes and report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitdsi.collection.storage import sizes
from vitdsi.ids.capacity import capacity_left
from vitdsi.photos.keypoints import KEYPOINT_BYTES, Keypoints
from vitdsi.state import IndexState

_MAX_CHANGES = 10


def info(state: IndexState, path: Path | None) -> dict[str, Any]:
    """Summarise an index as JSON values; for a stored index, with the bytes of each part."""
    trie = state.trie
    live = trie.live_ids()
    facts: dict[str, Any] = {
        "images": len(live),
        "removed": len(trie.codes) - len(live),
        "scheme": state.resolved.ids.scheme,
        "base": trie.vocabulary.base,
        "digits": trie.max_length,
        "capacity_left": capacity_left(trie.codes.numpy(), trie.live.numpy(), trie.vocabulary.base),
        "inner_nodes": trie.num_nodes,
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "labels": state.resolved.labels,
        "stem": state.resolved.model.stem,
        "keypoints": None if state.keypoints is None else _keypoints(state.keypoints),
        "backbone": state.resolved.model.backbone if state.weights else None,
        "weights": state.weights,
        "text_pairs": None if state.text_gap is None else state.text_gap.pairs,
        "metadata": state.metadata.columns(),
        "report": _report(state),
        "changes": [asdict(change) for change in state.changes[-_MAX_CHANGES:]],
    }
    if path is not None:
        facts["bytes"] = sizes(path)
    return facts


def _keypoints(keypoints: Keypoints) -> dict[str, float]:
    """Return how many keypoints an image has, and their bytes."""
    count = max(1, len(keypoints))
    size = KEYPOINT_BYTES * keypoints.total + 8 * count
    return {
        "per_image": round(keypoints.total / count, 1),
        "bytes_per_image": round(size / count, 1),
    }


def _report(state: IndexState) -> dict[str, Any]:
    """Return the report of the build without its lists, which are long."""
    report = state.report.as_dict()
    report["calibration"] = {
        name: value for name, value in report["calibration"].items() if name != "inside_scores"
    }
    return {name: value for name, value in report.items() if not isinstance(value, list)}
