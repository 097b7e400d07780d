"""How many images can a model of a given size remember? The largest N with IA@1 >= .98, and bits per parameter.

    python benchmarks/capacity.py FOLDER ... [-o FILE] [--models trie|digits] [--most N] [key=value ...]

Models are trained on indexing only, with the frozen pooled features of all photos below the folders. For each head,
size and id scheme, N doubles until IA@1 < .98 or all photos are used. Bits per parameter are N log2 N x IA@1 /
parameters; the stem, which reads the features, counts as parameters too. Adds the runs to a JSON file, without
repeating those that it has, and prints them as a table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from shared import pooled_reader
from torch import Tensor

from vitdsi.collection.resolve import resolve_config
from vitdsi.config import IndexConfig, load_config
from vitdsi.files import write_atomically
from vitdsi.ids.assign import assign_ids
from vitdsi.model.initialise import make_model
from vitdsi.photos.find import scan_folder
from vitdsi.search.beam import beam_search
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.targets import OwnId
from vitdsi.training.views import FeatureViews

_MIN_ACCURACY = 0.98
_FIRST_COUNT = 1000
_MODELS = {
    **{
        f"trie, embedding_dim {dim}": ["model.paper.head=trie", f"model.embedding_dim={dim}"]
        for dim in (4, 8, 16, 32, 256)
    },
    **{
        f"digits, embed_dim {dim}": [
            "model.paper.head=digits",
            f"model.embed_dim={dim}",
            f"model.mlp_dim={2 * dim}",
            f"model.embedding_dim={dim}",
            "ids.base=32",
        ]
        for dim in (16, 32, 64)
    },
}
_SCHEMES = ("random", "semantic")
_TRAINING = ["training.retrieval_ratio=0", "training.augment_prob=0", "training.max_epochs=100"]


def measure(requested: IndexConfig, features: Tensor) -> dict[str, Any]:
    """Train a model to index features (N, F); return IA@1, the number of parameters and the time."""
    count = len(features)
    config = resolve_config(requested, count)
    trie = assign_ids(config, features, None)
    model = make_model(config.model, trie, features, config.seed)
    rows, none = torch.arange(count), torch.empty(0, dtype=torch.long)
    data = TrainingData(trie, rows, FeatureViews(features, features[:0]), OwnId(), rows, features[:0], none)
    schedule = train(model, data, config.training, seed=config.seed)
    with torch.inference_mode():
        ids = [beam_search(model, part.float(), trie, 12)[0][:, 0] for part in torch.split(features, 64)]
    accuracy = float((torch.cat(ids) == rows).float().mean())
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "IA@1": round(accuracy, 4),
        "parameters": parameters,
        "bits a parameter": round(count * math.log2(count) * accuracy / parameters, 4),
        "steps": schedule.step,
        "seconds": round(schedule.seconds, 1),
    }


def main() -> None:
    """Measure all models and schemes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="FOLDER | key=value")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("results/capacity/runs.json"), metavar="FILE"
    )
    parser.add_argument("--models", default="", help="only models whose name begins like this")
    parser.add_argument("--most", type=int, metavar="N", help="use at most N photos")
    args = parser.parse_intermixed_args()
    folders = [Path(text) for text in args.given if Path(text).is_dir()]
    overrides = [text for text in args.given if not Path(text).is_dir()]
    paths = [record.path for folder in folders for record in scan_folder(folder, "none")]
    features = pooled_reader().load(paths).features
    features = torch.unique(features, dim=0)  # a model cannot distinguish equal photos
    features = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    features = features[: args.most]
    runs = json.loads(args.output.read_text("utf-8")) if args.output.exists() else []
    for model, settings in _MODELS.items():
        if not model.startswith(args.models):
            continue
        for scheme in _SCHEMES:
            count = min(_FIRST_COUNT, len(features))
            while True:
                setting = {"model": model, "scheme": scheme, "N": count}
                run = next((run for run in runs if setting.items() <= run.items()), None)
                if run is None:
                    config = load_config(
                        overrides=[*settings, f"ids.scheme={scheme}", *_TRAINING, *overrides]
                    )
                    run = {**setting, **measure(config, features[:count])}
                    print(json.dumps(run), file=sys.stderr, flush=True)
                    runs.append(run)
                    args.output.parent.mkdir(parents=True, exist_ok=True)
                    with write_atomically(args.output) as stream:
                        stream.write((json.dumps(runs, indent=1) + "\n").encode())
                if run["IA@1"] < _MIN_ACCURACY or count == len(features):
                    break
                count = min(2 * count, len(features))
    columns = list(runs[0])
    print("| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|", sep="\n")
    for run in runs:
        print("| " + " | ".join(str(run[column]) for column in columns) + " |")


if __name__ == "__main__":
    main()
