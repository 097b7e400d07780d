"""Searching by HTTP: with a photo, or with an image of the index."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from vitdsi.photos.regions import MAX_PARTS, Region
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.verify import keypoints_for
from vitdsi.serving import engine as engines
from vitdsi.serving.bodies import one_image
from vitdsi.serving.engine import Engine, Shared, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.schemas import ERRORS, IMAGE_BODY, Found
from vitdsi.serving.served import Served

__all__ = ["Asked", "router"]

router = APIRouter(tags=["search"], responses=ERRORS)


@dataclass(frozen=True)
class Asked:
    """What a client asks of a search.

    Attributes:
        given: the options.
        auto_score: whether the least score is that of the index, instead of that of the options.
    """

    given: SearchOptions
    auto_score: bool

    def options(self, served: Served) -> SearchOptions:
        """Return the options of a search in a state.

        Raises:
            UsageError: results should be verified, and the index has no keypoints.
        """
        keypoints_for(served.state, self.given)  # refused before any work is done
        if not self.auto_score:
            return self.given
        return replace(self.given, min_score=served.state.report.calibration.min_score or 0.0)


def asked(
    engine: Shared,
    k: Annotated[int, Query(ge=1, description="The number of results.")] = 10,
    offset: Annotated[int, Query(ge=0, description="How many results to skip.")] = 0,
    where: Annotated[str | None, Query(description="A condition on metadata, such as: year = 2019")] = None,
    allow: Annotated[list[str] | None, Query(description="An image_id to search; may be repeated.")] = None,
    min_score: Annotated[str, Query(description="Leave out results below this score, or auto.")] = "0",
    collapse: Annotated[bool, Query(description="Leave out results near-identical to a better one.")] = False,
    verify: Annotated[
        bool | None, Query(description="Put results first that keypoints prove; by default if there are any.")
    ] = None,
    regions: Annotated[str, Query(description="In how many regions the photo is read, or auto.")] = "auto",
    region: Annotated[
        str | None, Query(description="Search with this part of the photo: x,y,width,height in 0..1.")
    ] = None,
    any_rotation: Annotated[
        bool, Query(description="Search with the photo as it is and turned by 90, 180 and 270 degrees.")
    ] = False,
) -> Asked:
    """Read the parameters of a search."""
    largest = engine.settings.max_results
    if offset + k > largest:
        name = "offset + k" if offset else "k"
        raise ApiError(422, f"{name} is {offset + k}; it must be at most {largest}")
    options = SearchOptions(
        k=k,
        where=where or None,
        allow=allow or None,
        collapse=collapse,
        min_score=0.0 if min_score == "auto" else _number(min_score),
        verify=verify,
        regions=None if regions == "auto" else _count(regions),
        region=Region.parse(region) if region else None,
        offset=offset,
        any_rotation=any_rotation,
    )
    return Asked(options, min_score == "auto")


def _number(min_score: str) -> float:
    try:
        return float(min_score)
    except ValueError:
        raise ApiError(422, f"min_score is {min_score[:60]!r}; give a number from 0 to 1, or auto") from None


def _count(regions: str) -> int:
    try:
        return int(regions)
    except ValueError:
        raise ApiError(
            422, f"regions is {regions[:60]!r}; give a number from 1 to {MAX_PARTS}, or auto"
        ) from None


Options = Annotated[Asked, Depends(asked)]


@router.post(
    "/v1/search",
    response_model=Found,
    summary="Find the images relevant to a photo",
    openapi_extra=IMAGE_BODY,
)
async def search(
    request: Request,
    engine: Shared,
    options: Options,
) -> dict[str, Any]:
    """Find the images relevant to a photo: the body, or the field `image` of a form."""
    began = time.perf_counter()
    body = await one_image(request)
    with engine.searches():
        work = _search(engine, body, options, began)
        return await within(engine.settings.deadline, request, work, engine.metrics)


async def _search(engine: Engine, body: bytes, asked: Asked, began: float) -> dict[str, Any]:
    served = await engine.served()
    options, pixels = asked.options(served), engine.settings.max_pixels
    query = await engine.prepare(lambda: engines.Query.read(served, body, options, pixels))
    return _found(served, await engine.search(query), began)


@router.get("/v1/search", response_model=Found, summary="Find the images like one of the index")
async def search_like(
    request: Request,
    engine: Shared,
    options: Options,
    image_id: Annotated[
        str, Query(alias="id", description="The image_id, or the id, of an image of the index.")
    ],
) -> dict[str, Any]:
    """Find the images like one of the index, without that image itself. No file is needed.

    The index keeps images whole and upright, so `regions`, `region` and `any_rotation` are refused.
    """
    began = time.perf_counter()
    with engine.searches():
        work = _search_like(engine, image_id, options, began)
        return await within(engine.settings.deadline, request, work, engine.metrics)


async def _search_like(engine: Engine, image_id: str, asked: Asked, began: float) -> dict[str, Any]:
    served = await engine.served()
    number, options = served.number(image_id), asked.options(served)
    return _found(served, await engine.prepare(lambda: served.searcher.more_like(number, options)), began)


def _found(served: Served, results: list[SearchResult], began: float) -> dict[str, Any]:
    """Return results as JSON values."""
    return {
        "results": [{**result.as_dict(), **served.image(result.id)} for result in results],
        "seconds": time.perf_counter() - began,
        "generation": served.generation,
    }
