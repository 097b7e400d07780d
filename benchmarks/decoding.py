"""Best-first search: how many prefixes it expands, how often its answer is proven, and what a beam of 10 misses.

    python benchmarks/decoding.py synthetic IMAGENETTE [-o DIR] [--sizes N ...] [--cache DIR]
    python benchmarks/decoding.py photos IMAGENETTE [-o DIR] [--cache DIR]
    python benchmarks/decoding.py summary [-o DIR]

IMAGENETTE is a folder with train/<class>/ and val/<class>/. `synthetic` mixes the features of its photos in pairs, with
noise, into collections of 1,000, 10,000 and 100,000 images. Their models are imprinted and not trained, and have three
scales of the head, from flat to peaked. Half of the queries are altered images of the collection, half are new.
`photos` indexes 5,000 photos as the product does by default, and searches with 500 others and with 500 altered copies.
Searches are without a filter and among random .1, 1, 10 and 50 % of the ids. Both write a JSON file to DIR
(results/decoding) and `summary.md` beside it. Models and the index are kept in the cache, and not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from shared import altered_features, first_of_each_class, fit, pooled_reader
from torch import Tensor

from vitdsi import ImageIndex
from vitdsi.collection.remove import remove
from vitdsi.collection.resolve import resolve_config
from vitdsi.config import load_config
from vitdsi.files import write_atomically
from vitdsi.ids.assign import assign_ids
from vitdsi.ids.trie import Trie
from vitdsi.model.initialise import make_model
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.photos.find import scan_folder
from vitdsi.search.best_first import Found, best_first_search

_K = 10
_COMPARED = 24  # the most probable ids that are reranked by default
_SHARES = (None, 0.5, 0.1, 0.01, 0.001)
_SCALES = {"flat": 5.0, "as imprinted": 20.0, "peaked": 80.0}
_SIZES = (1_000, 10_000, 100_000)
_QUERIES = 100
_TIMED = 20  # queries that are searched one by one
_NOISE = 0.05  # standard deviation of the noise in square roots of features, relative to theirs


def mixtures(features: Tensor, count: int, seed: int) -> Tensor:
    """Mix random pairs of features (n, F) into (count, F) float16, in square roots, with noise."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(len(features), (2, count), generator=generator)
    share = torch.rand(count, 1, generator=generator)
    roots = features.float().clamp(min=0).sqrt()
    mixed = share * roots[pairs[0]] + (1 - share) * roots[pairs[1]]
    return altered(mixed.square(), seed + 1)


def altered(features: Tensor, seed: int) -> Tensor:
    """Add noise to features (n, F)."""
    roots = features.float().sqrt()
    noise = torch.randn(roots.shape, generator=torch.Generator().manual_seed(seed))
    return (roots + _NOISE * roots.std() * noise).clamp(min=0).square().half()


def imprinted(features: Tensor, cache: Path) -> tuple[Seq2Seq, Trie]:
    """An untrained model of features (N, F), which is kept in a cache."""
    config = resolve_config(load_config(overrides=["labels=none"]), len(features))
    weights, codes = cache / f"model-{len(features)}.safetensors", cache / f"trie-{len(features)}.safetensors"
    assert config.ids.base is not None
    if codes.exists():
        trie = Trie.from_tensors(load_file(codes), config.ids.base)
        model = Seq2Seq(config.model, trie, tuple(features.shape[1:]))
        model.load_state_dict(load_file(weights))
    else:
        trie = assign_ids(config, features, None)
        model = make_model(config.model, trie, features, config.seed)
        cache.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
        save_file({"codes": trie.codes, "nodes": trie.nodes, "child": trie.child, "live": trie.live}, codes)
    return model.eval(), trie


Search = Callable[[Tensor], Found]


def in_batches(search: Search, queries: Tensor, size: int) -> tuple[Found, float]:
    """The results of all queries, and milliseconds of processor time for each."""
    start = time.process_time()
    parts = [search(part) for part in torch.split(queries, size)]
    seconds = time.process_time() - start
    return Found(*(torch.cat(column) for column in zip(*parts, strict=True))), seconds / len(queries) * 1e3


