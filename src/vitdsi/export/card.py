"""The model card of a shared index: what it is, how it was measured, and what was not measured."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from vitdsi.export.sharable import Sharing
from vitdsi.state import Change, IndexState

__all__ = ["model_card"]

_NO_FIGURE = "not measured"


def model_card(
    state: IndexState, repo_id: str, sharing: Sharing, sizes: Mapping[str, int], license: str | None = None
) -> str:
    """Render the card of an index in Markdown, with the metadata that the hub reads.

    Args:
        state: the index as it is shared.
        repo_id: the name of its repository.
        sharing: what of it is shared.
        sizes: the bytes of each part.
        license: an identifier of the hub, such as `cc-by-4.0`; None says that no licence was given.
    """
    return "\n".join([*_front(state, license), "", *_body(state, repo_id, sharing, sizes, license), ""])


def _front(state: IndexState, license: str | None) -> list[str]:
    import yaml  # type: ignore[import-untyped]

    facts: dict[str, Any] = {
        "library_name": "vitdsi",
        "tags": ["vitdsi", "image-retrieval", "generative-retrieval", "differentiable-search-index"],
    }
    if license is not None:
        facts["license"] = license
    if "/" in state.resolved.model.backbone:
        facts["base_model"] = state.resolved.model.backbone
    return ["---", *yaml.safe_dump(facts, sort_keys=False).splitlines(), "---"]


def _body(
    state: IndexState, repo_id: str, sharing: Sharing, sizes: Mapping[str, int], license: str | None
) -> list[str]:
    labels = state.resolved.labels == "folder"
    sense = "something of the same class" if labels else "the same picture"
    return [
        f"# {repo_id.split('/')[-1]}",
        "",
        f"An index of {len(state.image_ids):,} images, made with vitdsi {_version()}: a small model over a"
        " frozen backbone that writes the ids of the images that are relevant to a photo. The images themselves are not"
        " in it.",
        "",
        "```python",
        "from vitdsi import ImageIndex",
        "",
        f'index = ImageIndex.from_pretrained("{repo_id}")',
        'index.search("query.jpg", k=5)',
        "```",
        "",
        "## The index",
        "",
        *_table(_facts(state, sizes)),
        "",
        "## What was measured",
        "",
        *_table(_figures(state, sense)),
        "",
        "## What was not measured",
        "",
        *[f"- {line}" for line in _gaps(state, sharing)],
        "",
        "## What it contains",
        "",
        *[f"- Contained: {line}." for line in sharing.shared()],
        *[f"- Left out: {line}." for line in sharing.left_out()],
        "",
        "The weights hold a vector for each image: whoever has a photo can tell whether it is in the index.",
        "",
        "## Licence",
        "",
        f"{license}, for the index." if license else "No licence was given by whoever shared this index.",
        "The weights of the backbone, which are not contained, and the images have licences of their own.",
    ]


def _facts(state: IndexState, sizes: Mapping[str, int]) -> dict[str, str]:
    model, trie = state.resolved.model, state.trie
    return {
        "images": f"{len(state.image_ids):,}",
        "relevant are": "images of the same class"
        if state.resolved.labels == "folder"
        else "neighbours, without labels",
        "backbone": f"{model.backbone}, weights {state.weights}"
        if state.weights
        else "none: the model reads pixels",
        "stem": model.stem,
        "ids": f"{state.resolved.ids.scheme}, base {trie.vocabulary.base}, up to {trie.max_length} digits",
        "parameters": f"{sum(p.numel() for p in state.model.parameters()):,}",
        "bytes": ", ".join(f"{part} {size:,}" for part, size in sizes.items()),
        "changes since the build": ", ".join(f"{change.verb} {change.images}" for change in _changes(state))
        or "none",
    }


def _figures(state: IndexState, sense: str) -> dict[str, str]:
    report, calibration = state.report, state.report.calibration
    own = report.indexing_accuracy
    views = len(calibration.inside_scores)
    return {
        "IA@1 at the build: share of the images that find themselves first": _NO_FIGURE
        if own is None
        else f"{own:.4f}",
        f"scores: probability that a result shows {sense}": f"calibrated on {views} held-out views"
        if views
        else "default weights, not calibrated",
        "score that 95 % of the held-out views reach": _NO_FIGURE
        if calibration.min_score is None
        else f"{calibration.min_score:.4f}",
    }


def _gaps(state: IndexState, sharing: Sharing) -> list[str]:
    lines = [
        "How well photos other than the indexed ones find what is relevant to them: measure it with"
        " `vitdsi evaluate` and photos of your own.",
        "How well photos that are not in the collection are recognised.",
        "Speed and memory on your computer.",
        "Whether the collection is balanced, or represents anything beyond itself.",
    ]
    if state.report.calibration.images:
        lines.append("Scores of photos of another kind than the held-out views, which are altered copies unless classes"
                     " were given.")  # fmt: skip
    if _changes(state):
        lines.append("IA@1 after the changes since the build.")
    if state.text_gap is not None:
        pairs = state.text_gap.pairs
        basis = f"{pairs} captions" if pairs else "fixed texts, without any captions"
        lines.append(f"The quality of searches by text; how texts are read was derived from {basis}.")
    if "features" not in set(sharing.include):
        lines.append(
            "The quality of later additions: the features, with which they are learned best, are left out."
        )
    return lines


def _version() -> str:
    try:
        return importlib.metadata.version("vitdsi")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _changes(state: IndexState) -> list[Change]:
    return [change for change in state.changes if change.verb != "build"]


def _table(rows: Mapping[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *[f"| {name} | {value} |" for name, value in rows.items()]]
