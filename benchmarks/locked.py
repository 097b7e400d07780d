"""The log of runs on locked sets: a line for each, with the commit and the figures.

Nothing may be chosen by a locked set, so every look at one leaves a trace.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vitdsi.errors import UsageError

LOG = Path("results/locked/log.jsonl")


def commit_of(repository: Path, *, allow_dirty: bool = False) -> tuple[str, bool]:
    """Return the commit of the code that is about to measure a locked set, and whether files differ from it.

    Call it before anything is measured.

    Raises:
        UsageError: `repository` is not in a Git repository, or tracked files differ from the commit and `allow_dirty`
            is not set.
    """
    commit = _git(repository, "rev-parse", "HEAD")
    dirty = bool(_git(repository, "status", "--porcelain", "--untracked-files=no"))
    if dirty and not allow_dirty:
        raise UsageError(
            f"{repository}: tracked files differ from commit {commit[:12]}, so a run on a locked set could not be "
            "repeated; commit them first, or pass --allow-dirty, which is written to the log"
        )
    return commit, dirty


def log_locked_run(
    set_name: str, seed: int, figures: dict[str, Any], commit: tuple[str, bool], log: Path = LOG
) -> dict[str, Any]:
    """Append a line to the log of runs on locked sets.

    Args:
        set_name: the locked set.
        seed: the seed of the run.
        figures: what was measured, and with which settings.
        commit: the result of `commit_of`.
        log: the file; it and its folder are made where they are missing.

    Returns:
        The entry: date (UTC), commit, dirty, set, seed and figures.
    """
    entry = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit[0],
        "dirty": commit[1],
        "set": set_name,
        "seed": seed,
        "figures": figures,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
    return entry


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"{repository}: its Git commit cannot be read, which the log of locked sets needs; run in a clone"
        ) from error
    return done.stdout.strip()
