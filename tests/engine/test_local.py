from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers_engine import end_process, fail, write_process

from vitdsi.engine.base import AUTO_LEAST, cores
from vitdsi.engine.local import LocalEngine
from vitdsi.errors import UsageError


@pytest.mark.slow
def test_parts_are_done_by_several_processes_with_their_share_of_the_cores(tmp_path: Path) -> None:
    parts = [tmp_path / str(i) for i in range(6)]
    assert len(list(LocalEngine(2).run(write_process, parts))) == 6
    written = [part.read_text("utf-8").split() for part in parts]
    processes = {process for process, _ in written}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    assert {int(threads) for _, threads in written} == {max(1, cores() // 2)}


@pytest.mark.slow
def test_a_process_that_was_killed_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"was killed.*fewer --workers"):
        list(LocalEngine(1).run(end_process, [tmp_path / "first", tmp_path / "end", tmp_path / "last"]))
    assert (tmp_path / "first").exists()


@pytest.mark.slow
def test_an_error_of_a_task_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one is wrong"):
        list(LocalEngine(1).run(fail, [tmp_path / "one"]))


def test_automatic_workers_are_one_a_core_for_enough_photos() -> None:
    engine = LocalEngine(None)
    assert (engine.workers, engine.least) == (cores(), AUTO_LEAST)
    assert LocalEngine(3).least == 1


def test_workers_below_one_are_an_error() -> None:
    with pytest.raises(UsageError, match="workers is 0; it must be at least 1"):
        LocalEngine(0)


_SLEEPING = """
import signal, sys, time
from pathlib import Path
from helpers_engine import write_process
from vitdsi.engine.local import LocalEngine

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    parts = [Path(sys.argv[1]) / str(i) for i in range(600)]
    for _ in LocalEngine(2).run(write_process, parts):
        pass
"""


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_quietly_after_their_parts(tmp_path: Path) -> None:
    script = tmp_path / "sleeping.py"
    script.write_text(_SLEEPING, "utf-8")
    folder = tmp_path / "parts"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not any(folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1  # that of the main process
    assert len(list(folder.iterdir())) < 600
