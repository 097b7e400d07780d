"""Groups of near-identical images by HTTP: which copy to keep, and decisions to keep all of them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from vitdsi.facts.best_copy import best_copy
from vitdsi.search.duplicates import near_identical
from vitdsi.serving.changes import keep_images
from vitdsi.serving.engine import Engine, Shared, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.schemas import ERRORS, Groups
from vitdsi.serving.served import Served, Stamp

__all__ = ["Grouping", "router"]

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
    """Group the images that show the same picture, except those that were decided to be kept.

    In a large index this takes minutes for the first time after a change: ask again after a 504.
    """
    served = await engine.served()
    grouping: Grouping = request.app.state.grouping
    work = grouping.groups(engine, served)
    found = await within(engine.settings.deadline, request, work, engine.metrics)
    groups = await engine.picture(lambda: [_group(served, members) for members in found])
    return {"groups": groups, "generation": served.generation}


@router.post("/v1/duplicates/keep", summary="Decide to keep all images of a group")
async def keep(
    request: Request,
    engine: Shared,
    images: Annotated[list[str], Body(embed=True, min_length=2, max_length=_MAX_DECISION)],
) -> dict[str, Any]:
    """Decide to keep all of these images: no two of them are grouped again because of their likeness.

    The decision is stored in the index, and is about the content of the files.
    """
    if not engine.settings.writable:
        raise ApiError(403, "this server does not keep decisions; start it with --writable if it should")
    await engine.served()
    work = engine.change(lambda: keep_images(engine.holder, images))
    return {"kept": await within(engine.settings.change_deadline, request, work, engine.metrics)}


def _group(served: Served, members: list[int]) -> dict[str, Any]:
    """Return the copies of a picture, the one to keep, and why."""
    facts = served.state.metadata.rows(members)
    best, reason = best_copy([facts[number] for number in members])
    copies = [_copy(served.image(number, facts[number])) for number in members]
    return {"images": copies, "keep": copies[best]["image_id"], "reason": reason}


def _copy(image: dict[str, Any]) -> dict[str, Any]:
    """Return what tells one copy of a picture from another."""
    facts = image.pop("metadata")
    return {
        **image,
        "width": facts.get("width"),
        "height": facts.get("height"),
        "bytes": facts.get("bytes"),
        "time": facts.get("taken"),
    }
