"""Computes the cells of a table, each once; some start from the results of others."""

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
from vitdsi.paper.phases import Callbacks
from vitdsi.paper.recipes import our_recipe, paper_recipe
from vitdsi.paper.samples import Dataset, Samples, sample
from vitdsi.progress import OnProgress

SCHEMES = ("random", "clustered")
NO_IDS = "-"
# What our recipe has in common with the fine-tuned cell, by method.
_MATCHED = {"ours": "time of", "ours by examples": "examples of"}
_OUR_TIME_SHARE = 0.9  # of the training time of the fine-tuned cell, as training overruns its limit a little


@dataclass(frozen=True)
class Options:
    """The cells of a table, and how they are computed.

    Attributes:
        sizes: numbers of images in all roles (DB sizes).
        schemes: id schemes.
        methods: methods, of `METHODS`.
        seeds: seeds of split, ids and model.
        image_size: side in pixels of the images that models read.
        bovw_size: side in pixels of the images that SIFT reads.
        indexing_share: share of the images to index.
        num_classes: number of classes, as in `split_per_class`.
        min_per_class: smallest class, as in `split_per_class`.
        early_stopping: whether the paper's retrieval phase may end before its last epoch.
        retrieval_epochs: limit of the paper's retrieval phase in epochs, for each size; none for that of the paper.
        finished: leave out the cells that are not in the store instead of computing them.
        quick: train much shorter, to try the code; the results cannot be compared with those of the full table.
        overrides: `key=value` of the configuration; those that begin with `ours.` apply to our recipe only.

    Raises:
        UsageError: there is no method or no scheme, or one is unknown, or there are not as many limits as sizes.
    """

    sizes: tuple[int, ...] = (512, 1024, 2048)
    schemes: tuple[str, ...] = SCHEMES
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = (0,)
    image_size: int = 160
    bovw_size: int = 160
    indexing_share: float = 0.25
    num_classes: int | None = None
    min_per_class: int = 1
    early_stopping: bool = True
    retrieval_epochs: tuple[float, ...] = ()
    finished: bool = False
    quick: bool = False
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values, known in (("scheme", self.schemes, SCHEMES), ("method", self.methods, METHODS)):
            if not values:
                raise UsageError(f"no {name} is given; choose from {', '.join(known)}")
            for value in values:
                if value not in known:
                    raise UsageError(f"{name} {value!r} is unknown; choose from {', '.join(known)}")
        if self.retrieval_epochs and len(self.retrieval_epochs) != len(self.sizes):
            raise UsageError(
                f"{len(self.retrieval_epochs)} limits of retrieval epochs for {len(self.sizes)} sizes; give one each"
            )


