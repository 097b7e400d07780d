"""The factorial design: what our recipe changes, and the training of one combination."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.config import IndexConfig
from vitdsi.paper import phases
from vitdsi.paper.cells import Cell
from vitdsi.paper.methods import Experiment, Result
from vitdsi.paper.phases import Callbacks, Phase
from vitdsi.paper.runner import Runner

Floats = npt.NDArray[np.float64]
_NEVER = 1_000_000  # evaluations


@dataclass(frozen=True)
class Factor:
    """Something that our recipe changes.

    Attributes:
        letter: its letter in the name of a combination.
        name: what it is.
        paper: settings of the paper's recipe.
        ours: settings of ours.
    """

    letter: str
    name: str
    paper: dict[str, Any]
    ours: dict[str, Any]


def _factor(letter: str, name: str, **values: tuple[Any, Any]) -> Factor:
    paper, ours = ({key: pair[side] for key, pair in values.items()} for side in (0, 1))
    return Factor(letter, name, paper, ours)


FACTORS = (
    _factor("J", "joint schedule", schedule=("sequential", "joint")),
    _factor("M", "marginal target", target=("sampled", "marginal")),
    _factor("C", "constrained scores", constrained=(False, True)),
    _factor("A", "altered views", augment_prob=(0.0, 0.5)),
    _factor("B", "batch of 64 instead of 32", batch_size=(32, 64)),
    _factor(
        "R",
        "rate of .001 with cooldown and weight decay, instead of a constant .0005",
        learning_rate=(5e-4, 1e-3),
        warmup_steps=(1, 50),
        cooldown=(0.0, 0.4),
        weight_decay=(0.0, 0.05),
    ),
)
Combination = tuple[bool, ...]  # for each factor, whether it is ours


def combinations() -> list[Combination]:
    """The 16 of 64 combinations with B = J M C and R = M C A (levels as signs), the paper's recipe and ours first.

    This 2^(6-2) design has resolution IV (Box, Hunter and Hunter, "Statistics for Experimenters", 2005, chapter 6):
    main effects are not confused with interactions of two factors, but some of these with one another.
    """
    chosen = []
    for j, m, c, a in itertools.product((False, True), repeat=4):
        chosen.append((j, m, c, a, (j + m + c) % 2 == 1, (m + c + a) % 2 == 1))
    return sorted(chosen, key=lambda given: sum(given) not in (0, len(FACTORS)))


def interactions() -> list[list[tuple[int, int]]]:
    """The pairs of factors, in lists of those whose interactions cannot be told apart."""
    aliases: dict[tuple[float, ...], list[tuple[int, int]]] = {}
    for pair in itertools.combinations(range(len(FACTORS)), 2):
        aliases.setdefault(tuple(_signs(combinations(), pair)), []).append(pair)
    return list(aliases.values())


def name_of(combination: Combination) -> str:
    """The name of a combination: the letters of the factors that are ours, and dots for the others."""
    return "".join(factor.letter if ours else "." for factor, ours in zip(FACTORS, combination, strict=True))


def effect(values: Floats, factors: Sequence[int]) -> Floats:
    """The effect of a factor, or the interaction of two, on values (16, ...) of the combinations.

    A main effect is the mean with our level minus the mean with the paper's. An interaction is half the difference
    between the effects of one factor at both levels of the other.
    """
    signs = np.array(_signs(combinations(), factors))
    found: Floats = np.tensordot(signs, values, axes=1) / (len(signs) / 2)
    return found


def _signs(chosen: Sequence[Combination], factors: Sequence[int]) -> list[float]:
    return [float(prod(1 if given[factor] else -1 for factor in factors)) for given in chosen]


def configured(config: IndexConfig, combination: Combination) -> IndexConfig:
    """The paper's configuration with the levels of a combination."""
    chosen: dict[str, Any] = {}
    for factor, ours in zip(FACTORS, combination, strict=True):
        chosen |= factor.ours if ours else factor.paper
    paper = {key: chosen.pop(key) for key in list(chosen) if hasattr(config.training.paper, key)}
    # Evaluations are as many examples apart with either batch size.
    every = max(1, config.training.evaluate_every * config.training.batch_size // chosen["batch_size"])
    training = replace(config.training, evaluate_every=every, **chosen)
    return replace(config, training=replace(training, paper=replace(training.paper, **paper)))


def combined_cell(
    runner: Runner, combination: Combination, size: int, scheme: str, seed: int, examples: int | None
) -> Cell:
    """The cell of a combination."""
    settings: dict[str, Any] = {
        "split": runner.samples(size, seed).digest(),
        "config": asdict(_config(runner, combination, size, scheme, seed)),
    }
    if examples is None:
        settings["examples of"] = runner.cell("fine-tuned", size, scheme, seed).name()
    else:
        settings["examples"] = examples
    dataset = runner.dataset
    return Cell(dataset.name, dataset.relevance, size, scheme, name_of(combination), seed, settings)


def combined(
    runner: Runner,
    combination: Combination,
    size: int,
    scheme: str,
    seed: int,
    examples: int | None = None,
) -> tuple[Cell, Result]:
    """Return the cell of a combination, with its result, from the store if it is there.

    All combinations may use as many examples: those given, or as many as the fine-tuned cell of Table 1. Joint training
    uses all of them. Sequential training has its indexing phase until its target accuracy, and the retrieval phase may
    use what is left; it has the weights of its lowest validation loss, as in Table 1.
    """
    cell = combined_cell(runner, combination, size, scheme, seed, examples)

    def compute() -> Result:
        limit = examples or runner.result("fine-tuned", size, scheme, seed)[1]["examples"]
        experiment = runner.prepare(_config(runner, combination, size, scheme, seed), size, seed)
        with runner.callbacks(cell) as callbacks:
            return experiment.result(**_train(experiment, limit, callbacks))

    return cell, runner.stored(cell, compute)


def _config(runner: Runner, combination: Combination, size: int, scheme: str, seed: int) -> IndexConfig:
    return configured(runner.config("fine-tuned", size, scheme, seed), combination)


def _train(experiment: Experiment, examples: int, callbacks: Callbacks) -> dict[str, Phase]:
    model, data, training = experiment.model, experiment.data, experiment.config.training
    seed, count = experiment.config.seed, experiment.samples.indexed
    if training.paper.schedule == "joint":
        epochs = examples * (1 - training.retrieval_ratio) / count
        joint = replace(training, max_epochs=epochs, patience=_NEVER)
        return {"joint": phases.joint_phase(model, data, joint, seed=seed, callbacks=callbacks)}
    indexing = phases.indexing_phase(
        model, data, replace(training, max_epochs=examples / count), seed=seed, callbacks=callbacks
    )
    left, pairs = max(examples - indexing.steps * training.batch_size, 0), experiment.samples.pairs()
    epochs = min(left / pairs, training.paper.retrieval_epochs or left / pairs)
    retrieval = phases.retrieval_phase(
        model,
        data,
        replace(training, paper=replace(training.paper, retrieval_epochs=epochs)),
        pairs=pairs,
        early_stopping=True,
        seed=seed,
        callbacks=callbacks,
    )
    return {"indexing": indexing, "retrieval": retrieval}
