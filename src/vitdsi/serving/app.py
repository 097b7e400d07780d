"""The application: routes, middleware and the engine, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from vitdsi.serving import collection, grouping, health, searching, security, showing
from vitdsi.serving.docs_page import docs_page
from vitdsi.serving.engine import Engine
from vitdsi.serving.errors import ApiError, install
from vitdsi.serving.limits import BodyLimit
from vitdsi.serving.metrics import MetricsMiddleware
from vitdsi.serving.settings import ServerSettings

__all__ = ["STATIC", "application"]

STATIC = Path(__file__).parent / "static"
_REVALIDATED = {"cache-control": "no-cache"}  # names of files stay the same when vitdsi is upgraded


class _Page(StaticFiles):
    """The files of the page, which browsers keep, but ask for again whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_REVALIDATED)
        return response


def application(settings: ServerSettings) -> FastAPI:
    """Make the application that serves an index. The index is read when it starts."""
    engine = Engine(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(
        title="vitdsi",
        version=_version(),
        description=f"Search the images of {settings.index.name}.",
        lifespan=lifespan,
        docs_url=None,  # those of FastAPI load scripts from another host
        redoc_url=None,
    )
    app.state.engine = engine
    app.state.grouping = grouping.Grouping()
    install(app)
    for room in (searching, collection, grouping, showing, health, security):
        app.include_router(room.router)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        if not (STATIC / "index.html").is_file():
            raise ApiError(404, "the page is not installed; the API is described at /docs")
        return FileResponse(STATIC / "index.html", headers=_REVALIDATED)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    app.mount("/static", _Page(directory=STATIC, check_dir=False))
    # The last one is the first that a request meets.
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(security.Guard, settings=settings)
    app.add_middleware(MetricsMiddleware, metrics=engine.metrics)
    _add_gauges(engine)
    return app


def _version() -> str:
    try:
        return version("vitdsi")
    except PackageNotFoundError:  # it runs from its source
        return "unknown"


def _add_gauges(engine: Engine) -> None:
    metrics, holder = engine.metrics, engine.holder
    metrics.gauge("vitdsi_searches", "Searches in progress or waiting.", lambda: engine.searches.taken)
    metrics.gauge("vitdsi_queue_length", "Searches that wait for the model.", lambda: len(engine.batcher))
    metrics.gauge(
        "vitdsi_images",
        "Images of the index in memory, 0 if there is none in memory.",
        lambda: 0 if holder.loaded is None else len(holder.loaded.live),
    )
    metrics.gauge(
        "vitdsi_generation",
        "Generation of the index in memory, 0 if there is none in memory.",
        lambda: 0 if holder.loaded is None else holder.loaded.generation,
    )
