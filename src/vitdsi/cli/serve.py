"""`vitdsi serve`: answer searches by HTTP, and show a page to search from."""

from __future__ import annotations

from pathlib import Path

import click

from vitdsi.cli.common import FILE, INDEX_ARGUMENT, debug_option, say
from vitdsi.cli.engines import engine_options
from vitdsi.cli.serve_shards import serve_shards
from vitdsi.errors import UsageError


@click.command("serve", short_help="Search an index from a browser, or by HTTP.")
@INDEX_ARGUMENT
@click.option("--images", type=FILE, metavar="DIR", help="The folder that was indexed, to show its photos.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--token",
    envvar="VITDSI_TOKEN",
    metavar="TEXT",
    help="What clients must send; needed if other machines can reach the server [$VITDSI_TOKEN].",
)
@click.option("--writable", is_flag=True, help="Let clients add and remove images.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which clients reach the server, such as that of a proxy; may be repeated.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads that read photos [one per core].")
@click.option(
    "--max-waiting",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Searches in progress; further ones are answered with 429.",
)
@click.option(
    "--max-connections", type=click.IntRange(min=1), default=1000, show_default=True, help="Open connections."
)
@click.option(
    "--max-body",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="MIB",
    help="Largest body of a request.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0.1),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Time after which a search is given up.",
)
@click.option(
    "--idle-unload",
    type=click.FloatRange(min=0),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="Give memory back after this time without a request; 0 keeps it.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@engine_options
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --engine ray: parts of the index, each of which is held by a process of the cluster.",
)
@debug_option
def serve_verb(
    index: Path,
    images: Path | None,
    host: str,
    port: int,
    token: str | None,
    writable: bool,
    hosts: tuple[str, ...],
    workers: int | None,
    max_waiting: int,
    max_connections: int,
    max_body: int,
    deadline: float,
    idle_unload: float,
    device: str,
    engine: str,
    address: str | None,
    shards: int | None,
) -> None:
    """Serve INDEX.dsi: a page to search it from a browser, and an HTTP API, which /docs describes.

    An index that another process changes is swapped in without interruption. Ctrl-C or SIGTERM ends the server after
    the requests in progress. Needs the extra: pip install 'vitdsi[serve]'.

    With --engine ray, the index is split into shards beside it, and a Ray cluster answers searches by photo at
    /v1/search; there is no page, and --workers is the number of processes that read photos.

    \b
    Examples:
      vitdsi serve photos.dsi --images photos
      vitdsi serve photos.dsi --images photos --writable --port 8080
      VITDSI_TOKEN=... vitdsi serve photos.dsi --images photos --host 0.0.0.0
      vitdsi serve photos.dsi --engine ray --address auto --shards 4
      curl --data-binary @query.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8000/v1/search?k=5'
    """
    import os

    from vitdsi.serving.settings import ANY_HOST, is_loopback

    open_to_others = not is_loopback(host)
    if open_to_others and not token:
        raise UsageError(
            f"--host {host} can be reached by other machines, so it needs a token: set VITDSI_TOKEN, or give --token"
        )
    if engine == "ray":
        serve_shards(index, shards or 1, workers or 1, address, host, port, token or None)
        return
    if shards is not None or address is not None:
        raise UsageError("--shards and --address are for a Ray cluster; give --engine ray as well")
    from vitdsi.serving import create_app

    count = workers or os.cpu_count() or 1
    app = create_app(
        index,
        images=images,
        token=token or None,
        writable=writable,
        hosts=hosts or ((ANY_HOST,) if open_to_others else ()),
        workers=count,
        max_waiting=max_waiting,
        max_body_bytes=max_body << 20,
        deadline=deadline,
        idle_unload=idle_unload or None,
        device=device,
    )

    from vitdsi.serving.run import open_socket, serve

    with open_socket(host, port) as listening:
        app.state.engine.holder.current()  # an index that cannot be read is an error of this command
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        serve(
            app,
            listening,
            workers=count,
            max_connections=max_connections,
            on_start=lambda: say(f"serving {index} at {address}; Ctrl-C ends it"),
        )
