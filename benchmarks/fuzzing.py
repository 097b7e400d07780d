"""Runs cases in a process of its own, so that a crash, a hang or a flood of memory is an outcome and not the end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

SECONDS = 10.0  # of processor time for one case
GIGABYTE = 1 << 30  # more memory than this for one case is a failure
_WALL_SECONDS = 600.0  # for a case that waits instead of computing, on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: its number.
        kind: what kind of case it is, such as the format of a file.
        result: what the case returned, in a word.
        failure: what went wrong, or "".
        memory: bytes that it needed beside what its process had before, at most.
        seconds: of processor time.
    """

    case: int
    kind: str
    result: str
    failure: str = ""
    memory: int = 0
    seconds: float = 0.0


Run = Callable[[int], tuple[str, str]]
"""Runs the case of a number, and returns its kind and its result. Whatever it raises is a failure."""


def outcomes(run: Run, cases: Iterable[int]) -> Iterator[Outcome]:
    """Run cases one after the other in a process that is started again after each failure of it."""
    context = multiprocessing.get_context("spawn")
    waiting = list(cases)[::-1]
    while waiting:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(run, there, waiting[::-1]), daemon=True)
        process.start()
        there.close()
        try:
            while waiting:
                try:
                    outcome = here.recv() if here.poll(_WALL_SECONDS) else None
                except EOFError:
                    outcome = None
                if outcome is None:
                    process.join(1)
                    yield Outcome(waiting.pop(), "?", "died", _death(process.exitcode))
                    break
                waiting.pop()
                yield outcome
        finally:
            process.kill()
            process.join()


def _death(code: int | None) -> str:
    if code is None:
        return f"no answer after {_WALL_SECONDS:.0f} s"
    if code == -signal.SIGPROF:
        return f"more than {SECONDS:.0f} s"
    return f"crash: {signal.Signals(-code).name}" if code < 0 else f"crash: exit code {code}"


def _work(run: Run, connection: Connection, cases: list[int]) -> None:
    for case in cases:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # whose signal ends the process
        _forget_peak()
        before, start = _memory("VmRSS"), os.times()
        try:
            kind, result = run(case)
            failure = ""
        except Exception:
            kind, result, failure = "?", "traceback", traceback.format_exc()
        end = os.times()
        memory = max(0, _memory("VmHWM") - before)
        if memory > GIGABYTE and not failure:
            failure = f"needs {memory / GIGABYTE:.2f} GiB"
        seconds = end.user + end.system - start.user - start.system
        connection.send(Outcome(case, kind, result, failure, memory, round(seconds, 3)))
    signal.setitimer(signal.ITIMER_PROF, 0)


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")


def _memory(name: str) -> int:
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) * 1024 for line in stream if line.startswith(name))


def summary(found: Iterable[Outcome], show: Callable[[str], Any]) -> dict[str, Any]:
    """Count outcomes, show each failure at once, and keep the worst. An interrupt ends it with what there is."""
    results: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    memory, seconds = 0, 0.0
    with contextlib.suppress(KeyboardInterrupt):
        for outcome in found:
            results[outcome.result] += 1
            kinds[outcome.kind] += 1
            memory, seconds = max(memory, outcome.memory), max(seconds, outcome.seconds)
            if outcome.failure:
                failures.append({"case": outcome.case, "kind": outcome.kind, "failure": outcome.failure})
                show(f"case {outcome.case}, {outcome.kind}: {outcome.failure}")
            if results.total() % 100 == 0:
                show(f"{results.total()} cases, {len(failures)} failures")
    return {
        "cases": results.total(),
        "failures": failures,
        "results": dict(sorted(results.items())),
        "kinds": dict(sorted(kinds.items())),
        "most_memory_mib": round(memory / (1 << 20)),
        "most_seconds": round(seconds, 2),
    }
