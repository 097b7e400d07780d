from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers_cli import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_printed_for_each_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_VITDSI_COMPLETE" in result.stdout and f"{shell}_complete" in result.stdout


def test_other_shells_are_refused() -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2 and "'bash', 'zsh', 'fish'" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [("vitdsi dup", "plain,duplicates"), ("vitdsi search x.dsi --any", "plain,--any-rotation")],
)
def test_verbs_and_options_are_completed(words: str, expected: str) -> None:
    environment = {
        **os.environ,
        "_VITDSI_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = "from vitdsi.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [expected], done.stderr
