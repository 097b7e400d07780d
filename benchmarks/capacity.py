"""How many images can a model of a given size remember? The largest N with IA@1 >= .98, and bits a parameter.

    python benchmarks/capacity.py FOLDER ... [-o FILE] [--models trie|digits] [key=value ...]

Indexing alone, on the frozen pooled features of all photos below the folders. For each head, size and id scheme, N
doubles until IA@1 < .98 or the photos are used up. Bits a parameter are N log2 N x IA@1 / parameters; what the model
reads features with counts as parameters too. Writes a JSON list of the runs, going on from one that is there, and
prints a table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.build import Collection, build_model, build_trie
from vitdsi.config import IndexConfig, load_config
from vitdsi.files import write_atomically
from vitdsi.photos.find import scan_folder
from vitdsi.search.beam import beam_search
from vitdsi.training.loop import TrainingData, train
from vitdsi.training.targets import OwnId
from vitdsi.training.views import FeatureViews

_ENOUGH = 0.98
_FIRST = 1000
_MODELS = {
    **{
        f"trie, head_dim {dim}": ["model.paper.head=trie", f"model.embedding_dim={dim}"]
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


def remembered(config: IndexConfig, features: Tensor) -> dict[str, Any]:
    """IA@1 of the features (N, F) after indexing, and what it cost."""
    count = len(features)
    names = [str(i) for i in range(count)]
    collection = Collection(names, None, [], features, torch.empty(0), names, [])
    trie = build_trie(config, collection)
    model = build_model(config, trie, features)
    rows, none = torch.arange(count), torch.empty(0, dtype=torch.long)
    data = TrainingData(trie, rows, FeatureViews(features, features[:0]), OwnId(), rows, features[:0], none)
    schedule = train(model, data, config.training, seed=config.seed)
    with torch.inference_mode():
        found = [beam_search(model, part.float(), trie, 12)[0][:, 0] for part in torch.split(features, 64)]
    accuracy = float((torch.cat(found) == rows).float().mean())
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "IA@1": round(accuracy, 4),
        "parameters": parameters,
        "bits a parameter": round(count * math.log2(count) * accuracy / parameters, 4),
        "steps": schedule.step,
        "seconds": round(schedule.seconds, 1),
    }


def main() -> None:
    """All models and schemes."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("given", nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/capacity/runs.json"))
    parser.add_argument("--models", default="", help="those whose name begins so")
    parser.add_argument("--most", type=int, help="photos to use at most")
    args = parser.parse_intermixed_args()
    folders = [Path(text) for text in args.given if Path(text).is_dir()]
    overrides = [text for text in args.given if not Path(text).is_dir()]
    paths = [record.path for folder in folders for record in scan_folder(folder, "none")]
    features = FeatureReader("pooled", cache=default_cache()).load(paths).features
    features = torch.unique(features, dim=0)  # photos that are there twice cannot be told apart
    features = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    features = features[: args.most]
    runs = json.loads(args.output.read_text("utf-8")) if args.output.exists() else []
    for model, settings in _MODELS.items():
        if not model.startswith(args.models):
            continue
        for scheme in _SCHEMES:
            count = _FIRST
            while True:
                count = min(count, len(features))
                what = {"model": model, "scheme": scheme, "N": count}
                found = next((run for run in runs if what.items() <= run.items()), None)
                if found is None:
                    fixed = [
                        "training.retrieval_ratio=0",
                        "training.augment_prob=0",
                        "training.max_epochs=100",
                    ]
                    config = load_config(overrides=[*settings, f"ids.scheme={scheme}", *fixed, *overrides])
                    found = {**what, **remembered(config, features[:count])}
                    print(json.dumps(found), file=sys.stderr, flush=True)
                    runs.append(found)
                    args.output.parent.mkdir(parents=True, exist_ok=True)
                    with write_atomically(args.output) as stream:
                        stream.write((json.dumps(runs, indent=1) + "\n").encode())
                if found["IA@1"] < _ENOUGH or count == len(features):
                    break
                count *= 2
    columns = list(runs[0])
    print("| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|", sep="\n")
    for run in runs:
        print("| " + " | ".join(str(run[column]) for column in columns) + " |")


if __name__ == "__main__":
    main()
