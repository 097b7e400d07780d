"""One function a method: from a split to the figures of a cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader, device_for
from vitdsi.config import IndexConfig
from vitdsi.evaluation.peers.dense import DenseIndex
from vitdsi.files import write_atomically
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper import phases
from vitdsi.paper.bovw import BagOfVisualWords
from vitdsi.paper.phases import Phase, Watch
from vitdsi.paper.samples import Samples
from vitdsi.paper.scores import chance_figures, figures, model_figures
from vitdsi.training.data import TrainingData
from vitdsi.training.views import PixelViews

TRAINED = ("zero-shot", "fine-tuned", "ours")
UNTRAINED = ("BoVW", "BoVW improved", "kNN", "chance")
METHODS = (*TRAINED, *UNTRAINED)

Result = dict[str, Any]


class _Views(PixelViews):
    """Pixels of which a batch may have no altered ones, as where views is 0."""

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        return super().altered(rows, generator) if len(rows) else self.clean(rows)


@dataclass
class Trained:
    """A model under training with its data; `pixels` are those of all rows."""

    config: IndexConfig
    samples: Samples
    pixels: Tensor
    trie: Trie
    model: Seq2Seq
    data: TrainingData

    def result(self, **did: Phase) -> Result:
        """The figures of the model as it is, after these phases."""
        test = self.samples.rows("test")
        started = time.monotonic()
        measured = model_figures(
            self.model,
            self.trie,
            self.pixels[: self.samples.indexed],
            self.pixels[test.start : test.stop],
            self.samples.relevant_to("test"),
            self.config.seed,
        )
        return measured | {
            "seconds": round(sum(phase.seconds for phase in did.values()), 2),
            "seconds_by_phase": {name: phase.seconds for name, phase in did.items()},
            "seconds_evaluating": round(time.monotonic() - started, 2),
            "steps": sum(phase.steps for phase in did.values()),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "history": phases.as_history(**did),
            "indexed": self.samples.indexed,
        }


def prepare(config: IndexConfig, samples: Samples, pixels: Tensor) -> Trained:
    """Ids, a seeded model and what it learns from. Validation queries are the held-out part."""
    count = samples.indexed
    context = IdContext(
        count,
        config.ids.base or 10,
        seed=config.seed,
        variable_length=config.ids.paper.variable_length,
        labels=samples.cluster_labels(),
    )
    trie = Trie(scheme_named(config.ids.scheme).assign(context), context.base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Seq2Seq(config.model, trie, tuple(pixels.shape[1:]))
    model.to(device_for(config.device))
    train = [row for row in samples.rows("train") if len(samples.relevant[row])]
    held_out = torch.tensor([row for row in samples.rows("validation") if len(samples.relevant[row])])
    views = _Views(pixels)
    data = TrainingData(
        trie,
        torch.arange(count),
        views,
        samples.targets(trie),
        torch.tensor(train),
        views.clean(held_out),
        held_out,
    )
    return Trained(config, samples, pixels, trie, model, data)


def zero_shot(trained: Trained, watch: Watch, weights: Path) -> Result:
    """The paper's indexing phase alone; its weights are kept for the fine-tuned cell."""
    phase = phases.indexing_phase(
        trained.model,
        trained.data,
        trained.config.training,
        seed=trained.config.seed,
        watch=watch,
    )
    weights.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(weights) as stream:
        state = trained.model.state_dict()
        stream.write(save({name: value.cpu().contiguous() for name, value in state.items()}))
    return trained.result(indexing=phase)


def fine_tuned(
    trained: Trained, watch: Watch, weights: Path, indexed: Result, *, early_stopping: bool
) -> Result:
    """The paper's retrieval phase, from the weights of the zero-shot cell with the result `indexed`."""
    trained.model.load_state_dict(load_file(weights))
    history = indexed["history"].get("indexing", [])
    before = Phase(history, indexed["steps"], indexed["seconds"])
    phase = phases.retrieval_phase(
        trained.model,
        trained.data,
        trained.config.training,
        pairs=trained.samples.pairs(),
        early_stopping=early_stopping,
        seed=trained.config.seed,
        watch=watch,
    )
    return trained.result(indexing=before, retrieval=phase)


def ours(trained: Trained, watch: Watch) -> Result:
    """Joint training on the prefix-marginal."""
    phase = phases.joint_phase(
        trained.model,
        trained.data,
        trained.config.training,
        seed=trained.config.seed,
        watch=watch,
    )
    return trained.result(joint=phase)


def bag_of_words(samples: Samples, pixels: Tensor, seed: int, *, improved: bool) -> Result:
    """200 words and cosine, as in the paper's section 3.1; improved: RootSIFT and tf-idf."""
    images = list(pixels.permute(0, 2, 3, 1).numpy())
    index = BagOfVisualWords(200, seed=seed, root_sift=improved, tf_idf=improved)
    return _searched(samples, lambda part: [images[row] for row in part], index, seed)


def nearest_features(samples: Samples, cache: Path | None, seed: int) -> Result:
    """Exact cosine over the frozen backbone's pooled features, which have seen ImageNet: not from scratch."""
    loader = FeatureReader("pooled", cache=cache)
    features = loader.load([record.path for record in samples.records()]).features.float().numpy()
    result = _searched(samples, lambda part: features[part.start : part.stop], DenseIndex("flat"), seed)
    return result | {"parameters": sum(parameter.numel() for parameter in loader.backbone.parameters())}


def chance(samples: Samples) -> Result:
    """A uniformly random ranking."""
    test = samples.relevant_to("test")
    rankings = np.tile(np.arange(samples.indexed), (len(test), 1))
    return chance_figures(rankings, test, samples.indexed) | _untrained(samples, 0.0)


def _searched(samples: Samples, take: Callable[[range], Any], index: Any, seed: int) -> Result:
    """Fit on the indexed images, then search with them and with the test queries."""
    started = time.monotonic()
    indexed = take(samples.rows("indexing"))
    index.fit(indexed)
    seconds = time.monotonic() - started
    own, _ = index.search(indexed, min(5, samples.indexed))
    rankings, _ = index.search(take(samples.rows("test")), samples.indexed)
    measured = figures(own, rankings, samples.relevant_to("test"), samples.indexed, seed)
    return measured | _untrained(samples, seconds)


def _untrained(samples: Samples, seconds: float) -> Result:
    return {
        "seconds": round(seconds, 2),
        "steps": 0,
        "parameters": 0,
        "history": {},
        "indexed": samples.indexed,
    }
