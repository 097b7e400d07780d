"""The best of several copies of a picture: the largest, least compressed and oldest file, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["best_copy"]


def best_copy(copies: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """Choose which of several copies of a picture to keep.

    It is the one with the most pixels; among equals, the one with the most bytes per pixel, which is the least
    compressed if the formats are the same; then the one that was taken first; then the first of the list.

    Args:
        copies: the facts of each copy, as `vitdsi.facts.exif.read_facts` gives them. Whatever is missing counts as
            worst.

    Returns:
        The position of the best copy, and what sets it apart from the next best one.
    """
    ranks = [_rank(facts) for facts in copies]
    order = sorted(range(len(copies)), key=lambda position: (*ranks[position], position))
    best = order[0]
    if len(order) == 1:
        return best, "the only copy"
    facts, other = copies[best], copies[order[1]]
    pixels, compression, taken = (mine != its for mine, its in zip(ranks[best], ranks[order[1]], strict=True))
    if pixels:
        return best, f"most pixels: {_size(facts)}, the next {_size(other)}"
    if compression:
        mine, its = (-ranks[i][1] for i in order[:2])
        return best, f"least compressed: {mine:.2f} bytes per pixel, the next {its:.2f}"
    if taken:
        return best, f"oldest: taken {facts['taken']}, the next {other.get('taken', 'at an unknown time')}"
    return best, "nothing sets it apart; it is the first"


def _rank(facts: Mapping[str, Any]) -> tuple[float, float, str]:
    """Return what copies are sorted by, smallest first: minus pixels, minus bytes per pixel, and the time."""
    pixels = _number(facts.get("width")) * _number(facts.get("height"))
    compression = _number(facts.get("bytes")) / pixels if pixels else 0.0
    return -pixels, -compression, str(facts.get("taken", "unknown"))  # digits come before letters


def _number(value: object) -> float:
    """Return a fact as a number; a table of the user may have made it text."""
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _size(facts: Mapping[str, Any]) -> str:
    if "width" not in facts or "height" not in facts:
        return "of unknown size"
    return f"{facts['width']} x {facts['height']}"
