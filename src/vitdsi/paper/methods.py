"""The methods of the table, a function each: from a split to the result of a cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader, device_for
from vitdsi.config import IndexConfig
from vitdsi.evaluation.peers import peer_named
from vitdsi.files import write_atomically
from vitdsi.ids.assign import assign_ids
from vitdsi.ids.trie import Trie
from vitdsi.model.initialise import make_model
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper import phases
from vitdsi.paper.bovw import BagOfVisualWords
from vitdsi.paper.flops import flops_per_example
from vitdsi.paper.phases import Callbacks, Phase
from vitdsi.paper.samples import Samples
from vitdsi.paper.scores import score_chance, score_model, score_rankings
from vitdsi.training.data import TrainingData
from vitdsi.training.views import PixelViews

TRAINED = ("zero-shot", "fine-tuned", "ours", "ours by examples")
UNTRAINED = ("BoVW", "BoVW improved", "kNN", "chance")
METHODS = (*TRAINED, *UNTRAINED)

Result = dict[str, Any]


@dataclass
class Experiment:
    """A model and its data, before or after training.

    Attributes:
        config: the configuration.
        samples: the images and their roles.
        pixels: uint8 (rows, 3, S, S), the images of all rows of `samples`, on the device of the model.
        trie: the ids of the indexed images.
        model: the model.
        data: what it is trained on.
    """

    config: IndexConfig
    samples: Samples
    pixels: Tensor
    trie: Trie
    model: Seq2Seq
    data: TrainingData

    def result(self, **finished: Phase) -> Result:
        """Measure the model in its current state, and record the phases by which it was trained."""
        test = self.samples.rows("test")
        started = time.monotonic()
        steps = sum(phase.steps for phase in finished.values())
        examples = steps * self.config.training.batch_size
        flops = flops_per_example(self.config.model, self.trie)
        measured = score_model(
            self.model,
            self.trie,
            self.pixels[: self.samples.indexed],
            self.pixels[test.start : test.stop],
            self.samples.relevant_to("test"),
            self.config.seed,
        )
        return measured | {
            "seconds": round(sum(phase.seconds for phase in finished.values()), 2),
            "seconds_by_phase": {name: phase.seconds for name, phase in finished.items()},
            "seconds_evaluating": round(time.monotonic() - started, 2),
            "steps": steps,
            "examples": examples,
            "petaflops": None if flops is None else examples * flops / 1e15,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "history": phases.curves_by_phase(**finished),
            "indexed": self.samples.indexed,
        }


def prepare(config: IndexConfig, samples: Samples, pixels: Tensor) -> Experiment:
    """Assign ids, initialise the model and gather its training data. Validation queries are held out.

    Args:
        config: the configuration.
        samples: the images and their roles.
        pixels: uint8 (rows, 3, S, S), the images of all rows of `samples`.
    """
    count = samples.indexed
    config = replace(config, ids=replace(config.ids, base=config.ids.base or 10))
    trie = assign_ids(config, pixels[:count], samples.cluster_labels())
    model = make_model(config.model, trie, pixels[:count], config.seed).to(device_for(config.device))
    train = [row for row in samples.rows("train") if len(samples.relevant[row])]
    held_out = [row for row in samples.rows("validation") if len(samples.relevant[row])]
    pixels = pixels.to(next(model.parameters()).device)
    views = PixelViews(pixels)
    data = TrainingData(
        trie,
        torch.arange(count),
        views,
        samples.targets(trie),
        torch.tensor(train, dtype=torch.long),
        views.clean(torch.tensor(held_out, dtype=torch.long)),
        torch.tensor(held_out, dtype=torch.long),
    )
    return Experiment(config, samples, pixels, trie, model, data)


def zero_shot(experiment: Experiment, callbacks: Callbacks, weights: Path) -> Result:
    """Train the paper's indexing phase only, and write the weights to the file `weights` for the fine-tuned cell."""
    phase = phases.indexing_phase(
        experiment.model,
        experiment.data,
        experiment.config.training,
        seed=experiment.config.seed,
        callbacks=callbacks,
    )
    weights.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(weights) as stream:
        state = experiment.model.state_dict()
        stream.write(save({name: value.cpu().contiguous() for name, value in state.items()}))
    return experiment.result(indexing=phase)


def fine_tuned(
    experiment: Experiment, callbacks: Callbacks, weights: Path, zero_shot: Result, *, early_stopping: bool
) -> Result:
    """Train the paper's retrieval phase, from the weights and with the result of the zero-shot cell."""
    experiment.model.load_state_dict(load_file(weights))
    history = zero_shot["history"].get("indexing", [])
    indexing = Phase(history, zero_shot["steps"], zero_shot["seconds"])
    phase = phases.retrieval_phase(
        experiment.model,
        experiment.data,
        experiment.config.training,
        pairs=experiment.samples.pairs(),
        early_stopping=early_stopping,
        seed=experiment.config.seed,
        callbacks=callbacks,
    )
    return experiment.result(indexing=indexing, retrieval=phase)


def ours(experiment: Experiment, callbacks: Callbacks) -> Result:
    """Train indexing and retrieval jointly, on the exact prefix-marginal of the relevant ids."""
    phase = phases.joint_phase(
        experiment.model,
        experiment.data,
        experiment.config.training,
        seed=experiment.config.seed,
        callbacks=callbacks,
    )
    return experiment.result(joint=phase)


def bag_of_words(samples: Samples, pixels: Tensor, seed: int, *, improved: bool) -> Result:
    """Search by 200 visual words and cosine, as in the paper's section 3.1; `improved` adds RootSIFT and tf-idf."""
    images = list(pixels.permute(0, 2, 3, 1).numpy())
    index = BagOfVisualWords(200, seed=seed, root_sift=improved, tf_idf=improved)
    return _searched(samples, lambda part: [images[row] for row in part], index, seed)


def nearest_features(samples: Samples, cache: Path | None, seed: int) -> Result:
    """Search by exact cosine over the pooled features of the frozen backbone, which was trained on ImageNet."""
    reader = FeatureReader("pooled", cache=cache)
    features = reader.load([record.path for record in samples.records()]).features.float().numpy()
    result = _searched(samples, lambda part: features[part.start : part.stop], peer_named("raw cosine"), seed)
    return result | {"parameters": sum(parameter.numel() for parameter in reader.backbone.parameters())}


def chance(samples: Samples) -> Result:
    """The expected result of a uniformly random ranking."""
    test = samples.relevant_to("test")
    rankings = np.tile(np.arange(samples.indexed), (len(test), 1))
    return score_chance(rankings, test, samples.indexed) | _untrained(samples, 0.0)


def _searched(samples: Samples, take: Callable[[range], Any], index: Any, seed: int) -> Result:
    """Fit `index` on the indexed images, and search with them and with the test queries."""
    started = time.monotonic()
    indexed = take(samples.rows("indexing"))
    index.fit(indexed)
    seconds = time.monotonic() - started
    own, _ = index.search(indexed, min(5, samples.indexed))
    rankings, _ = index.search(take(samples.rows("test")), samples.indexed)
    measured = score_rankings(own, rankings, samples.relevant_to("test"), samples.indexed, seed)
    return measured | _untrained(samples, seconds)


def _untrained(samples: Samples, seconds: float) -> Result:
    return {
        "seconds": round(seconds, 2),
        "steps": 0,
        "examples": 0,
        "petaflops": 0.0,
        "parameters": 0,
        "history": {},
        "indexed": samples.indexed,
    }
