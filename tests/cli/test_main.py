"""What all verbs have in common: help, version, one-line errors, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_cli import one_error_line, run

import vitdsi
from vitdsi.cli.common import named_lines
from vitdsi.cli.main import cli
from vitdsi.errors import UsageError

VERBS = [
    "index",
    "search",
    "add",
    "remove",
    "compact",
    "duplicates",
    "evaluate",
    "info",
    "experiment",
]
OPTIONS = {
    "index": "--output --labels --queries --metadata --ids --base --seed --device --epochs --minutes --config "
    "--keep-features --drop-features --resume --strict --force --cache --no-cache",
    "search": "-k --where --allow-ids --collapse --plain --beam-size --strict --sheet --images",
    "add": "--labels --prefix --replace --metadata --strict --cache",
    "remove": "--from-file",
    "compact": "--retrain --no-retrain --drop-features",
    "duplicates": "--threshold --plain",
    "evaluate": "--labels --beam-size --json",
    "info": "--json",
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

    def test_version(self) -> None:
        result = run("--version")
        assert result.exit_code == 0 and result.stdout == f"vitdsi {vitdsi.__version__}\n"

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from vitdsi.cli.main import cli; cli(['--help'], standalone_mode=False); "
            "print(sorted({'torch', 'numpy', 'PIL', 'rich', 'omegaconf'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


class TestErrors:
    @pytest.mark.parametrize("before", [True, False])
    def test_debug_shows_the_traceback(self, tmp_path: Path, before: bool) -> None:
        verb = ["info", str(tmp_path / "none.dsi")]
        result = run(*(["--debug", *verb] if before else [*verb, "--debug"]))
        assert result.exit_code == 2
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: ")

    def test_unexpected_errors_are_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path) -> None:
            raise ZeroDivisionError("two\nlines")

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", fail)
        one_error_line(run("info", "a.dsi"), 1, "ZeroDivisionError: two lines", "run again with --debug")
        assert "Traceback" in run("info", "a.dsi", "--debug").stderr

    def test_click_errors_exit_with_2(self) -> None:
        for arguments in (["nonsense"], ["info"], ["info", "--nonsense", "a.dsi"], ["add", "a.dsi"]):
            result = run(*arguments)
            assert result.exit_code == 2 and "Traceback" not in result.stderr

    def test_ctrl_c(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def press(path: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", press)
        result = run("info", "a.dsi")
        assert (result.exit_code, result.output) == (130, "stopped\n")

    def test_closed_pipe_is_quiet(self) -> None:
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
            "info INDEX",
        ],
    )
    def test_what_is_no_index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
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


class TestNamedLines:
    def test_lines_as_editors_write_them(self, tmp_path: Path) -> None:
        file = tmp_path / "names.txt"
        file.write_bytes(b"\xef\xbb\xbfa b.jpg \r\n\n  \n\xc3\xa9t\xc3\xa9/\xe2\x80\xa8.jpg\ncaf\xe9.jpg\n7")
        # U+2028 ends no line of a file; the byte E9 is what os.fsdecode makes of it
        assert named_lines(str(file)) == ["a b.jpg ", "\u00e9t\u00e9/\u2028.jpg", "caf\udce9.jpg", "7"]

    @pytest.mark.parametrize("name", ["none.txt", "."])
    def test_unreadable(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(
            UsageError, match=r"cannot be read \((No such file|Is a dir).*\); give a text file"
        ):
            named_lines(str(tmp_path / name))


def _environment() -> dict[str, str]:
    assert vitdsi.__file__ is not None
    return {**os.environ, "PYTHONPATH": str(Path(vitdsi.__file__).parents[1])}
