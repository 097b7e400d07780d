"""The command as a whole: its help, its version, and what every verb does with a path that is not an index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_cli import one_error_line, run

import vitdsi
from vitdsi.cli.main import cli

VERBS = [
    "index",
    "search",
    "add",
    "remove",
    "compact",
    "duplicates",
    "list",
    "facets",
    "evaluate",
    "info",
    "completion",
    "export",
    "push",
    "pull",
    "serve",
    "experiment",
]
OPTIONS = {
    "index": "--output --labels --queries --metadata --ids --base --seed --device --epochs --minutes --config "
    "--keep-features --drop-features --resume --strict --force --cache --no-cache",
    "search": "--id --watch -k --offset --where --allow-ids --collapse --plain --beam-size --any-rotation --strict "
    "--sheet --images",
    "add": "--labels --prefix --replace --metadata --strict --cache",
    "remove": "--from-file",
    "compact": "--retrain --no-retrain --drop-features",
    "duplicates": "--threshold --plain --keep --against --move-to --images --apply --undo --keep-both --decide-again",
    "list": "--where --offset --limit --json",
    "facets": "--by --where --limit --plain",
    "evaluate": "--labels --beam-size --json",
    "info": "--json",
    "completion": "--debug",
}


class TestHelp:
    def test_the_group_lists_all_verbs_in_the_order_of_use(self) -> None:
        result = run("--help")
        assert result.exit_code == 0
        listed = result.stdout.split("Commands:\n")[1].splitlines()
        assert [line.split()[0] for line in listed] == VERBS
        assert not any(line.endswith("...") for line in listed if "experiment" not in line)

    @pytest.mark.parametrize("verb", OPTIONS)
    def test_every_verb_has_its_options_and_examples(self, verb: str) -> None:
        result = run(verb, "--help")
        assert result.exit_code == 0
        examples, _, options = result.stdout.split("Examples:")[1].partition("\nOptions:\n")
        assert f"  vitdsi {verb} " in examples
        shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", options))
        assert set(OPTIONS[verb].split()) - shown == set()

    @pytest.mark.parametrize("verb", OPTIONS)
    def test_examples_use_options_that_exist(self, verb: str) -> None:
        examples = run(verb, "--help").stdout.split("Examples:")[1].partition("\nOptions:\n")[0]
        used = [
            (command.split()[0], word)
            for line in examples.splitlines()
            for command in line.split("vitdsi ")[1:]
            for word in command.split("|")[0].split()[1:]
            if word.startswith("-") and word != "-"
        ]
        known = {
            name: {
                option
                for parameter in command.params
                for option in [*parameter.opts, *parameter.secondary_opts]
            }
            for name, command in cli.commands.items()
        }
        assert [(name, word) for name, word in used if word not in known[name]] == []

    def test_version_is_printed(self) -> None:
        result = run("--version")
        assert result.exit_code == 0 and result.stdout == f"vitdsi {vitdsi.__version__}\n"

    def test_help_imports_no_slow_library(self) -> None:
        code = (
            "import sys; from vitdsi.cli.main import cli; cli(['--help'], standalone_mode=False); "
            "print(sorted({'torch', 'numpy', 'PIL', 'rich', 'omegaconf'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


def test_closed_stdout_ends_the_command_without_an_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from vitdsi.cli.main import main; main()", "index", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "verb",
    [
        "search INDEX q.jpg",
        "add INDEX .",
        "remove INDEX a",
        "compact INDEX",
        "duplicates INDEX",
        "duplicates INDEX --keep-both a b",
        "list INDEX",
        "facets INDEX",
        "info INDEX",
    ],
)
def test_path_that_is_not_an_index_is_one_error_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").touch()
    Path("q.jpg").touch()
    before = sorted(tmp_path.rglob("*"))
    for name, code, reason in (
        ("none.dsi", 2, "there is no such index"),
        ("empty", 1, "is not an index"),
        ("file", 1, "is not an index"),
    ):
        one_error_line(run(*verb.replace("INDEX", name).split()), code, name, reason)
    assert sorted(tmp_path.rglob("*")) == before


def _environment() -> dict[str, str]:
    assert vitdsi.__file__ is not None
    return {**os.environ, "PYTHONPATH": str(Path(vitdsi.__file__).parents[1])}
