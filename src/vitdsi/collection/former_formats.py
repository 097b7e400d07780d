"""Former formats: what the description of an index meant in earlier versions."""

from __future__ import annotations

from typing import Any

__all__ = ["upgraded"]


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `index.json` of any readable format as the present format has it.

    Format 1 had embeddings of the features without square roots, and is not readable. In format 2 the part "features"
    was called "tokens", and settings had other keys. Up to format 3, removed ids had no code, probabilities were
    normalised over live ids, and embeddings had no part for categories. Up to format 4, nothing was learned from hard
    views, and there were no keypoints.
    """
    version = manifest["format_version"]
    if version < 4:
        manifest["resolved"] = manifest.get("resolved", manifest.get("config"))
        manifest["resolved"]["model"]["category_dim"] = 0
    if version < 5:
        manifest["resolved"]["training"]["hard_views"] = 0
    if version == 2:
        manifest["files"] = {
            {"tokens": "features"}.get(part, part): name for part, name in manifest["files"].items()
        }
        manifest["requested"] = manifest["config"]
    return manifest