@torch.inference_mode()
def measure(model: Seq2Seq, trie: Trie, queries: Tensor, k: int) -> dict[str, Any]:
    """Search with the default bound and with a beam of 10 alone."""

    def exact(part: Tensor) -> Found:
        return best_first_search(model, *model.encode(part), trie, k)

    def beam(part: Tensor) -> Found:
        return best_first_search(model, *model.encode(part), trie, k, max_expansions=0)

    exact(queries[:1]), beam(queries[:1])  # the first call of each is slow
    found, batched = in_batches(exact, queries, 50)
    alone, beam_batched = in_batches(beam, queries, 50)
    _, single = in_batches(exact, queries[:: max(1, len(queries) // _TIMED)], 1)
    _, beam_single = in_batches(beam, queries[:: max(1, len(queries) // _TIMED)], 1)
    expansions = found.expansions.numpy()
    # Equal ids in another order, and others that are as probable up to rounding, are no difference.
    worse = (found.log_probs > alone.log_probs + 1e-4).any(1)
    return {
        "k": k,
        "ids": int(trie.live.sum()),
        "queries": len(queries),
        "top p": float(found.log_probs[:, 0].exp().median()),
        "expansions": {
            "median": float(np.median(expansions)),
            "95 %": float(np.quantile(expansions, 0.95)),
            "max": int(expansions.max()),
        },
        "proven": float(found.proven.float().mean()),
        "beam proven": float(alone.proven.float().mean()),
        "beam differs": float(worse.float().mean()),
        "ms": {"one by one": single, "batches of 50": batched},
        "beam ms": {"one by one": beam_single, "batches of 50": beam_batched},
    }


def filters(trie: Trie, seed: int) -> dict[str, Trie]:
    """The trie, restricted to random shares of its ids."""
    live = trie.live_ids()
    order = live[torch.randperm(len(live), generator=torch.Generator().manual_seed(seed))]
    return {
        "none" if share is None else f"{100 * share:g} %": trie
        if share is None
        else trie.restrict(order[: max(1, round(share * len(live)))])
        for share in _SHARES
    }


def synthetic(root: Path, sizes: list[int], cache: Path) -> list[dict[str, Any]]:
    """Measure imprinted models of mixtures."""
    features = (
        pooled_reader().load([record.path for record in scan_folder(root / "train", "folder")]).features
    )
    runs = []
    for count in sizes:
        indexed = mixtures(features, count, seed=1)
        model, trie = imprinted(indexed, cache)
        copies = indexed[:: count // (_QUERIES // 2)][: _QUERIES // 2]
        queries = torch.cat([altered(copies, seed=3), mixtures(features, _QUERIES // 2, seed=4)])
        queries = queries[torch.randperm(len(queries), generator=torch.Generator().manual_seed(5))]
        for scale, value in _SCALES.items():
            model.head.log_scale.data.fill_(np.log(value))
            for share, restricted in filters(trie, seed=6).items():
                runs.append(
                    {"N": count, "inner nodes": trie.num_nodes, "scale": scale, "filter": share}
                    | measure(model, restricted, queries, _K)
                )
                print(json.dumps(runs[-1]), flush=True)
    return runs


def photos(root: Path, cache: Path) -> list[dict[str, Any]]:
    """Measure an index that the product built, which is kept in a cache."""
    records = first_of_each_class(root / "train", 500)
    if not (cache / "photos.dsi").exists():
        cache.mkdir(parents=True, exist_ok=True)
        fit(load_config(overrides=["labels=none"]), records).save(cache / "photos.dsi")
    reader, state = pooled_reader(), ImageIndex.load(cache / "photos.dsi").state_
    others = scan_folder(root / "val", "folder")
    queries = {
        "other photos": reader.load([r.path for r in others[:: len(others) // 500][:500]]).features,
        "altered copies": altered_features(reader, records[::10][:500], seed=0),
    }
    half = remove(state, range(0, len(records), 2)).trie
    runs = []
    for name, features in queries.items():
        for share, trie in {**filters(state.trie, seed=6), "half removed": half}.items():
            for k in (_K, _COMPARED):
                runs.append(
                    {"N": len(records), "inner nodes": trie.num_nodes, "photos": name, "filter": share}
                    | measure(state.model, trie, features, k)
                )
                print(json.dumps(runs[-1]), flush=True)
    return runs


def summary(folder: Path) -> str:
    """The figures of both files as tables."""
    lines = ["# Best-first search", ""]
    for name in ("photos", "synthetic"):
        if not (folder / f"{name}.json").exists():
            continue
        lines += [
            f"## {name.capitalize()}",
            "",
            "| N (inner nodes) | queries | filter | k | expansions: median, 95 %, max | proven |"
            " beam of 10: proven, worse | ms a query alone, in batches | beam: ms |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for run in json.loads((folder / f"{name}.json").read_text("utf-8")):
            spread = ", ".join(f"{value:g}" for value in run["expansions"].values())
            queries = run.get("photos") or f"{run['scale']}, top p {run['top p']:.2g}"
            times = (", ".join(f"{value:.1f}" for value in run[key].values()) for key in ("ms", "beam ms"))
            lines.append(
                f"| {run['N']:,} ({run['inner nodes']}) | {queries} | {run['filter']} | {run['k']} | {spread} |"
                f" {run['proven']:.1%} | {run['beam proven']:.1%}, {run['beam differs']:.1%} |"
                f" {' | '.join(times)} |"
            )
        lines.append("")
    lines += [
        "Milliseconds of processor time on one thread, from features to ids. A beam is worse where one of its results"
        " is less probable than that of the best-first search at its place.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run one job, and write what it measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", choices=("synthetic", "photos", "summary"))
    parser.add_argument("root", type=Path, nargs="?", metavar="IMAGENETTE")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/decoding"), metavar="DIR")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, metavar="N")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vitdsi-decoding")
    given = parser.parse_args()
    if given.job != "summary" and given.root is None:
        parser.error(f"{given.job} needs the folder IMAGENETTE")
    given.output.mkdir(parents=True, exist_ok=True)
    if given.job != "summary":
        runs = (
            synthetic(given.root, list(given.sizes), given.cache)
            if given.job == "synthetic"
            else photos(given.root, given.cache)
        )
        with write_atomically(given.output / f"{given.job}.json") as stream:
            stream.write((json.dumps(runs, indent=1) + "\n").encode())
    with write_atomically(given.output / "summary.md") as stream:
        stream.write(summary(given.output).encode())


if __name__ == "__main__":
    main()