class Runner:
    """Computes the cells that the store does not have.

    Args:
        dataset: the images and their labels.
        options: the cells, and how they are computed.
        store: the finished cells.
        cache: folder of the feature cache of the backbone, for kNN; None for no cache.
        say: called with a line of text at the start and the end of a cell.
        on_progress: called by the training loop.

    Attributes:
        missing: the cells that the last `run` left out, as they were not finished.

    Raises:
        ConfigError: an override is not valid.
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
        self.missing: list[Cell] = []
        self._samples: dict[tuple[int, int], Samples] = {}
        self._pixels: tuple[tuple[int, int, int], Tensor] | None = None
        # Wrong overrides raise an error now, before anything is computed.
        self.config("fine-tuned", options.sizes[0], SCHEMES[0], 0)
        self.config("ours", options.sizes[0], SCHEMES[0], 0)

    def run(self) -> list[tuple[Cell, Result]]:
        """Return all cells with their results. Methods without ids have one cell for all schemes.

        Raises:
            UsageError: only finished cells are wanted, and there is none.
        """
        cells: list[tuple[Cell, Result]] = []
        self.missing = []
        for seed in self.options.seeds:
            for size in self.options.sizes:
                for method in (name for name in METHODS if name in self.options.methods):
                    schemes: Sequence[str] = self.options.schemes if method in TRAINED else (NO_IDS,)
                    for scheme in schemes:
                        cell = self.cell(method, size, scheme, seed)
                        if self.wants(cell):
                            cells.append(self.result(method, size, scheme, seed))
                        else:
                            self.missing.append(cell)
        if not cells:
            raise UsageError(f"{self.store.folder}: no cell of this table is finished; compute some first")
        return cells

    def wants(self, cell: Cell) -> bool:
        """Whether a cell is part of the table: it is finished, or may be computed."""
        return not self.options.finished or self.store.load(cell) is not None

    def result(self, method: str, size: int, scheme: str, seed: int) -> tuple[Cell, Result]:
        """Return a cell with its result, from the store if it is there."""
        cell = self.cell(method, size, scheme, seed)
        return cell, self.stored(cell, lambda: self._compute(cell))

    def stored(self, cell: Cell, compute: Callable[[], Result]) -> Result:
        """Return the result of a cell from the store, or compute it, which adds the machine, and store it."""
        result = self.store.load(cell)
        if result is not None:
            self.say(f"{_title(cell)}: already computed")
            return result
        self.say(f"{_title(cell)}: started")
        result = {**compute(), "machine": machine_class()}
        self.store.save(cell, result)
        self.say(f"{_title(cell)}: {_headline(result)}")
        return result

    def cell(self, method: str, size: int, scheme: str, seed: int) -> Cell:
        """Return the cell, which is identified by the split and all settings that its result depends on."""
        settings: dict[str, Any] = {"split": self.samples(size, seed).digest()}
        if method in TRAINED:
            settings["config"] = asdict(self.config(method, size, scheme, seed))
        elif method.startswith("BoVW"):
            settings["image_size"] = self.options.bovw_size
        if method == "fine-tuned":
            settings["early_stopping"] = self.options.early_stopping
        if method in _MATCHED:
            settings[_MATCHED[method]] = self.cell("fine-tuned", size, scheme, seed).name()
        return Cell(self.dataset.name, self.dataset.relevance, size, scheme, method, seed, settings)

    def samples(self, size: int, seed: int) -> Samples:
        """Return a split; its manifest is written to the folder of the store."""
        if (size, seed) not in self._samples:
            samples = sample(
                self.dataset,
                size,
                seed,
                indexing_share=self.options.indexing_share,
                num_classes=self.options.num_classes,
                min_per_class=self.options.min_per_class,
            )
            name = f"{self.dataset.name}-{size}-seed{seed}-{samples.digest()}.json"
            samples.manifest(self.store.folder / "manifests" / name)
            self._samples[size, seed] = samples
        return self._samples[size, seed]

    def pixels(self, size: int, seed: int, image_size: int) -> Tensor:
        """Return the images of a split; only the last ones are kept in memory."""
        wanted = (size, seed, image_size)
        if self._pixels is None or self._pixels[0] != wanted:
            self._pixels = None
            self._pixels = wanted, self.samples(size, seed).pixels(image_size)
        return self._pixels[1]

    def _compute(self, cell: Cell) -> Result:
        samples, method = self.samples(cell.size, cell.seed), cell.method
        if method in TRAINED:
            return self._train(cell)
        if method == "kNN":
            return methods.nearest_features(samples, self.cache, cell.seed)
        if method == "chance":
            return methods.chance(samples)
        pixels = self.pixels(cell.size, cell.seed, self.options.bovw_size)
        return methods.bag_of_words(samples, pixels, cell.seed, improved=method == "BoVW improved")

    def zero_shot_weights(self, size: int, scheme: str, seed: int) -> tuple[Path, Result]:
        """The file of weights of a zero-shot cell and its result; both are computed first if necessary."""
        cell, result = self.result("zero-shot", size, scheme, seed)
        weights = self.store.weights(cell)
        if not weights.is_file():
            self.store.path(cell).unlink()
            result = self.result("zero-shot", size, scheme, seed)[1]
        return weights, result

    def prepare(self, config: IndexConfig, size: int, seed: int) -> methods.Experiment:
        """Return an untrained model with the data of a split."""
        return methods.prepare(
            config, self.samples(size, seed), self.pixels(size, seed, self.options.image_size)
        )

    def _train(self, cell: Cell) -> Result:
        """Train and measure a model. The cell that the method builds on is computed first if necessary."""
        size, scheme, seed = cell.size, cell.scheme, cell.seed
        weights, source = self.store.weights(cell), Result()
        if cell.method == "fine-tuned":
            weights, source = self.zero_shot_weights(size, scheme, seed)
        limits = self.limits(cell) if cell.method in _MATCHED else {}
        experiment = self.prepare(self.config(cell.method, size, scheme, seed, **limits), size, seed)
        with self.callbacks(cell) as callbacks:
            if cell.method == "zero-shot":
                return methods.zero_shot(experiment, callbacks, weights)
            if cell.method in _MATCHED:
                return methods.ours(experiment, callbacks)
            stopping = self.options.early_stopping
            return methods.fine_tuned(experiment, callbacks, weights, source, early_stopping=stopping)

    def limits(self, cell: Cell) -> dict[str, float]:
        """The limit of our training in `minutes` or `epochs`, which is taken from the fine-tuned cell."""
        _, fine_tuned = self.result("fine-tuned", cell.size, cell.scheme, cell.seed)
        if cell.method == "ours":
            return {"minutes": _OUR_TIME_SHARE * fine_tuned["seconds"] / 60}
        ratio = self.config(cell.method, cell.size, cell.scheme, cell.seed).training.retrieval_ratio
        return {"epochs": fine_tuned["examples"] * (1 - ratio) / fine_tuned["indexed"]}

    @contextlib.contextmanager
    def callbacks(self, cell: Cell) -> Iterator[Callbacks]:
        """Yield callbacks that show the progress of a cell and write its curves."""
        log = CurveLog(self.store.folder / "logs" / cell.name(), self.say)
        with contextlib.closing(log):
            yield Callbacks(self.on_progress, log.add)

    def config(self, method: str, size: int, scheme: str, seed: int, **limits: float) -> IndexConfig:
        """The configuration of a trained method; `limits` are those of `our_recipe`."""
        options = self.options
        if method in _MATCHED:
            return our_recipe(scheme, seed, options.image_size, options.overrides, **limits)
        epochs = dict(zip(options.sizes, options.retrieval_epochs, strict=False)).get(size)
        limit = () if epochs is None else (f"training.paper.retrieval_epochs={epochs}",)
        overrides = (*options.overrides, *limit)
        config = paper_recipe(scheme, seed, options.image_size, overrides, quick=options.quick)
        if method == "zero-shot":  # does not depend on the settings of the retrieval phase
            paper = replace(config.training.paper, retrieval_epochs=0.0, target="sampled")
            config = replace(config, training=replace(config.training, patience=0, paper=paper))
        return config


def _title(cell: Cell) -> str:
    ids = "" if cell.scheme == NO_IDS else f", {cell.scheme} ids"
    return f"{cell.dataset} {cell.size}, {cell.method}{ids}, seed {cell.seed}"


def _headline(result: Result) -> str:
    shown = [f"{name} {result['metrics'][name]['value']:.3f}" for name in ("IA@1", "P@10", "Recall@100")]
    return f"{', '.join(shown)}, {result['seconds']:.0f} s"
