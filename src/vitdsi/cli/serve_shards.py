"""`vitdsi serve --engine ray`: shards of an index on a Ray cluster."""

from __future__ import annotations

import time
from pathlib import Path

from vitdsi.cli.common import say
from vitdsi.errors import UsageError

__all__ = ["serve_shards"]


def serve_shards(
    index: Path, shards: int, routers: int, address: str | None, host: str, port: int, token: str | None
) -> None:
    """Split an index into shards in a folder beside it, and serve them until the process is interrupted.

    Args:
        index: the index.
        shards: the number of shards.
        routers: the number of processes that read photos.
        address: that of the cluster, see `vitdsi.engine.ray.RayEngine`.
        host, port: where the cluster listens.
        token: what clients must send; None lets all in.

    Raises:
        UsageError: Ray is not installed, there is no such cluster, or it has too few cores.
        IndexFormatError: the index cannot be read.
    """
    from vitdsi.collection.shards import split_index
    from vitdsi.engine.ray import RayEngine

    folder = index.with_name(f"{index.name}.shards").absolute()
    engine = RayEngine(address)
    if shards + routers > engine.cores:
        raise UsageError(
            f"{shards} shards and {routers} processes that read photos need a core each, and the cluster has"
            f" {engine.cores}; give fewer --shards or --workers, or add machines"
        )
    split_index(index, folder, shards)
    from ray import serve

    from vitdsi.serving.ray_app import sharded_app

    serve.start(http_options={"host": host, "port": port})
    serve.run(sharded_app(folder, routers=routers, token=token), name="vitdsi")
    say(f"serving {shards} shards of {index} at http://{host}:{port}/v1/search; Ctrl-C ends it")
    try:
        while True:
            time.sleep(3600)
    finally:
        serve.shutdown()
        engine.close()
