"""Is it alive, is it ready, and how is it doing: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST

from vitdsi.search.options import SearchOptions
from vitdsi.serving.engine import Engine, Query, Shared, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.served import Served

__all__ = ["router"]

_CANARY_SECONDS = 5.0  # in which the canary must be answered, and for which an answer is remembered

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Answer without touching the index."""
    return {"status": "alive"}


@router.get("/readyz", summary="Does a search work?")
async def readyz(request: Request, engine: Shared) -> dict[str, Any]:
    """Answer 200 if a search through all threads gives results, and 503 if not.

    A server that has given its memory back is ready, since it reads the index at the next request. Whatever search was
    answered in the last 5 s shows that searches work, so a server under load is not searched once more.
    """
    served = engine.holder.loaded
    if served is None:
        return {"status": "ready", "loaded": False}
    when, stamp = engine.last_answer or (0.0, None)
    if stamp != served.stamp or time.monotonic() - when > _CANARY_SECONDS:
        try:
            await within(_CANARY_SECONDS, request, _canary(engine, served), engine.metrics)
        except Exception as error:
            raise ApiError(503, f"a search fails: {error}", retry_after=5) from error
    return {"status": "ready", "loaded": True, "generation": served.generation}


async def _canary(engine: Engine, served: Served) -> None:
    """Search with a grey photo."""
    grey, options, pixels = Image.new("RGB", (64, 64), "grey"), SearchOptions(k=1), engine.settings.max_pixels
    query = await engine.prepare(lambda: Query.read(served, grey, options, pixels))
    results = await engine.search(query)
    if len(served.live) and not results:
        raise ApiError(503, "a search has no results")


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(engine: Shared) -> Response:
    """Return the metrics in the text format of Prometheus."""
    return Response(engine.metrics.text(), media_type=CONTENT_TYPE_LATEST)
