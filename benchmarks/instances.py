"""Photographed things: how often is the picture found that somebody took a photo of?

    python benchmarks/instances.py PAINTINGS IMAGENETTE COCO [-o DIR] [--index INDEX.dsi] [--count N]

PAINTINGS is a folder with collection/, folders of photos of some of its pictures, and truth.json, which maps photos to
pictures; IMAGENETTE is a folder with train/ and val/, COCO a folder of photos. The collection is indexed with the first
2,000 photos of val/ and those of COCO as distractors, and searched by each method, alone and with verification of its
first 100 results. INDEX.dsi is an index of the product of the same files, which is made if it does not exist; without
it, the product is not measured. Then N photos of train/ are searched among the paintings and COCO alone, because photos
of train/ and val/ show some of the same scenes: none should be certain.

Writes paintings.json and paintings.md to DIR (results/instances).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from shared import pooled_reader, show_evaluation
from visual_words import VisualWords

from vitdsi import ImageIndex, SearchOptions
from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.keypoints import read_keypoints
from vitdsi.config import load_config
from vitdsi.evaluation.peers.approximate import Approximate
from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.half_whitened import HalfWhitened
from vitdsi.files import write_atomically
from vitdsi.paper.machine import describe_machine, machine_class
from vitdsi.photos.decode import Source, content_hash, decode, to_square
from vitdsi.photos.find import find_images
from vitdsi.photos.keypoints import KEYPOINT_BYTES, Keypoints, PhotoKeypoints, detect_in_query
from vitdsi.search.options import CANDIDATES
from vitdsi.search.queries import photo_queries
from vitdsi.search.searcher import Searcher
from vitdsi.search.verify import (
    CERTAIN,
    LIKELY,
    chosen_for_proof,
    options_for_candidates,
    prove,
)

_DISTRACTORS = 2_000  # photos of imagenette
_CROPS = [
    (x, y, side) for side, places in ((0.75, (0, 1)), (0.5, (0, 0.5, 1))) for x in places for y in places
]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Collection:
    """What is indexed: files, half-whitened features (N, F) and keypoints."""

    paths: list[Path]
    space: HalfWhitened
    vectors: Vectors
    keypoints: Keypoints

    @classmethod
    def read(cls, paths: Sequence[Path], reader: FeatureReader) -> Collection:
        """Read files, from the cache of the user where it has them."""
        hashes = [content_hash(path) for path in paths]
        keypoints = read_keypoints(paths, hashes, load_config().keypoints, default_cache())
        features = reader.load(paths).features.float().numpy()
        space = HalfWhitened().fit(Given(features, len(features)))
        return cls(list(paths), space, space.embed(features), keypoints)

    def nearest(self, features: Vectors) -> Ids:
        """The images with the highest cosine with any of the parts (n, F) of a query."""
        cosines = (self.space.embed(features) @ self.vectors.T).max(0)
        return np.argsort(-cosines, kind="stable")[:CANDIDATES]


@dataclass(frozen=True)
class Method:
    """A way to find images: functions of the number of a query, what is verified if that is not the same, and bytes."""

    find: Callable[[int], Ids]
    size: float
    candidates: Callable[[int], Ids] | None = None


def crops(path: Path, reader: FeatureReader) -> Vectors:
    """Features (14, F) of the centre square of a photo, then of 13 squares of 3/4 and 1/2 of its shorter side."""
    photo = decode(path)
    squares = [to_square(photo, reader.image_size)]
    for x, y, share in _CROPS:
        side = round(share * min(photo.size))
        left, top = round(x * (photo.width - side)), round(y * (photo.height - side))
        squares.append(to_square(photo.crop((left, top, left + side, top + side)), reader.image_size))
    return reader.features(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)).numpy()


def methods(
    given: Collection,
    parts: list[Vectors],
    photos: list[PhotoKeypoints],
    queries: list[Path],
    index: Path | None,
) -> dict[str, Method]:
    """All methods, given the features of the parts (14, F) of each query, and its keypoints."""
    graph = Approximate("hnsw").fit(given.vectors)
    words = VisualWords(given.keypoints)
    size = given.vectors[0].nbytes
    found = {
        "kNN": Method(lambda q: given.nearest(parts[q][:1]), size),
        "kNN, whole and 13 crops": Method(lambda q: given.nearest(parts[q]), size),
        "HNSW": Method(
            lambda q: graph.search(given.space.embed(parts[q][:1]), CANDIDATES)[0][0], graph.bytes_per_image
        ),
        "visual words": Method(lambda q: words.search(photos[q], CANDIDATES), words.bytes_per_image),
    }
    return found if index is None else {**found, "product": product(index, given, queries)}


def product(path: Path, given: Collection, queries: list[Path]) -> Method:
    """The product without verification, which is measured as that of the other methods."""
    if not path.exists():
        ImageIndex(cache=default_cache()).fit(given.paths, on_progress=show_evaluation).save(path)
    index = ImageIndex.load(path)
    options = SearchOptions(k=CANDIDATES, verify=False)
    size = sum(n for part, n in index.info()["bytes"].items() if part != "keypoints")
    searcher = Searcher(index.state_)

    def candidates(q: int) -> Ids:
        """The images that the product verifies."""
        wanted = options_for_candidates(SearchOptions())
        features, regions = photo_queries(index.state_, index.reader, [queries[q]], wanted)
        (found,) = searcher.search(features, wanted, regions, to_verify=True)
        return np.array([found[place].id for place in chosen_for_proof(found)])

    return Method(
        lambda q: np.array([result.id for result in index.search_with([queries[q]], options)[0]]),
        size / len(given.paths),
        candidates,
    )


def verified(ids: Ids, candidates: Ids, inliers: Sequence[int]) -> Ids:
    """Order results as the product does: likely candidates first, by their inliers, then the results as they were."""
    order = np.argsort(-np.array(inliers), kind="stable")
    likely = candidates[order[: int((np.array(inliers) >= LIKELY).sum())]]
    return np.concatenate([likely, ids[~np.isin(ids, likely)]])


def measure(root: Path, imagenette: Path, coco: Path, count: int, index: Path | None) -> dict[str, Any]:
    """Measure all methods on photos of paintings, and how often a photo of something else is called certain."""
    reader = pooled_reader()
    pictures = sorted((root / "collection").iterdir())
    others = Collection.read([*pictures, *find_images(coco)], reader)
    outside = [max(inliers) for inliers in from_outside(others, imagenette, count, reader)]
    distractors = [*find_images(imagenette / "val")[:_DISTRACTORS], *find_images(coco)]
    given = Collection.read([*pictures, *distractors], reader)
    truth: dict[str, str] = json.loads((root / "truth.json").read_text("utf-8"))
    own = [[path.name for path in pictures].index(name) for name in truth.values()]
    queries = [root / name for name in truth]
    parts = [crops(path, reader) for path in queries]
    start = time.process_time()
    photos = [detect_in_query(path) for path in queries]
    detecting = (time.process_time() - start) / len(queries) * 1e3
    rows = {}
    for name, method in methods(given, parts, photos, queries, index).items():
        method.find(0)  # the first call is slow
        start = time.process_time()
        found = [method.find(query) for query in range(len(queries))]
        finding = time.process_time() - start
        candidates = found if method.candidates is None else [*map(method.candidates, range(len(queries)))]
        start = time.process_time()
        proofs = [
            [proof.inliers for proof in prove(photo, given.keypoints, ids.tolist())]
            for photo, ids in zip(photos, candidates, strict=True)
        ]
        proving = time.process_time() - start
        proved = [verified(*each) for each in zip(found, candidates, proofs, strict=True)]
        rows[name] = {
            "R@1": _recall(found, own, truth, 1),
            f"R@{CANDIDATES}": _recall(candidates, own, truth, CANDIDATES),
            "R@1 verified": _recall(proved, own, truth, 1),
            "certain but wrong": sum(
                bool(ids[0] != right) and max(counts) >= CERTAIN
                for ids, counts, right in zip(proved, proofs, own, strict=True)
            ),
            "ms": finding / len(queries) * 1e3,
            "ms verifying": proving / len(queries) * 1e3,
            "bytes an image": method.size,
        }
        print(name, json.dumps(rows[name]), flush=True)
    return {
        "indexed": len(given.paths),
        "queries": len(queries),
        "keypoints an image": given.keypoints.total / len(given.paths),
        "bytes of keypoints an image": KEYPOINT_BYTES * given.keypoints.total / len(given.paths),
        "ms detecting": detecting,
        "machine": describe_machine(machine_class()),
        "photos from outside": {"queries": count, "certain": sum(inliers >= CERTAIN for inliers in outside)},
        "methods": rows,
    }


def _recall(found: list[Ids], own: list[int], truth: dict[str, str], k: int) -> dict[str, float]:
    """The share of queries whose picture is among the first k, by the folder of the query."""
    hits: dict[str, list[bool]] = {}
    for name, ids, right in zip(truth, found, own, strict=True):
        hits.setdefault(name.split("/")[0], []).append(right in ids[:k])
    return {folder: float(np.mean(values)) for folder, values in hits.items()}


def from_outside(given: Collection, imagenette: Path, count: int, reader: FeatureReader) -> list[list[int]]:
    """The inliers of photos that are not indexed, with each of their nearest images."""
    paths = outsiders(imagenette, count)
    features = reader.load(paths).features.float().numpy()
    return [
        inliers(path, given, given.nearest(row).tolist())
        for path, row in zip(paths, features[:, None], strict=True)
    ]


def outsiders(imagenette: Path, count: int) -> list[Path]:
    """Photos that are not indexed, in random order."""
    photos = find_images(imagenette / "train")
    return [photos[i] for i in np.random.default_rng(0).permutation(len(photos))[:count]]


def inliers(photo: Source, given: Collection, images: Sequence[int]) -> list[int]:
    """The inliers of a query with images."""
    return [p.inliers for p in prove(detect_in_query(photo), given.keypoints, images)]


def table(run: dict[str, Any]) -> str:
    """The figures as a table."""
    columns = ("R@1", f"R@{CANDIDATES}", "R@1 verified")
    lines = [
        "# Photographed paintings",
        "",
        f"{run['queries']} photos of paintings, {run['indexed']:,} images indexed. Keypoints take"
        f" {run['bytes of keypoints an image']:,.0f} bytes an image; to detect those of a query takes"
        f" {run['ms detecting']:.0f} ms. Milliseconds are processor time of one thread; those of kNN, HNSW and visual"
        " words start from features or keypoints, those of the product from the photo.",
        "",
        f"| method | {' | '.join(columns)} | certain but wrong | ms a query | ms verifying | bytes an image |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in run["methods"].items():
        figures = (
            ", ".join(f"{folder} {value:.3f}" for folder, value in row[column].items()) for column in columns
        )
        lines.append(
            f"| {name} | {' | '.join(figures)} | {row['certain but wrong']} | {row['ms']:.1f} |"
            f" {row['ms verifying']:.0f} | {row['bytes an image']:,.0f} |"
        )
    other = run["photos from outside"]
    lines += ["", f"Of {other['queries']:,} photos of other things, {other['certain']} are certain."]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure all methods, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("paintings", "imagenette", "coco"):
        parser.add_argument(name, type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/instances"), metavar="DIR")
    parser.add_argument("--index", type=Path, metavar="INDEX.dsi")
    parser.add_argument("--count", type=int, default=1_000)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    run = measure(given.paintings, given.imagenette, given.coco, given.count, given.index)
    for name, text in (("paintings.json", json.dumps(run, indent=1) + "\n"), ("paintings.md", table(run))):
        with write_atomically(given.output / name) as stream:
            stream.write(text.encode())


if __name__ == "__main__":
    main()
