"""Computes the cells of a table, each once, in an order in which later ones can use earlier ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vitdsi.config import IndexConfig
from vitdsi.errors import UsageError
from vitdsi.paper import methods
from vitdsi.paper.cells import Cell, CellStore
from vitdsi.paper.log import CurveLog
from vitdsi.paper.machine import machine_class
from vitdsi.paper.methods import METHODS, TRAINED, Result
from vitdsi.paper.phases import Watch
from vitdsi.paper.recipes import our_recipe, paper_recipe
from vitdsi.paper.samples import Dataset, Samples, sample
from vitdsi.progress import OnProgress

SCHEMES = ("random", "clustered")
NO_IDS = "-"
_BUDGET = 0.9  # share of the paper's training time that ours aims at, as it cannot stop at the second


@dataclass(frozen=True)
class Options:
    """What a table is made of.

    Attributes:
        sizes: images in all. image_size: side of the models' input; bovw_size: of the images that SIFT sees.
        num_classes, min_per_class: which classes take part, as in `split_per_class`.
        overrides: `key=value` of the configuration; those that begin with `ours.` are for our recipe alone.
        early_stopping: of the paper's retrieval phase; without, it takes all its epochs.
        quick: much shorter training, for a look; never comparable with the full table.
    """

    sizes: tuple[int, ...] = (512, 1024, 2048)
    schemes: tuple[str, ...] = SCHEMES
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = (0,)
    image_size: int = 64
    bovw_size: int = 160
    indexing_share: float = 0.25
    num_classes: int | None = None
    min_per_class: int = 1
    early_stopping: bool = True
    quick: bool = False
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values, known in (("scheme", self.schemes, SCHEMES), ("method", self.methods, METHODS)):
            for value in values:
                if value not in known:
                    raise UsageError(f"{name} {value!r} is unknown; choose from {', '.join(known)}")


class Runner:
    """Computes cells, or takes them from the store.

    Args:
        cache: folder of the backbone's feature cache, for kNN; None keeps none.
        say: called with a line at the start and the end of a cell.
        on_progress: called by the training loop.
    """

    def __init__(
        self,
        dataset: Dataset,
        options: Options,
        store: CellStore,
        *,
        cache: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        on_progress: OnProgress = None,
    ) -> None:
        self.dataset, self.options, self.store = dataset, options, store
        self.cache, self.say, self.on_progress = cache, say, on_progress
        self._samples: dict[tuple[int, int], Samples] = {}
        self._pixels: tuple[tuple[int, int, int], Tensor] | None = None
        self._config("fine-tuned", SCHEMES[0], 0)  # a wrong override is said before anything runs
        self._config("ours", SCHEMES[0], 0)

    def run(self) -> list[tuple[Cell, Result]]:
        """Every cell of the table, those that do not depend on ids once."""
        found = []
        for seed in self.options.seeds:
            for size in self.options.sizes:
                for method in (name for name in METHODS if name in self.options.methods):
                    schemes: Sequence[str] = self.options.schemes if method in TRAINED else (NO_IDS,)
                    found += [self.result(method, size, scheme, seed) for scheme in schemes]
        return found

    def result(self, method: str, size: int, scheme: str, seed: int) -> tuple[Cell, Result]:
        """One cell and its figures."""
        cell = self.cell(method, size, scheme, seed)
        kept = self.store.load(cell)
        if kept is not None:
            self.say(f"{_title(cell)}: kept")
            return cell, kept
        if method == "ours":
            _, paper = self.result("fine-tuned", size, scheme, seed)
            minutes = _BUDGET * paper["seconds"] / 60
        self.say(f"{_title(cell)}: begins")
        samples = self.samples(size, seed)
        if method in TRAINED:
            pixels = self.pixels(size, seed, self.options.image_size)
            config = self._config(method, scheme, seed)
            if method == "zero-shot":
                result = self._zero_shot(cell, config, samples, pixels)
            elif method == "fine-tuned":
                indexed, paper = self.result("zero-shot", size, scheme, seed)
                if not self.store.weights(indexed).is_file():
                    zero_config = self._config("zero-shot", scheme, seed)
                    paper = self._zero_shot(indexed, zero_config, samples, pixels)
                    self.store.save(indexed, paper)
                trained = methods.prepare(config, samples, pixels)
                with self._watch(cell) as watch:
                    result = methods.fine_tuned(
                        trained,
                        watch,
                        self.store.weights(indexed),
                        paper,
                        early_stopping=self.options.early_stopping,
                    )
            else:
                config = replace(config, training=replace(config.training, minutes=minutes))
                with self._watch(cell) as watch:
                    result = methods.ours(methods.prepare(config, samples, pixels), watch)
        elif method == "kNN":
            result = methods.nearest_features(samples, self.cache, seed)
        elif method == "chance":
            result = methods.chance(samples)
        else:
            pixels = self.pixels(size, seed, self.options.bovw_size)
            result = methods.bag_of_words(samples, pixels, seed, improved=method == "BoVW improved")
        result = {**result, "machine": machine_class()}
        self.store.save(cell, result)
        self.say(f"{_title(cell)}: {_headline(result)}")
        return cell, result

    def cell(self, method: str, size: int, scheme: str, seed: int) -> Cell:
        """What identifies a cell: the split, and the settings that its figures depend on."""
        settings: dict[str, Any] = {"split": self.samples(size, seed).digest()}
        if method in TRAINED:
            settings["config"] = asdict(self._config(method, scheme, seed))
        elif method.startswith("BoVW"):
            settings["image_size"] = self.options.bovw_size
        if method == "fine-tuned":
            settings["early_stopping"] = self.options.early_stopping
        if method == "ours":
            settings["time of"] = self.cell("fine-tuned", size, scheme, seed).name()
        return Cell(self.dataset.name, self.dataset.relevance, size, scheme, method, seed, settings)

    def samples(self, size: int, seed: int) -> Samples:
        """The split, written down the first time."""
        if (size, seed) not in self._samples:
            made = sample(
                self.dataset,
                size,
                seed,
                indexing_share=self.options.indexing_share,
                num_classes=self.options.num_classes,
                min_per_class=self.options.min_per_class,
            )
            name = f"{self.dataset.name}-{size}-seed{seed}-{made.digest()}.json"
            made.manifest(self.store.folder / "manifests" / name)
            self._samples[size, seed] = made
        return self._samples[size, seed]

    def pixels(self, size: int, seed: int, image_size: int) -> Tensor:
        """The images of a split; only the last ones asked for are held."""
        wanted = (size, seed, image_size)
        if self._pixels is None or self._pixels[0] != wanted:
            self._pixels = None
            self._pixels = wanted, self.samples(size, seed).pixels(image_size)
        return self._pixels[1]

    def _zero_shot(self, cell: Cell, config: IndexConfig, samples: Samples, pixels: Tensor) -> Result:
        trained = methods.prepare(config, samples, pixels)
        with self._watch(cell) as watch:
            return methods.zero_shot(trained, watch, self.store.weights(cell))

    @contextlib.contextmanager
    def _watch(self, cell: Cell) -> Iterator[Watch]:
        """What follows the training of a cell: the display, and the log of its curves."""
        log = CurveLog(self.store.folder / "logs" / cell.name(), self.say)
        with contextlib.closing(log):
            yield Watch(self.on_progress, log.add)

    def _config(self, method: str, scheme: str, seed: int) -> IndexConfig:
        given = (scheme, seed, self.options.image_size, self.options.overrides)
        if method == "ours":
            return our_recipe(*given)
        config = paper_recipe(*given, quick=self.options.quick)
        if method == "zero-shot":  # the indexing phase is the same whatever follows it
            paper = replace(config.training.paper, retrieval_epochs=0.0, target="sampled")
            config = replace(config, training=replace(config.training, patience=0, paper=paper))
        return config


def _title(cell: Cell) -> str:
    ids = "" if cell.scheme == NO_IDS else f", {cell.scheme} ids"
    return f"{cell.dataset} {cell.size}, {cell.method}{ids}, seed {cell.seed}"


def _headline(result: Result) -> str:
    shown = [f"{name} {result['metrics'][name]['value']:.3f}" for name in ("IA@1", "P@10", "Recall@100")]
    return f"{', '.join(shown)}, {result['seconds']:.0f} s"
