from __future__ import annotations

import io
import json
import os
import sys
import warnings
from pathlib import Path

import click
import pytest
from helpers_cli import COUNT, index, lines, one_error_line, run

from vitdsi.cli.common import again, check_output, check_writable, listing_unreadable, named_lines
from vitdsi.cli.main import cli
from vitdsi.errors import ImageReadError, UnreadableImagesError, UsageError


class TestErrors:
    @pytest.mark.parametrize("before", [True, False])
    def test_debug_shows_the_traceback_before_or_after_the_verb(self, tmp_path: Path, before: bool) -> None:
        verb = ["info", str(tmp_path / "none.dsi")]
        result = run(*(["--debug", *verb] if before else [*verb, "--debug"]))
        assert result.exit_code == 2
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: ")

    def test_unexpected_error_is_one_line_with_its_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path) -> None:
            raise ZeroDivisionError("two\nlines")

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", fail)
        one_error_line(run("info", "a.dsi"), 1, "ZeroDivisionError: two lines", "run again with --debug")
        assert "Traceback" in run("info", "a.dsi", "--debug").stderr

    def test_unexpected_error_without_a_message_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", fail)
        one_error_line(run("info", "a.dsi"), 1, "ZeroDivisionError: no message")

    def test_wrong_arguments_exit_with_2_and_without_a_traceback(self) -> None:
        for arguments in (["nonsense"], ["info"], ["info", "--nonsense", "a.dsi"], ["add", "a.dsi"]):
            result = run(*arguments)
            assert result.exit_code == 2 and "Traceback" not in result.stderr

    def test_ctrl_c_exits_with_130_and_says_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def press(path: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", press)
        result = run("info", "a.dsi")
        assert (result.exit_code, result.output) == (130, "stopped\n")

    def test_only_future_warnings_become_notes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def warn(path: Path) -> None:
            warnings.warn("new name", FutureWarning, 2)
            warnings.warn("something else", UserWarning, 2)
            raise UsageError("stop here")

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", warn)
        shown: list[str] = []
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: shown.append(str(message))
            assert run("info", "a.dsi").stderr == "note: new name\nerror: stop here\n"
        assert shown == ["something else"]


class TestFormerNames:
    def test_former_options_settings_and_schemes_are_accepted_with_a_note(
        self, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "a.dsi"
        result = index(
            photos, out, "--keep-tokens", "--ids", "residual", "--epochs", 2,
            "model.stem=pooled", "model.head_dim=24", "model.dropout=0.1", "training.gradient_clip=2",
            "training.views=0.5",
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
        assert notes == [
            "note: --keep-tokens is now called --keep-features",
            "note: model.head_dim is now called model.embedding_dim",
            "note: model.dropout is now called model.paper.dropout",
            "note: training.gradient_clip is no longer a setting and is ignored",
            "note: training.views is now called training.augment_prob",
            "note: the id scheme residual no longer exists; semantic is used instead",
        ]
        requested = json.loads((out / "index.json").read_text("utf-8"))["requested"]
        assert requested["ids"]["scheme"] == "semantic"
        assert requested["model"]["embedding_dim"] == 24
        assert requested["model"]["paper"]["dropout"] == 0.1
        assert requested["training"]["augment_prob"] == 0.5
        assert run("info", out).exit_code == 0

    def test_drop_tokens_drops_the_features_with_a_note(self, copied: Path) -> None:
        result = run("compact", copied, "--drop-tokens", "--no-retrain")
        assert result.exit_code == 0, result.stderr
        assert "note: --drop-tokens is now called --drop-features\n" in result.stderr
        one_error_line(run("duplicates", copied), 2, "keeps no features")

    def test_evaluate_accepts_labels_folder_and_writes_the_report(
        self, dsi: Path, photos: Path, tmp_path: Path
    ) -> None:
        report = tmp_path / "report.json"
        result = run("evaluate", dsi, photos, "--labels", "folder", "--json", report)
        assert result.exit_code == 0, result.stderr
        assert json.loads(report.read_text("utf-8"))["queries"] == COUNT

    def test_current_names_are_accepted_without_a_note(self, copied: Path) -> None:
        result = run("compact", copied, "--drop-features", "--no-retrain")
        assert result.exit_code == 0 and "note" not in result.stderr
        assert lines(result)[0]["retrained"] is False


class TestAgain:
    @pytest.mark.parametrize("given", [["info", "a b.dsi"], ["info", "a b.dsi", "--json"]])
    def test_arguments_are_repeated_with_the_extra_one_once_at_the_end(
        self, given: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repeated: list[list[str]] = []

        def load(path: Path) -> None:
            repeated.append(again(click.get_current_context(), extra="--json"))
            raise UsageError("enough")

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", load)
        run(*given)
        assert repeated == [["info", "a b.dsi", "--json"]]


class TestPlacesToWriteTo:
    def test_new_folder_gets_its_parents_and_is_not_made_itself(self, tmp_path: Path) -> None:
        out = tmp_path / "new" / "a.dsi"
        check_output(out, replace=False)
        assert out.parent.is_dir() and not out.exists()

    def test_existing_index_is_refused_unless_it_is_to_be_replaced(self, copied: Path) -> None:
        with pytest.raises(UsageError, match="--force replaces it"):
            check_output(copied, replace=False)
        check_output(copied, replace=True)

    @pytest.mark.parametrize("replace", [True, False])
    def test_anything_but_an_index_is_refused(self, tmp_path: Path, replace: bool) -> None:
        (tmp_path / "folder.dsi").mkdir()
        (tmp_path / "file.dsi").touch()
        (tmp_path / "link.dsi").symlink_to("nowhere")
        for name in ("folder.dsi", "file.dsi", "link.dsi"):
            with pytest.raises(UsageError, match="exists and is not an index"):
                check_output(tmp_path / name, replace=replace)

    def test_place_below_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="cannot be created"):
            check_output(tmp_path / "file" / "a.dsi", replace=False)

    def test_unusual_suffix_is_noted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        check_output(tmp_path / "photos", replace=False)
        assert capsys.readouterr().err.startswith("note: the name of an index usually ends with .dsi")

    def test_file_in_a_missing_folder_or_in_place_of_a_folder_is_refused(self, tmp_path: Path) -> None:
        check_writable(tmp_path / "report.json")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(UsageError, match="no such folder"):
            check_writable(tmp_path / "none" / "report.json")
        with pytest.raises(UsageError, match="cannot be written"):
            check_writable(tmp_path)

    def test_file_in_a_folder_without_permission_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
        with pytest.raises(UsageError, match="cannot be written"):
            check_writable(tmp_path / "report.json")


class TestNamedLines:
    def test_lines_are_read_as_editors_and_systems_write_them(self, tmp_path: Path) -> None:
        file = tmp_path / "names.txt"
        file.write_bytes(b"\xef\xbb\xbfa b.jpg \r\n\n  \n\xc3\xa9t\xc3\xa9/\xe2\x80\xa8.jpg\ncaf\xe9.jpg\n7")
        # U+2028 does not end a line of a file; the byte E9 is what os.fsdecode makes of it.
        assert named_lines(str(file)) == ["a b.jpg ", "\u00e9t\u00e9/\u2028.jpg", "caf\udce9.jpg", "7"]

    def test_dash_reads_stdin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.jpg\r\nb.jpg\n")))
        assert named_lines("-") == ["a.jpg", "b.jpg"]

    @pytest.mark.parametrize("name", ["none.txt", "."])
    def test_missing_file_or_folder_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(
            UsageError, match=r"cannot be read \((No such file|Is a dir).*\); give a text file"
        ):
            named_lines(str(tmp_path / name))


def test_unreadable_files_are_listed_and_the_error_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [ImageReadError(f"{i}.jpg", "the file is empty") for i in range(12)]
    with pytest.raises(UnreadableImagesError), listing_unreadable():
        raise UnreadableImagesError(errors)
    printed = capsys.readouterr().err.splitlines()
    assert printed[:2] == ["unreadable files, skipped: 12", "  0.jpg: the file is empty"]
    assert printed[-1] == "  and 2 more"


def test_verbs_are_listed_in_the_order_in_which_they_were_added() -> None:
    assert cli.list_commands(click.Context(cli)) == list(cli.commands) != sorted(cli.commands)


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_workers_are_auto_or_a_number(tmp_path: Path, value: str) -> None:
    result = run("index", tmp_path, "-o", tmp_path / "a.dsi", "--workers", value)
    assert result.exit_code == 2
    assert f"'{value}' is neither auto nor a number of at least 1" in result.stderr
