"""The first cases of the benchmark of reliability; results/reliability has those of thousands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "reliability.py"


def _refuse(case: int) -> tuple[str, str]:
    """A case that goes wrong in the way of its number."""
    if case == 1:
        os.abort()
    if case == 2:
        raise ValueError("a reason")
    if case == 3:
        return "large", f"{len(bytearray(b'x') * 3_000_000)} bytes"
    if case == 4:
        end = time.monotonic() + 600
        while time.monotonic() < end:
            pass
    return "well", "done"


@pytest.mark.slow
def test_crashes_hangs_memory_and_tracebacks_are_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    import fuzzing

    found = list(fuzzing.outcomes(_refuse_quickly, range(5)))
    assert [outcome.case for outcome in found] == list(range(5))
    assert [bool(outcome.failure) for outcome in found] == [False, True, True, True, True]
    for outcome, failure in zip(found[1:], ("crash: SIGABRT", "a reason", "GiB", "more than"), strict=True):
        assert failure in outcome.failure


def _refuse_quickly(case: int) -> tuple[str, str]:
    """`_refuse` with limits that a test can reach."""
    import signal

    import fuzzing

    fuzzing.GIGABYTE = 1 << 20
    signal.setitimer(signal.ITIMER_PROF, 0.5)
    return _refuse(case)


def _check(job: str, cases: int) -> None:
    import reliability

    run: Callable[[int, int], dict[str, Any]] = reliability.JOBS[job][0]
    result = run(cases, 0)
    assert result["cases"] == cases and not result["failures"]


def test_broken_images_are_read_or_refused_by_name() -> None:
    import reliability

    with reliability._lifetime:  # its server must end before the threads of this process do
        assert {reliability.read_image(case)[1] for case in range(20)} == {"read", "refused"}
    reliability._server.cache_clear()


def test_damaged_folders_are_refused_or_change_no_answer() -> None:
    from fuzzed_folders import read_folder

    assert {read_folder(case)[1] for case in range(20)} >= {"refused", "same answers"}


def test_sequences_of_changes_agree_with_a_dictionary() -> None:
    from states import run_sequences

    run_sequences(5)


def test_folder_full_of_empty_entries_is_indexed() -> None:
    from reliability import read_crowd

    assert read_crowd(600, 0)[1] == "indexed"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["index", "add", "remove", "compact", "serve"])
def test_killed_commands_leave_an_index_and_nothing_else(verb: str) -> None:
    assert _run("kills", "cases=4", f"only={verb}")["cases"] == 4


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk")
def test_commands_on_a_full_or_read_only_disk_end_in_one_line_of_an_error() -> None:
    result = _run("disks", "cases=2")
    assert result["cases"] == 2 * 4 + 5 * 2 and result["results"]["refused"] >= 10


def _run(*arguments: str) -> dict[str, Any]:
    """A job in a process of its own, as it forks, which one with threads must not do."""
    command = [sys.executable, str(_BENCHMARK), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_many_damaged_folders_are_refused_or_change_no_answer() -> None:
    _check("folders", 300)


@pytest.mark.slow
def test_many_broken_images_are_read_or_refused_by_name() -> None:
    _check("images", 300)
