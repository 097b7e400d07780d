"""Computes the cells of Table 1, the trade-off and the factorial design on one GPU, many at the same time.

    python benchmarks/paper_gpu.py IMAGES OUT [--processes 2] [--threads 8] [--seconds 600]

The cells are those of `vitdsi experiment table1`, `tradeoff` and `factorial` with seeds 0 to 4 and

    --retrieval-epochs 75,20,5 (for sizes 512,1024,2048)

These commands find them in OUT/cells and write the tables. The most important ones are computed first; after the given
time the run ends, and the next run continues with the cells that are missing.

While many trainings share a GPU, their wall time says little. So the time of a step is measured first, with the GPU to
itself, for each batch size with and without altered views (OUT/rates.json). The seconds of a cell are its steps times
that, without evaluations, and "ours" has as many of them as the fine-tuned cell. Float32 products use TF32, which each
cell records.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from vitdsi.paper.cells import Cell, CellStore
from vitdsi.paper.cuda_graphs import seconds_per_step
from vitdsi.paper.curve import LINES, curve
from vitdsi.paper.design import combinations, combined
from vitdsi.paper.methods import Experiment, Result
from vitdsi.paper.phases import Callbacks
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.samples import Dataset, Samples, read_dataset

SIZES, SEEDS = (2048, 1024, 512), (0, 1, 2, 3, 4)  # the longest trainings first
# At most about 9,800 steps of fine-tuning; early stopping mostly ends it before.
EPOCHS = {512: 75.0, 1024: 20.0, 2048: 5.0}
_LOCK = threading.RLock()  # for the caches, and for the global generator that new models are drawn from


class SharedRunner(Runner):
    """A runner whose data is shared among threads, and whose seconds are steps times the time of a step."""

    data: ClassVar[dict[Any, Any]] = {}
    rates: ClassVar[dict[str, float]] = {}

    def samples(self, size: int, seed: int) -> Samples:
        with _LOCK:
            if (size, seed) not in self.data:
                self.data[size, seed] = super().samples(size, seed)
            return self.data[size, seed]

    def pixels(self, size: int, seed: int, image_size: int) -> torch.Tensor:
        with _LOCK:
            key = (size, seed, image_size)
            if key not in self.data:
                self.data[key] = self.samples(size, seed).pixels(image_size)
            return self.data[key]

    def prepare(self, config: Any, size: int, seed: int) -> Experiment:
        with _LOCK:
            return super().prepare(config, size, seed)

    @contextlib.contextmanager
    def callbacks(self, cell: Cell) -> Iterator[Callbacks]:
        yield Callbacks()

    def stored(self, cell: Cell, compute: Callable[[], Result]) -> Result:
        def timed() -> Result:
            result, training = compute(), cell.settings["config"]["training"]
            seconds = result["steps"] * self.rate(training["batch_size"], training["augment_prob"])
            return {**result, "seconds": round(seconds, 2), "seconds_while_shared": result["seconds"]}

        return super().stored(cell, timed)

    def limits(self, cell: Cell) -> dict[str, float]:
        if cell.method != "ours":
            return super().limits(cell)
        _, fine_tuned = self.result("fine-tuned", cell.size, cell.scheme, cell.seed)
        training = self.config("ours", cell.size, cell.scheme, cell.seed).training
        steps = fine_tuned["seconds"] / self.rate(training.batch_size, training.augment_prob)
        indexed = steps * training.batch_size * (1 - training.retrieval_ratio)
        return {"epochs": indexed / fine_tuned["indexed"]}

    def rate(self, batch_size: int, augment_prob: float) -> float:
        """Seconds of a step with the GPU to itself."""
        return self.rates[f"{batch_size}{', altered' if augment_prob else ''}"]


class Task:
    """Something to compute, and the cells that must be there before."""

    _paths: ClassVar[dict[tuple[int, str, str, int], Path]] = {}

    def __init__(
        self, name: str, size: int, needs: list[tuple[str, str, int]], run: Callable[[Runner], Any]
    ) -> None:
        self.name, self.size, self.needs, self.run = name, size, needs, run

    def ready(self, dataset: Dataset, out: Path) -> bool:
        """Whether the cells are there."""
        for need in self.needs:
            key = (self.size, *need)
            with _LOCK:
                if key not in self._paths:
                    method, scheme, seed = need
                    runner = runner_for(dataset, out, self.size)
                    self._paths[key] = runner.store.path(runner.cell(method, self.size, scheme, seed))
            if not self._paths[key].is_file():
                return False
        return True


def table_tasks(scheme: str, method: str) -> list[Task]:
    """A method of Table 1 at all sizes, with all seeds."""
    needs = [] if method == "fine-tuned" else ["fine-tuned"]
    return [
        Task(
            f"{method} {size} {scheme} {seed}",
            size,
            [(need, scheme, seed) for need in needs],
            lambda runner, size=size, seed=seed: runner.result(method, size, scheme, seed),  # type: ignore[misc]
        )
        for size in SIZES
        for seed in SEEDS
    ]


def curve_tasks(seeds: tuple[int, ...]) -> list[Task]:
    """The lines of the trade-off, with random ids."""
    return [
        Task(
            f"{line.name} {size} {seed}",
            size,
            [("zero-shot", "random", seed)],
            lambda runner, line=line, size=size, seed=seed: curve(runner, line, size, "random", seed),  # type: ignore[misc]
        )
        for seed in seeds
        for size in reversed(SIZES)
        for line in LINES
    ]


def factorial_tasks(seeds: tuple[int, ...]) -> list[Task]:
    """All combinations of the design at 512, with random ids."""
    return [
        Task(
            f"{combination} {seed}",
            512,
            [("fine-tuned", "random", seed)],
            lambda runner, given=combination, seed=seed: combined(runner, given, 512, "random", seed),  # type: ignore[misc]
        )
        for seed in seeds
        for combination in combinations()
    ]


def all_tasks() -> list[Task]:
    """All tasks, the most important first."""
    return [
        *table_tasks("random", "fine-tuned"),
        *table_tasks("random", "ours by examples"),
        *curve_tasks((0, 1, 2)),
        *table_tasks("clustered", "fine-tuned"),
        *table_tasks("clustered", "ours by examples"),
        *table_tasks("random", "ours"),
        *factorial_tasks((0, 1)),
        *curve_tasks((3, 4)),
        *factorial_tasks((2,)),
        *table_tasks("clustered", "ours"),
    ]


def runner_for(dataset: Dataset, out: Path, size: int) -> SharedRunner:
    """The runner of the cells of a DB size."""
    options = Options(
        sizes=(size,),
        seeds=SEEDS,
        image_size=160,
        retrieval_epochs=(EPOCHS[size],),
    )
    return SharedRunner(dataset, options, CellStore(out), say=lambda line: print(line, flush=True))


def work(dataset: Dataset, out: Path, tasks: list[Task]) -> None:
    """Run tasks that are ready and that no other thread or process has claimed, until none is left.

    After a failure, other tasks may never become ready, so nobody waits for them.
    """
    gpu = torch.cuda.is_available()
    with torch.cuda.stream(torch.cuda.Stream()) if gpu else contextlib.nullcontext():
        left = list(tasks)
        while left:
            for task in left:
                claim = out / "claims" / task.name.replace("/", "-")
                if claim.exists():
                    left.remove(task)
                    break
                if not task.ready(dataset, out):
                    continue
                left.remove(task)
                try:
                    claim.touch(exist_ok=False)
                except FileExistsError:
                    break
                try:
                    task.run(runner_for(dataset, out, task.size))
                except Exception:
                    print(f"FAILED {task.name}", flush=True)
                    traceback.print_exc()
                    (out / "failed").touch()
                break
            else:
                if (out / "failed").exists():
                    return
                time.sleep(0.2)


def measure_rates(dataset: Dataset, out: Path, repeats: int = 30) -> dict[str, float]:
    """The seconds of a step of each kind, alone on the GPU."""
    rates = {}
    for batch_size in (32, 64):
        for augment in (0.0, 0.5):
            runner = runner_for(dataset, out, 512)
            config = runner.config("ours", 512, "random", 0, epochs=1.0)
            experiment = runner.prepare(config, 512, 0)
            training = replace(config.training, batch_size=batch_size, augment_prob=augment)
            seconds = seconds_per_step(experiment.model, experiment.data, training, repeats=repeats)
            rates[f"{batch_size}{', altered' if augment else ''}"] = seconds
    return rates


def main() -> None:
    """Measure the rates, then start the processes; each of them runs the threads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8, help="of each process")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", default="", help="tasks whose name contains this text")
    parser.add_argument("--repeats", type=int, default=30, help="of the measurement of rates")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    end = time.monotonic() + given.seconds
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    dataset = read_dataset(given.images)
    rates = given.out / "rates.json"
    if not given.worker:
        (given.out / "claims").mkdir(parents=True, exist_ok=True)
        (given.out / "failed").unlink(missing_ok=True)
        for claim in (given.out / "claims").iterdir():  # finished tasks find their cells in the store
            claim.unlink()
        if not rates.is_file():
            rates.write_text(json.dumps(measure_rates(dataset, given.out, given.repeats)))
        print("seconds of a step alone:", rates.read_text(), flush=True)
        left = ["--seconds", str(end - time.monotonic())]
        command = [sys.executable, *sys.argv, "--worker", *left]
        workers = [subprocess.Popen(command) for _ in range(given.processes)]
        sys.exit(max(worker.wait() for worker in workers))
    SharedRunner.rates = json.loads(rates.read_text())
    tasks = [task for task in all_tasks() if given.only in task.name]
    threads = [
        threading.Thread(target=work, args=(dataset, given.out, tasks), daemon=True)
        for _ in range(given.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
