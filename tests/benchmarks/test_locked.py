from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from vitdsi.errors import UsageError


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A Git repository with one committed file."""
    for arguments in (
        ["init", "-q"],
        ["config", "user.email", "a@example.org"],
        ["config", "user.name", "a"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    (tmp_path / "code.py").write_text("1")
    subprocess.run(["git", "-C", str(tmp_path), "add", "code.py"], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "commit", "-q", "-m", "second"], check=True)
    return tmp_path


def test_the_commit_of_a_clean_clone_is_recorded_whatever_files_git_does_not_track(clone: Path) -> None:
    from locked import commit_of

    (clone / "results.json").write_text("{}")
    commit, dirty = commit_of(clone)
    assert len(commit) == 40 and not dirty


def test_changed_files_are_refused_unless_they_are_allowed_and_recorded(clone: Path) -> None:
    from locked import commit_of

    (clone / "code.py").write_text("2")
    with pytest.raises(UsageError, match=r"differ from commit .* commit them first, or pass --allow-dirty"):
        commit_of(clone)
    assert commit_of(clone, allow_dirty=True)[1]


def test_a_folder_outside_git_is_refused(tmp_path: Path) -> None:
    from locked import commit_of

    with pytest.raises(UsageError, match="run in a clone"):
        commit_of(tmp_path / "nowhere")


def test_each_run_appends_one_line(tmp_path: Path) -> None:
    from locked import log_locked_run

    log = tmp_path / "locked" / "log.jsonl"
    for seed in (0, 1):
        entry = log_locked_run("birds", seed, {"MAP": 0.5}, ("c" * 40, True), log)
        assert json.loads(log.read_text().splitlines()[-1]) == entry
    first, second = map(json.loads, log.read_text().splitlines())
    assert (first["seed"], second["seed"]) == (0, 1)
    assert {**first, "date": ""} == {
        "date": "",
        "commit": "c" * 40,
        "dirty": True,
        "set": "birds",
        "seed": 0,
        "figures": {"MAP": 0.5},
    }
