"""Searching shards on a Ray cluster with Ray Serve: routers that read photos, and a replica for each shard.

The folder of the shards must have the same path on all machines. Ray Serve starts a replica that was lost with its
machine on another one, and searches that need it wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vitdsi.collection.shards import read_shard, read_top, shard_count
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.model.reading import reader_for
from vitdsi.photos.keypoints import detect_in_query
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.queries import photo_queries
from vitdsi.search.shards import ShardedSearch
from vitdsi.search.verify import keypoints_for

__all__ = ["sharded_app"]

_WAIT_SECONDS = 60.0  # for a shard that starts again
_RETRY_SECONDS = 0.5
_MAX_RESULTS = 1000


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=64)
class ShardReplica:
    """Holds a shard. Its methods are those of `vitdsi.search.shards.Shard`."""

    def __init__(self, folder: str, number: int) -> None:
        self._shard = read_shard(Path(folder), number)

    def find(self, *arguments: Any) -> Any:
        return self._shard.find(*arguments)

    def describe(self, *arguments: Any) -> Any:
        return self._shard.describe(*arguments)

    def alike(self, *arguments: Any) -> Any:
        return self._shard.alike(*arguments)

    def names(self, *arguments: Any) -> Any:
        return self._shard.names(*arguments)

    def prove(self, *arguments: Any) -> Any:
        return self._shard.prove(*arguments)


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=64)
class Router:
    """Reads photos, holds the top of the index, and asks shards."""

    def __init__(self, folder: str, token: str | None, *shards: Any) -> None:
        torch.set_num_threads(1)
        self._shards, self._token = shards, token
        top = read_top(Path(folder))
        self._state = top.state
        self._reader = reader_for(top.state.resolved.model, top.state.weights)
        self._search = ShardedSearch(top, self._ask)

    async def __call__(self, request: Request) -> Response:
        """Answer a request: `GET /healthz`, or `POST /v1/search` with a photo as its body.

        The parameters of a search are k, offset, where, min_score and verify.
        """
        asked = (request.method, request.url.path)
        if asked == ("GET", "/healthz"):
            return JSONResponse({"status": "ok", "shards": len(self._shards)})
        if asked != ("POST", "/v1/search"):
            return JSONResponse({"error": "there are POST /v1/search and GET /healthz"}, 404)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._token is not None and not secrets.compare_digest(given.encode(), self._token.encode()):
            return JSONResponse({"error": "the token is missing or wrong"}, 401)
        began = time.perf_counter()
        photo = await request.body()
        try:
            options = _options(request.query_params)
            found = await asyncio.to_thread(self._find, photo, options)
        except (UsageError, ImageReadError) as error:
            return JSONResponse({"error": str(error).splitlines()[-1]}, 422)
        except TimeoutError as error:
            return JSONResponse({"error": str(error)}, 503, {"Retry-After": "5"})
        seconds = round(time.perf_counter() - began, 4)
        return JSONResponse({"results": [result.as_dict() for result in found], "seconds": seconds})

    def _find(self, photo: bytes, options: SearchOptions) -> list[SearchResult]:
        features, regions = photo_queries(self._state, self._reader, [photo], options)
        points = None
        if keypoints_for(self._state, options) is not None:
            points = detect_in_query(photo)
        return self._search.search(features, options, regions[0], points)

    def _ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        """Call a method of shards, again if a replica is lost, until all have answered."""
        end = time.monotonic() + _WAIT_SECONDS
        answers: dict[int, Any] = {}
        while len(answers) < len(arguments):
            missing = [number for number in arguments if number not in answers]
            sent = {n: getattr(self._shards[n], method).remote(*arguments[n]) for n in missing}
            for number, response in sent.items():
                with contextlib.suppress(RayActorError, RayServeException, TimeoutError):
                    answers[number] = response.result(timeout_s=max(0.1, end - time.monotonic()))
            if len(answers) < len(arguments):
                if time.monotonic() > end:
                    raise TimeoutError("a part of the index is not there at the moment; try again later")
                time.sleep(_RETRY_SECONDS)
        return answers


def sharded_app(folder: Path, *, routers: int = 1, token: str | None = None) -> Any:
    """Return the application of Ray Serve that searches the shards in a folder.

    Args:
        folder: what `vitdsi.collection.shards.write_shards` wrote.
        routers: how many processes read photos; each takes a core, as each shard does.
        token: what clients must send as `Authorization: Bearer TOKEN`; None lets all in.

    Raises:
        IndexFormatError: the folder does not hold shards.
    """
    shard: Any = ShardReplica  # what the decorators make of the classes
    router: Any = Router
    shards = [
        shard.options(name=f"shard-{number}").bind(str(folder), number)
        for number in range(shard_count(folder))
    ]
    return router.options(num_replicas=routers).bind(str(folder), token, *shards)


def _options(given: Mapping[str, str]) -> SearchOptions:
    """Read the parameters of a search.

    Raises:
        UsageError: one of them is unknown, not valid, or too large.
    """
    unknown = sorted(set(given) - {"k", "offset", "where", "min_score", "verify"})
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no parameter; there are k, offset, where, min_score and verify")
    try:
        k, offset = int(given.get("k", 10)), int(given.get("offset", 0))
        min_score = float(given.get("min_score", 0))
    except ValueError as error:
        raise UsageError(f"k and offset are whole numbers, and min_score is a number: {error}") from None
    if k + offset > _MAX_RESULTS:
        raise UsageError(f"offset + k is {k + offset}; it must be at most {_MAX_RESULTS}")
    verify = {"true": True, "false": False}.get(given.get("verify", ""))
    return SearchOptions(k, given.get("where") or None, offset=offset, min_score=min_score, verify=verify)
