"""Changes that are killed: a process that adds, removes and compacts without end, stopped by SIGKILL at any moment."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers_cli import COUNT, lines, run
from helpers_images import photo

from vitdsi.collection.storage import read_index
from vitdsi.index import ImageIndex
from vitdsi.state import IndexState

_RUNS = 32
_EACH = 3  # images of one addition

_CHANGE = """
import sys
from itertools import count
from vitdsi.cli.main import cli
import vitdsi.index, vitdsi.training.loop, vitdsi.facts.sidecar  # slow to load
index, folder, start = sys.argv[1:]
for step in count(int(start)):
    verb = ("add", "remove", "compact")[step % 3]
    more = {
        "add": [folder, "--prefix", f"{step}/"],
        "remove": [f"{step - 1}/0.png", f"{step - 1}/2.png", f"{step - 4}/1.png"][: 3 if step > 3 else 2],
        "compact": ["--no-retrain"],
    }[verb]
    print("begin", file=sys.stderr)
    cli([verb, index, *more], standalone_mode=False)
    print(f"done {step}", flush=True)
"""

State = tuple[
    frozenset[str], int
]  # the image_ids that can be found, and how many ids there are with dead ones


def state(state: IndexState) -> State:
    return frozenset(state.image_ids[i] for i in state.trie.live_ids().tolist()), len(state.image_ids)


def after(before: State, step: int) -> State:
    """What step number `step` of `_CHANGE` makes of an index."""
    live, total = before
    if step % 3 == 0:
        return live | {f"{step}/{i}.png" for i in range(_EACH)}, total + _EACH
    if step % 3 == 1:
        return live - {f"{step - 1}/0.png", f"{step - 1}/2.png", f"{step - 4}/1.png"}, total
    return live, len(live)


def parts(dsi: Path) -> set[tuple[str, int]]:
    """The files of an index, those of killed changes too; the inode tells one from another of the same name."""
    return {(entry.name, entry.inode()) for entry in os.scandir(dsi) if "-" in entry.name}


@pytest.mark.slow
def test_kill_at_any_moment_leaves_the_index_before_or_after_the_change(
    copied: Path, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for i in range(_EACH):
        photo(seed=100 + i).save(folder / f"{i}.png")
    rng = np.random.default_rng(0)
    step, now = 0, state(read_index(copied))
    read = 0
    for attempt in range(_RUNS):
        out = tmp_path / "out.txt"
        with (
            out.open("w") as stdout,
            subprocess.Popen(
                [sys.executable, "-c", _CHANGE, str(copied), str(folder), str(step)],
                stdout=stdout,
                stderr=subprocess.PIPE,
            ) as process,
        ):
            assert process.stderr is not None and process.stderr.readline() == b"begin\n"
            if attempt % 2:  # while it writes
                there = parts(copied)
                while parts(copied) <= there:
                    time.sleep(0.0005)
                time.sleep(rng.uniform(0, 0.2))
            else:
                possible = [now]
                for later in range(step, step + 100):
                    possible.append(after(possible[-1], later))
                end = time.monotonic() + rng.uniform(0, 3)
                while time.monotonic() < end:  # readers are not disturbed
                    assert state(read_index(copied)) in possible
                    read += 1
            assert process.poll() is None, process.stderr.read()
            process.kill()
        done = [line for line in out.read_text().splitlines() if line.startswith("done ")]
        for _ in done:
            now, step = after(now, step), step + 1
        found = state(read_index(copied))
        if found != now:
            now, step = after(now, step), step + 1
        assert found == now, f"run {attempt}: neither before nor after step {step}"
        opened = ImageIndex.load(copied)
        query = photos / opened.image_ids_[attempt % COUNT]
        results = opened.search(query, k=1000)
        assert {result.image_id for result in results} == now[0] and len(results) == len(now[0])
        # What was removed keeps its share of the probability, so that of the others is at most 1.
        assert 0 < sum(math.exp(result.log_prob) for result in results) < 1 + 1e-3
    assert step >= _RUNS / 4 and read >= _RUNS
    # nothing of the killed ones is left, and the lock went with them
    assert lines(run("remove", copied, opened.image_ids_[0]))[0]["removed"] == 1
    files = json.loads((copied / "index.json").read_text("utf-8"))["files"]
    named = {name for segments in files.values() for name, *_ in segments}
    assert {file.name for file in copied.glob("*-??????.*")} == named
