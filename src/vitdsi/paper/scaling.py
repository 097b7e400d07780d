"""Query time against the number of images: does a DSI answer in constant time where search takes linear time?

Weights and vectors are random, because the times do not depend on their values. A DSI query is timed from pixels to
ids, through encoder and beam search; the other methods from a vector to ids, without the time to compute the vector.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vitdsi.config import load_config
from vitdsi.errors import UsageError
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.figures import COLOURS, new_figure, save_figure
from vitdsi.paper.machine import describe_machine, machine_class
from vitdsi.paper.tables import markdown, write_report
from vitdsi.search.beam import beam_search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("DSI", "BoVW cosine", "FAISS flat", "FAISS HNSW")
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
VECTOR_DIM = 200  # as many as the paper has visual words
_RESULTS, _BEAM = 10, 12
_WARM_UP = 3  # queries of each method that are not counted
_NOTE = "model weights and vectors are random"

Query = Callable[[], Any]


def run_scaling(
    out: Path,
    command: str,
    *,
    sizes: Sequence[int] = SIZES,
    image_size: int = 160,
    repeats: int = 30,
    hnsw_limit: int = 100_000,
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Time single queries on one thread, and write a table and a figure.

    At each size the methods take turns, so that a slow moment of the machine affects all of them.

    Args:
        out: folder to write to.
        command: the command line, for the record.
        sizes: numbers of images, each at least 10.
        image_size: side in pixels of the image that the DSI reads.
        repeats: number of timed queries of each method, after a few that are not counted.
        hnsw_limit: largest number of vectors for which an HNSW graph is built.
        overrides: `key=value` of the paper's configuration.
        say: called with a line of text after each size.

    Returns:
        The names of the files: scaling.md, .json, .png and .svg.

    Raises:
        UsageError: a size is below the number of results.
    """
    from threadpoolctl import threadpool_limits

    if not sizes or min(sizes) < _RESULTS:
        raise UsageError(f"sizes {sizes}: each must be at least {_RESULTS}, the number of results")
    threads = torch.get_num_threads()
    points = []
    try:
        torch.set_num_threads(1)
        for size in sizes:
            queries, facts = _queries(size, image_size, overrides, hnsw_limit)
            with threadpool_limits(limits=1):
                points.append({"size": size, **facts, "milliseconds": _measure(queries, repeats)})
            shown = ", ".join(
                f"{name} {t['median']:.2f} ms" for name, t in points[-1]["milliseconds"].items()
            )
            say(f"{size:,} images: {shown}")
        machine = machine_class()
    finally:
        torch.set_num_threads(threads)
    content = {
        "format": "vitdsi-scaling",
        "version": 1,
        "note": _NOTE,
        "command": command,
        "machine": machine,
        "image_size": image_size,
        "beam": _BEAM,
        "results": _RESULTS,
        "vector_dim": VECTOR_DIM,
        "repeats": repeats,
        "hnsw_limit": hnsw_limit,
        "points": points,
    }
    written = write_report(out, "scaling", _markdown(content), content)
    return [*written, *save_figure(_figure(points), out, "scaling")]


