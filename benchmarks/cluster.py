"""What a cluster needs for 10 million, 100 million and a billion images, from costs that were measured on few.

    python benchmarks/cluster.py [--pass-ms 20] [--examples 2000] [--views 3] [--images N ...]

Prints a Markdown table. All figures are products of measured costs of one image and the number of images; nothing was
measured at these sizes.

- Reading: (1 + views) passes of the backbone, each of `--pass-ms` on a core with decoding, divided by the cores. One
  process took 16.5 ms a photo (`results/main_job/build.json`), and wants 1.2 cores (`results/extraction/`).
- Training: epochs / (1 - .5) examples of each image, since half of a batch is indexing, divided by `--examples` a
  second of a machine and by the machines. The exchange of gradients is left out. Two cores managed 4,200 at 5,000
  images (`results/main_job/build.json`: 996 steps of 256 in the seconds beside the backbone); half of it is assumed.
- Memory of each process that trains: the features of the images and of their hard views (2,560 bytes each) and the
  lists of neighbours (201 of 6 bytes), which are mapped from a file, and for each image its row and Adam's first moment
  of it in float32, and its second moment.
- Memory of the machine that builds: the same features and lists, as they are gathered.
- Disk: the cache, and the index in its two sizes.
- Shards: the index by what one of them may hold.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from vitdsi.collection.resolve import embedding_dim_for, epochs_for
from vitdsi.config import IndexConfig
from vitdsi.config.budget import SMALL

_FEATURES = 2560  # bytes of the features of a picture
_LIST = 201 * 6  # bytes of the neighbours of an image and their weights
_BESIDE_VECTOR = 182 + 300 * 21 + 60  # bytes of an image: thumbnail, keypoints, and the rest
_RETRIEVAL = 0.5  # share of retrieval examples


@dataclass(frozen=True)
class Costs:
    """The measured costs, and the machines of the cluster.

    Attributes:
        pass_ms: milliseconds of a core for a pass of the backbone.
        examples: training examples a second of one machine.
        views: hard views of an image.
        cores, machines: cores of a machine, and the number of machines.
        shard_gigabytes: what a shard may hold.
    """

    pass_ms: float
    examples: float
    views: int
    cores: int
    machines: int
    shard_gigabytes: float


def needs(images: int, costs: Costs) -> list[str]:
    """The needs of a collection, as cells of the table."""
    passes = images * (1 + costs.views)
    reading = passes * costs.pass_ms / 3.6e6
    training = images * epochs_for(images) / (1 - _RETRIEVAL) / costs.examples / 3600
    width = embedding_dim_for(images, IndexConfig().model.embedding_dim)
    gathered = images * (_FEATURES * (1 + costs.views) + _LIST)
    rows = images * (2 * 4 * width + 4)
    small, standard = images * SMALL, images * (1.25 * min(128, width) + _BESIDE_VECTOR)
    shards = [max(1, -(-int(size) // int(costs.shard_gigabytes * 1e9))) for size in (small, standard)]
    return [
        f"{images:,}",
        f"{reading:,.0f}",
        f"{reading / costs.cores / costs.machines:,.1f}",
        f"{training:,.0f}",
        f"{training / costs.machines:,.1f}",
        str(width),
        f"{gathered / 1e9:,.0f}",
        f"{rows / 1e9:,.0f}",
        f"{passes * (_FEATURES + 1024 / (1 + costs.views)) / 1e12:,.2f}",
        f"{small / 1e9:,.1f} / {standard / 1e9:,.0f}",
        f"{shards[0]} / {shards[1]}",
    ]


_COLUMNS = [
    "images",
    "reading, core hours",
    "reading, hours",
    "training, machine hours",
    "training, hours",
    "width",
    "features, GB",
    "rows, GB",
    "cache, TB",
    "index, GB",
    "shards",
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[10**7, 10**8, 10**9])
    parser.add_argument("--pass-ms", type=float, default=20)
    parser.add_argument("--examples", type=float, default=2000)
    parser.add_argument("--views", type=int, default=IndexConfig().training.hard_views)
    parser.add_argument("--cores", type=int, default=32)
    parser.add_argument("--machines", type=int, default=16)
    parser.add_argument("--shard-gigabytes", type=float, default=32)
    given = vars(parser.parse_args())
    images = given.pop("images")
    print("| " + " | ".join(_COLUMNS) + " |")
    print("| " + " | ".join(["---"] * len(_COLUMNS)) + " |")
    for count in images:
        print("| " + " | ".join(needs(count, Costs(**given))) + " |")


if __name__ == "__main__":
    main()
