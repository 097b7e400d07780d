"""Groups of near-identical images by HTTP: which copy to keep, and decisions to keep all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from vitdsi.files import write_atomically
from vitdsi.search.duplicates import near_identical
from vitdsi.serving.engine import Engine, Shared, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.schemas import ERRORS, Groups
from vitdsi.serving.served import Served, Stamp

__all__ = ["choose_copy", "router"]

_DECISIONS = "kept.json"  # in the folder of the index
_MAX_DECISION = 1000  # images

router = APIRouter(tags=["duplicates"], responses=ERRORS)


class Grouping:
    """The groups of the present state, which are searched once for each state."""

    def __init__(self) -> None:
        self._of: Stamp | None = None  # and not the state itself, whose memory may be given back
        self._task: asyncio.Task[list[list[int]]] | None = None

    async def groups(self, engine: Engine, served: Served) -> list[list[int]]:
        """Return groups of ids. A caller that gives up leaves the search going on, for whoever asks next."""
        if self._task is None or self._of != served.stamp or (self._task.done() and self._task.exception()):
            self._of = served.stamp
            self._task = asyncio.create_task(engine.group(lambda: near_identical(served.state)))
        return await asyncio.shield(self._task)


@router.get("/v1/duplicates", response_model=Groups, summary="Group near-identical images")
async def duplicates(request: Request, engine: Shared) -> dict[str, Any]:
    """Group the images that show the same picture, except groups that were decided to be kept.

    In a large index this takes minutes for the first time after a change: ask again after a 504.
    """
    served = await engine.served()
    grouping: Grouping = request.app.state.grouping
    work = grouping.groups(engine, served)
    found = await within(engine.settings.deadline, request, work, engine.metrics)
    kept = read_decisions(engine.settings.index)
    groups = []
    for members in found:
        copies = [_copy(engine, served, number) for number in members]
        names = {copy["image_id"] for copy in copies}
        if not any(names <= decision for decision in kept):
            keep, reason = choose_copy(copies)
            groups.append({"images": copies, "keep": keep, "reason": reason})
    return {"groups": groups, "generation": served.generation}


@router.post("/v1/duplicates/keep", summary="Decide to keep all images of a group")
async def keep(
    engine: Shared, images: Annotated[list[str], Body(embed=True, min_length=2, max_length=_MAX_DECISION)]
) -> dict[str, Any]:
    """Leave these images out of the groups for ever, as long as no further copy joins them."""
    if not engine.settings.writable:
        raise ApiError(403, "this server does not keep decisions; start it with --writable if it should")
    served = await engine.served()
    names = {served.state.image_ids[served.number(image)] for image in images}
    await engine.change(lambda: add_decision(engine.settings.index, names))
    return {"kept": sorted(names)}


def read_decisions(index: Path) -> list[set[str]]:
    """Return the sets of images that were decided to be kept."""
    try:
        decisions = json.loads((index / _DECISIONS).read_text("utf-8"))["keep"]
        return [set(decision) for decision in decisions]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(503, f"{_DECISIONS} in the folder of the index is broken; delete it") from error


def add_decision(index: Path, names: set[str]) -> None:
    """Remember that these images are all to be kept."""
    decisions = [decision for decision in read_decisions(index) if not decision <= names]
    with write_atomically(index / _DECISIONS) as stream:
        text = json.dumps(
            {"keep": [sorted(decision) for decision in [*decisions, names]]}, ensure_ascii=False
        )
        stream.write(text.encode())


def _copy(engine: Engine, served: Served, number: int) -> dict[str, Any]:
    """Return what tells one copy of a picture from another."""
    described = served.image(number)
    facts = described.pop("metadata")
    return {
        **described,
        "width": facts.get("width"),
        "height": facts.get("height"),
        "bytes": facts.get("bytes"),
        "time": facts.get("taken"),
    }


def choose_copy(copies: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the image_id of the copy to keep, and why: the largest, least compressed, oldest one, in this order."""
    pixels = [(copy["width"] or 0) * (copy["height"] or 0) for copy in copies]
    sizes = [copy["bytes"] or 0 for copy in copies]
    times = [copy["time"] or "9999" for copy in copies]
    order = sorted(range(len(copies)), key=lambda i: (-pixels[i], -sizes[i], times[i], copies[i]["image_id"]))
    best, second = order[0], order[1]
    if pixels[best] > pixels[second]:
        reason = "it has the most pixels"
    elif sizes[best] > sizes[second]:
        reason = "it has the most pixels and is the least compressed"
    elif times[best] < times[second]:
        reason = "it is the oldest of equal copies"
    else:
        reason = "the copies are equal, and it comes first by name"
    return copies[best]["image_id"], reason