def _queries(
    size: int, image_size: int, overrides: Sequence[str], hnsw_limit: int
) -> tuple[dict[str, Query], dict[str, Any]]:
    """Prepare a query of each method at this size, and facts about the collection."""
    import faiss

    config = load_config("paper", [f"model.paper.image_size={image_size}", *overrides])
    trie = Trie(
        scheme_named("random").assign(IdContext(size, 10, variable_length=config.ids.paper.variable_length)),
        10,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Seq2Seq(config.model, trie, (3, image_size, image_size)).eval()
        pixels = torch.rand(1, 3, image_size, image_size)
    rng = np.random.default_rng(0)
    vectors = np.abs(rng.standard_normal((size, VECTOR_DIM), dtype=np.float32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = vectors[rng.integers(size)] + 0.1 * rng.standard_normal(VECTOR_DIM, dtype=np.float32)
    flat: Any = faiss.IndexFlatIP(VECTOR_DIM)
    flat.add(vectors)

    def dsi() -> Any:
        with torch.inference_mode():
            return beam_search(model, pixels, trie, _BEAM)[0][:, :_RESULTS]

    def cosine() -> Any:
        scores = vectors @ (wanted / np.linalg.norm(wanted))
        best = np.argpartition(-scores, _RESULTS - 1)[:_RESULTS]
        return best[np.argsort(-scores[best])]

    queries: dict[str, Query] = {"DSI": dsi, "BoVW cosine": cosine}
    queries["FAISS flat"] = lambda: flat.search(wanted[None], _RESULTS)
    facts: dict[str, Any] = {"digits": trie.max_length, "nodes": trie.num_nodes}
    if size <= hnsw_limit:
        graph: Any = faiss.IndexHNSWFlat(VECTOR_DIM, 32, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 80
        started = time.perf_counter()
        graph.add(vectors)
        facts["hnsw_build_seconds"] = round(time.perf_counter() - started, 2)
        graph.hnsw.efSearch = 64
        queries["FAISS HNSW"] = lambda: graph.search(wanted[None], _RESULTS)
    return queries, facts


def _measure(queries: dict[str, Query], repeats: int) -> dict[str, dict[str, float]]:
    """Time the queries in turn, in milliseconds of CPU time, which other processes on the machine do not change."""
    times: dict[str, list[float]] = {name: [] for name in queries}
    for turn in range(_WARM_UP + repeats):
        for name, query in queries.items():
            started = time.process_time()
            query()
            if turn >= _WARM_UP:
                times[name].append(1e3 * (time.process_time() - started))
    return {
        name: {
            "median": float(np.median(values)),
            "quarter": float(np.quantile(values, 0.25)),
            "three quarters": float(np.quantile(values, 0.75)),
        }
        for name, values in times.items()
    }


def _markdown(content: dict[str, Any]) -> str:
    points = content["points"]
    body = [
        [
            f"{point['size']:,}",
            str(point["digits"]),
            *(
                f"{point['milliseconds'][name]['median']:.3f}" if name in point["milliseconds"] else "-"
                for name in METHODS
            ),
        ]
        for point in points
    ]
    first, last = points[0], points[-1]
    growth = ", ".join(
        f"{name} x {last['milliseconds'][name]['median'] / first['milliseconds'][name]['median']:.1f}"
        for name in METHODS
        if name in last["milliseconds"]
    )
    lines = [
        "# Query time against the number of images",
        "",
        f"**{_NOTE.capitalize()}:** only times are measured here, no quality.",
        "",
        f"Command: `{content['command']}`",
        "",
        f"Machine: {describe_machine(content['machine'])}",
        "",
        markdown(["images", "tokens of an id", *(f"{name}, ms" for name in METHODS)], body),
        "",
        f"Medians of {content['repeats']} single queries, {content['results']} results, one thread, CPU time, all "
        f"methods in turn. DSI: the paper's model from {content['image_size']}-pixel input to ids, beam "
        f"{content['beam']}, one step a token. "
        f"Others: from a vector of {content['vector_dim']} numbers to ids, without the time to compute the vector. "
        f"Graphs are built up to {content['hnsw_limit']:,} vectors.",
        "",
        f"From {first['size']:,} to {last['size']:,} images the time grew: {growth}.",
        "",
    ]
    return "\n".join(lines)


def _figure(points: Sequence[dict[str, Any]]) -> Figure:
    figure, (axis,) = new_figure(1, width=5.5, height=3.6)
    for number, name in enumerate(METHODS):
        known = [point for point in points if name in point["milliseconds"]]
        if known:
            axis.plot(
                [point["size"] for point in known],
                [point["milliseconds"][name]["median"] for point in known],
                marker="o",
                markersize=3.5,
                color=COLOURS[number],
                label=name,
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("indexed images, N")
    axis.set_ylabel("median time of a query (ms)")
    low = min(t["median"] for point in points for t in point["milliseconds"].values())
    axis.set_ylim(bottom=10 ** math.floor(math.log10(low)))
    axis.set_title(f"Query time; {_NOTE}", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    return figure
