"""Exports of an index in each precision: sizes, agreement with the index, and searches in a browser without a server.

    python benchmarks/web.py photos.dsi QUERIES --images PHOTOS [--count 200] > results/web/NAME.json

QUERIES is a folder of photos that are not in the index; `--count` of them are taken, at equal distances. In Python,
each precision answers all of them with the whole photo and without verification, and is compared with float32. In
Chromium, a page of each export is opened from a host of static files, each time with an empty cache. The time of the
first search is that from opening the page to the results: it includes loading and compiling everything. The page can
reach nothing but its own files; the benchmark ends with an error if it asks for anything else, or sends anything.
Beside elapsed seconds there are those of the processor, which other load changes less.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from locked import commit_of

from vitdsi import ImageIndex
from vitdsi.export.precision import PRECISIONS
from vitdsi.exported.searcher import ExportedIndex
from vitdsi.photos.find import scan_folder

_CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
_K = 10
_SEARCH = """async (photo) => {
    const { api } = await import("./static/api.js");
    const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
    const began = performance.now();
    const { results } = await api("v1/search", { query: { k: 10 }, body: new Blob([bytes]) });
    return { seconds: (performance.now() - began) / 1000, images: results.map((result) => result.image_id) };
}"""


def sizes(folder: Path) -> dict[str, float]:
    """The bytes of an export by kind, and what a page loads before its first search, as it is and compressed."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }
    loaded = [name for name in files if not name.startswith("pictures/")]
    return {
        "all": sum(files.values()),
        "graphs": sum(size for name, size in files.items() if name.endswith(".onnx")),
        "arrays": sum(size for name, size in files.items() if name.endswith(".bin")),
        "page": sum(size for name, size in files.items() if name.startswith(("static/", "index.html"))),
        "pictures": sum(size for name, size in files.items() if name.startswith("pictures/")),
        "loaded": sum(files[name] for name in loaded),
        "loaded_gzip": sum(len(gzip.compress((folder / name).read_bytes(), 6)) for name in loaded),
    }


def in_python(folder: Path, photos: Sequence[bytes]) -> tuple[list[list[str]], float]:
    """The results of each photo, and the median of the seconds of the processor for one."""
    index = ExportedIndex(folder)
    found, seconds = [], []
    for photo in photos:
        began = time.process_time()
        found.append([result.image_id for result in index.search(photo, _K, regions=1, verify=False)])
        seconds.append(time.process_time() - began)
    return found, statistics.median(seconds)


def in_browser(
    folder: Path, photos: Sequence[bytes], starts: int
) -> tuple[list[list[str]], dict[str, float]]:
    """The results of each photo, and seconds: of the first search after opening the page, and of later ones."""
    from playwright.sync_api import sync_playwright

    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from helpers_web import static_host

    encoded = [base64.b64encode(photo).decode() for photo in photos]
    with sync_playwright() as started, static_host(folder) as address:
        browser = started.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        first, first_processor = [], []
        for start in range(starts):
            context = browser.new_context()
            context.set_default_timeout(300_000)
            page = context.new_page()
            wrong: list[str] = []
            page.on("console", lambda line, wrong=wrong: wrong.append(line.text))
            page.on("request", lambda request, wrong=wrong: _check(request, address, wrong))
            began, spent = time.perf_counter(), _processor()
            page.goto(address)
            found = [page.evaluate(_SEARCH, encoded[0])]
            first.append(time.perf_counter() - began)
            first_processor.append(_processor() - spent)
            if start == starts - 1:
                spent = _processor()
                found += [page.evaluate(_SEARCH, photo) for photo in encoded[1:]]
                later_processor = (_processor() - spent) / max(1, len(encoded) - 1)
            if wrong:
                raise SystemExit(f"the page did what it must not do: {wrong}")
            context.close()
        browser.close()
    later = statistics.median([each["seconds"] for each in found[1:]] or [float("nan")])
    return [each["images"] for each in found], {
        "first_search": statistics.median(first),
        "first_search_processor": statistics.median(first_processor),
        "later_search": later,
        "later_search_processor": later_processor,
    }


def _processor() -> float:
    """The seconds of the processor that the processes of the browser have used."""
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system
    return spent


def _check(request: Any, address: str, wrong: list[str]) -> None:
    own = request.url.startswith((address, f"blob:{address}", "data:"))
    if not own or request.method != "GET" or request.post_data_buffer:
        wrong.append(f"{request.method} {request.url}")


def agreement(found: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]) -> dict[str, float]:
    """How often the first result is the same, and what share of the ten results is."""
    pairs = list(zip(found, expected, strict=True))
    return {
        "top1": sum(one[:1] == other[:1] for one, other in pairs) / len(pairs),
        "top10": sum(len(set(one) & set(other)) / max(1, len(other)) for one, other in pairs) / len(pairs),
    }


def main() -> None:
    """Export, search and compare; print everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    records = scan_folder(given.queries, "none")
    records = records[:: max(1, len(records) // given.count)][: given.count]
    photos = [record.path.read_bytes() for record in records]
    index = ImageIndex.load(given.index, device="cpu")
    commit, _ = commit_of(Path(__file__).parents[1], allow_dirty=True)
    report: dict[str, Any] = {"commit": commit, "images": len(index.image_ids_), "queries": len(photos)}
    exact: list[list[str]] | None = None
    with tempfile.TemporaryDirectory() as temporary:
        for precision in given.precisions.split(","):
            folder = index.export_web(Path(temporary) / precision, images=given.images, precision=precision)
            print(precision, "exported", file=sys.stderr, flush=True)
            found, seconds = in_python(folder, photos)
            exact = exact or found
            figures: dict[str, Any] = {"bytes": sizes(folder), "python": {"processor": seconds}}
            figures["python"] |= {"with_float32": agreement(found, exact)}
            if not given.no_browser:
                there, times = in_browser(folder, photos, given.starts)
                figures["browser"] = {
                    **times,
                    "with_python": agreement(there, found),
                    "with_float32_in_python": agreement(there, exact),
                }
            report[precision] = figures
            print(json.dumps(figures), file=sys.stderr, flush=True)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
