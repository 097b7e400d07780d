"""Searching by HTTP: with a photo, or with an image of the index."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from vitdsi.backbones.features import to_inputs
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.serving import engine as engines
from vitdsi.serving.bodies import one_image
from vitdsi.serving.engine import Engine, Shared, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.regions import Region, parse_region, query_features
from vitdsi.serving.schemas import ERRORS, IMAGE_BODY, Found
from vitdsi.serving.served import Served

__all__ = ["Asked", "more_like", "router"]

router = APIRouter(tags=["search"], responses=ERRORS)


@dataclass(frozen=True)
class Asked:
    """What a client asks of a search, besides the photo. The attributes are those of `SearchOptions`."""

    k: int
    where: str | None
    allow: tuple[str, ...]
    min_score: str
    collapse: bool
    verify: bool | None

    def options(self, served: Served, *, more: int = 0) -> SearchOptions:
        """Return the options of a search in a state, for `more` results than asked.

        Raises:
            UsageError, ApiError: an option is not valid.
        """
        if self.verify:
            raise ApiError(422, "this index keeps no local features to verify results with; leave out verify")
        return SearchOptions(
            k=self.k + more,
            where=self.where or None,
            allow=self.allow or None,
            collapse=self.collapse,
            min_score=self._least_score(served),
        )

    def _least_score(self, served: Served) -> float:
        if self.min_score == "auto":
            return served.state.report.calibration.min_score or 0.0
        try:
            return float(self.min_score)
        except ValueError:
            raise ApiError(
                422, f"min_score is {self.min_score[:60]!r}; give a number from 0 to 1, or auto"
            ) from None


def asked(
    engine: Shared,
    k: Annotated[int, Query(ge=1, description="The number of results.")] = 10,
    where: Annotated[str | None, Query(description="A condition on metadata, such as: year = 2019")] = None,
    allow: Annotated[list[str] | None, Query(description="An image_id to search; may be repeated.")] = None,
    min_score: Annotated[str, Query(description="Leave out results below this score, or auto.")] = "0",
    collapse: Annotated[bool, Query(description="Leave out results near-identical to a better one.")] = False,
    verify: Annotated[bool | None, Query(description="Prove results by their local features.")] = None,
) -> Asked:
    """Read the parameters of a search."""
    largest = engine.settings.max_results
    if k > largest:
        raise ApiError(422, f"k is {k}; it must be at most {largest}")
    return Asked(k, where, tuple(allow or ()), min_score, collapse, verify)


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
    region: Annotated[
        str | None, Query(description="Search with this part of the photo: x,y,w,h in 0..1.")
    ] = None,
) -> dict[str, Any]:
    """Find the images relevant to a photo: the body, or the field `image` of a form."""
    began, part = time.perf_counter(), parse_region(region)
    body = await one_image(request)
    with engine.searches():
        return await within(
            engine.settings.deadline, request, _search(engine, body, part, options, began), engine.metrics
        )


async def _search(
    engine: Engine, body: bytes, region: Region | None, asked: Asked, began: float
) -> dict[str, Any]:
    served = await engine.served()
    options, pixels = asked.options(served), engine.settings.max_pixels
    features = await engine.prepare(lambda: query_features(served.reader, body, region, pixels))
    results = await engine.search(engines.Query(served, features, options))
    return _found(served, results, began)


@router.get("/v1/search", response_model=Found, summary="Find the images like one of the index")
async def search_like(
    request: Request,
    engine: Shared,
    options: Options,
    image_id: Annotated[
        str, Query(alias="id", description="The image_id, or the id, of an image of the index.")
    ],
) -> dict[str, Any]:
    """Find the images like one of the index, without that image itself. No file is needed."""
    began = time.perf_counter()
    with engine.searches():
        work = _search_like(engine, image_id, options, began)
        return await within(engine.settings.deadline, request, work, engine.metrics)


async def _search_like(engine: Engine, image_id: str, asked: Asked, began: float) -> dict[str, Any]:
    served = await engine.served()
    number = served.number(image_id)
    query = more_like(served, number, asked.options(served, more=1))
    results = [result for result in await engine.search(query) if result.id != number]
    return _found(served, results[: asked.k], began)


def more_like(served: Served, number: int, options: SearchOptions) -> engines.Query:
    """Return the query that finds what is like an image of the index, by its stored features.

    The image itself is among the results.

    Raises:
        ApiError: 422, the index keeps no features.
    """
    features = served.state.features
    if features is None:
        raise ApiError(422, "the index keeps no features to search with; send the photo instead")
    return engines.Query(served, to_inputs(features[number : number + 1]), options)


def _found(served: Served, results: list[SearchResult], began: float) -> dict[str, Any]:
    """Return results as JSON values."""
    return {
        "results": [
            {
                **served.image(result.id),
                "rank": rank,
                "score": result.score,
                "log_prob": result.log_prob,
                "proven": result.proven,
                # Where an index keeps local features, results say where they match and how certain that is.
                "region": getattr(result, "region", None),
                "inliers": getattr(result, "inliers", None),
                "certain": bool(getattr(result, "certain", False)),
                "outline": getattr(result, "outline", None),
            }
            for rank, result in enumerate(results, start=1)
        ],
        "seconds": time.perf_counter() - began,
        "generation": served.generation,
    }
