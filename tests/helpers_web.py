"""Exports with a page, on a host of static files, searched in Chromium; shared by their tests."""

from __future__ import annotations

import base64
import functools
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers_page import opened
from PIL import Image

from vitdsi import ImageIndex
from vitdsi.errors import UsageError
from vitdsi.export.onnxruntime_web import onnxruntime_web
from vitdsi.exported.searcher import ExportedIndex

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Route

_SEARCH = """async ([photos, query]) => {
    const { api } = await import("./static/api.js");
    const answers = [];
    for (const photo of photos) {
        const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
        answers.push(await api("v1/search", { query, body: new Blob([bytes]) }));
    }
    return answers.map(({ results }) => results);
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def static_host(folder: Path) -> Iterator[str]:
    """The address of a server that only sends the files of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a page that is closed while it loads
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def page_of(browser: Browser, folder: Path) -> Iterator[Page]:
    """The page of an export, which can reach nothing but its own files, and at its end must have sent nothing."""
    with static_host(folder.parent) as host:
        address = f"{host}{folder.name}/"
        asked: list[Request] = []

        def only_own(route: Route) -> None:
            if route.request.url.startswith(address):
                route.continue_()
            else:
                route.abort()

        with opened(browser, address, before=lambda context: context.route("**", only_own)) as page:
            page.on("request", lambda request: asked.append(request))
            yield page
            assert [request for request in asked if request.method != "GET" or request.post_data_buffer] == []


def exported(index: ImageIndex, folder: Path, **options: Any) -> ExportedIndex:
    """Export an index with its page. Tests are skipped where ONNX Runtime for browsers cannot be had."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    try:
        onnxruntime_web()
    except UsageError as error:
        pytest.skip(str(error))
    return ExportedIndex(index.export_web(folder, **options))


def found(page: Page, photos: Sequence[bytes], **query: Any) -> list[list[dict[str, Any]]]:
    """The results of searches on a page, one for each photo."""
    encoded = [base64.b64encode(photo).decode() for photo in photos]
    answers: list[list[dict[str, Any]]] = page.evaluate(_SEARCH, [encoded, {"k": 10, **query}])
    return answers


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
