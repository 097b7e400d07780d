"""The servers that `serving.py` measures: the application, with two further ways to answer beside it.

`/single` answers each request in a thread of its own, from the file to the results, as clip-retrieval does. `/bare`
decodes the photo and computes its features, which is the least that any search by photo has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_THREADS = 40  # as Starlette and Flask allow by default


@contextlib.contextmanager
def running(index: Path, *, writable: bool) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and the process of a server."""
    command = [sys.executable, __file__, str(index), "writable" if writable else ""]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            match = re.search(r"http://\S+", line)
            assert match, line + process.stderr.read()
            yield match[0], process
        finally:
            process.terminate()
            sys.stderr.write(process.stderr.read() if process.stderr else "")


def main(index: str, writable: str) -> None:
    """Serve an index until the process is terminated, and write the address to stderr."""
    from fastapi import Request

    from vitdsi.search.queries import photo_queries
    from vitdsi.serving import create_app
    from vitdsi.serving.engine import Query, answer_batch
    from vitdsi.serving.run import open_socket, serve
    from vitdsi.serving.searching import Asked, Options

    workers = os.cpu_count() or 1
    app = create_app(index, writable=bool(writable), workers=workers)
    engine, threads = app.state.engine, ThreadPoolExecutor(_THREADS)

    async def single(request: Request, asked: Asked) -> dict[str, Any]:
        body, served = await request.body(), await engine.served()

        def answer() -> list[str]:
            query = Query.read(served, body, asked.options(served), 10**9)
            (found,) = answer_batch([query])
            assert isinstance(found, list)
            return [result.image_id for result in query.verified(found)]

        return {"results": await asyncio.get_running_loop().run_in_executor(threads, answer)}

    async def bare(request: Request, asked: Asked) -> dict[str, Any]:
        body, served = await request.body(), await engine.served()
        features, _ = await engine.prepare(
            lambda: photo_queries(served.state, served.reader, [body], asked.options(served))
        )
        return {"features": len(features[0])}

    # These are not known where FastAPI looks up annotations that are texts.
    for function in (single, bare):
        function.__annotations__ |= {"request": Request, "asked": Options}
        app.post(f"/{function.__name__}", response_model=None)(function)
    listening = open_socket("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    serve(
        app,
        listening,
        workers=workers,
        max_connections=1000,
        on_start=lambda: print(address, file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
