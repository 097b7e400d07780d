"""The verbs on a real, tiny index: output, exit codes, one-line errors, interruption."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw

import vitdsi
from vitdsi.cli import cli

COUNT = 12
TINY = [
    "model.stem=pixels",
    "model.image_size=32",
    "model.patch_size=8",
    "model.depth=1",
    "model.embed_dim=32",
    "ids.scheme=random",
    "training.batch_size=24",
    "training.max_epochs=40",
    "training.evaluate_every=20",
]


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    """Run the command line in this process; an exception that reaches click fails the test."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def index(images: Path, out: Path, *more: object) -> Result:
    return run("index", images, "-o", out, "--device", "cpu", "--no-cache", *TINY, *more)


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def one_error_line(result: Result, code: int, *parts: str) -> None:
    """The exit code, and nothing but one line on stderr that contains all `parts`."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def paint(folder: Path) -> Path:
    """Coloured shapes in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        ground, colour = (tuple(int(x) for x in rng.integers(0, 256, 3)) for _ in range(2))
        image = Image.new("RGB", (48, 40), ground)
        draw = ImageDraw.Draw(image)
        (draw.ellipse if i % 2 else draw.rectangle)((8 + i, 6, 30 + i, 30), fill=colour)
        path = folder / ("round" if i % 2 else "square") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="module")
def built(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("index") / "photos.dsi"
    return out, index(photos, out, "training.max_epochs=150", "training.warmup_steps=10")


@pytest.fixture
def dsi(built: tuple[Path, Result]) -> Path:
    return built[0]


@pytest.fixture
def copied(dsi: Path, tmp_path: Path) -> Path:
    """An index that a test may break."""
    return Path(shutil.copytree(dsi, tmp_path / "copy.dsi"))


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[str, int], bool]], None]]:
    """Press Ctrl-C when the progress display is told of a (phase, done) that the condition accepts."""
    from vitdsi.terminal import BuildDisplay
    from vitdsi.training.loop import Progress

    def arm(condition: Callable[[str, int], bool]) -> None:
        def press(_: BuildDisplay, progress: Progress) -> None:
            if condition(progress.phase, progress.done):
                raise KeyboardInterrupt

        monkeypatch.setattr(BuildDisplay, "__call__", press)

    yield arm


class TestIndex:
    def test_prints_one_json_line_and_leaves_no_training_state(self, built: tuple[Path, Result]) -> None:
        out, result = built
        assert result.exit_code == 0, result.stderr
        (summary,) = lines(result)
        assert list(summary) == ["index", "images", "skipped", "duplicates", "IA@1", "seconds"]
        assert (summary["index"], summary["images"]) == (str(out), COUNT)
        assert (summary["skipped"], summary["duplicates"], summary["IA@1"]) == (0, 0, 1.0)
        assert [path.name for path in out.parent.iterdir()] == ["photos.dsi"]
        assert "indexing accuracy" in result.stderr
        assert result.stderr.splitlines()[-1].startswith(f"indexed {COUNT} images in ")

    def test_options_override_key_value(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "a.dsi"
        result = index(
            photos,
            out,
            "--seed",
            7,
            "seed=3",
            "--base",
            5,
            "--epochs",
            3,
            "--ids",
            "clustered",
            "--labels",
            "folder",
        )
        assert result.exit_code == 0, result.stderr
        config = json.loads((out / "index.json").read_text("utf-8"))["config"]
        assert (config["seed"], config["ids"]["base"], config["ids"]["scheme"]) == (7, 5, "clustered")
        assert (config["training"]["max_epochs"], config["model"]["image_size"]) == (3.0, 32)

    def test_bad_files_are_skipped_and_listed_and_duplicates_named(
        self, photos: Path, tmp_path: Path
    ) -> None:
        folder = Path(shutil.copytree(photos, tmp_path / "mixed"))
        for i in range(11):
            (folder / f"bad{i:02}.jpg").write_bytes(b"" if i else b"no image")
        shutil.copy(folder / "round/01.png", folder / "copy of 01.png")
        result = index(folder, tmp_path / "a.dsi", "--epochs", 2)
        assert result.exit_code == 0, result.stderr
        (summary,) = lines(result)
        assert (summary["images"], summary["skipped"], summary["duplicates"]) == (COUNT + 1, 11, 1)
        assert "unreadable and skipped: 11\n" in result.stderr
        assert result.stderr.count("the file is empty") >= 9
        assert "  and 1 more\n" in result.stderr
        assert "copy of 01.png = round/01.png" in result.stderr

    def test_strict_refuses_bad_files(self, photos: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(photos, tmp_path / "mixed"))
        (folder / "bad.jpg").write_bytes(b"no image")
        result = index(folder, tmp_path / "a.dsi", "--strict", "--epochs", 2)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "bad.jpg" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: unreadable files: 1;")
        assert not (tmp_path / "a.dsi").exists()

    def test_strict_accepts_a_clean_folder(self, photos: Path, tmp_path: Path) -> None:
        assert index(photos, tmp_path / "a.dsi", "--strict", "--epochs", 2).exit_code == 0

    def test_existing_output_needs_force(self, photos: Path, copied: Path) -> None:
        before = (copied / "index.json").read_bytes()
        one_error_line(index(photos, copied, "--epochs", 2), 2, str(copied), "exists", "--force")
        assert (copied / "index.json").read_bytes() == before
        assert index(photos, copied, "--epochs", 2, "--force").exit_code == 0
        assert (copied / "index.json").read_bytes() != before

    @pytest.mark.parametrize("what", ["file.dsi", "folder.dsi"])
    def test_force_never_replaces_what_is_no_index(self, photos: Path, tmp_path: Path, what: str) -> None:
        precious = tmp_path / what
        if what == "folder.dsi":
            precious.mkdir()
            precious /= "letter.txt"
        precious.write_text("dear", "utf-8")
        one_error_line(index(photos, tmp_path / what, "--force"), 2, what, "no index")
        assert precious.read_text("utf-8") == "dear"

    def test_foreign_folder_in_place_of_the_state_is_left_alone(self, photos: Path, tmp_path: Path) -> None:
        precious = tmp_path / "a.dsi.training" / "letter.txt"
        precious.parent.mkdir()
        precious.write_text("dear", "utf-8")
        one_error_line(index(photos, tmp_path / "a.dsi"), 2, "a.dsi.training")
        assert precious.read_text("utf-8") == "dear"

    def test_other_suffix_is_noted(self, photos: Path, tmp_path: Path) -> None:
        result = index(photos, tmp_path / "photos", "--epochs", 2)
        assert result.exit_code == 0
        assert result.stderr.startswith("note: the name of an index usually ends with .dsi")

    def test_usage_errors(self, photos: Path, tmp_path: Path) -> None:
        out, empty = tmp_path / "a.dsi", tmp_path / "empty"
        empty.mkdir()
        one_error_line(index(tmp_path / "nowhere", out), 2, "nowhere", "no such file or folder")
        one_error_line(index(empty, out), 2, str(empty), "no images")
        one_error_line(index(photos, out, "another.jpg"), 2, "another.jpg", "KEY=VALUE")
        one_error_line(index(photos, out, "training.batchsize=3"), 2, "training.batch_size")
        one_error_line(index(photos, out, "--config", "nothing"), 2, "nothing")
        one_error_line(index(photos, out, "--cache", tmp_path), 2, "--no-cache")
        one_error_line(index(photos, out, "--resume"), 2, "a.dsi.training", "no stopped run")
        assert index(photos, out, "--labels", "guess").exit_code == 2
        assert not out.exists()


class TestInterruption:
    def test_resumed_equals_uninterrupted(
        self, photos: Path, tmp_path: Path, interrupt_at: Callable[..., None]
    ) -> None:
        out, state = tmp_path / "two words.dsi", tmp_path / "two words.dsi.training"
        interrupt_at(lambda phase, done: phase in ("joint", "cooldown") and done >= 20)
        stopped = index(photos, out)
        assert stopped.exit_code == 130
        assert stopped.stdout == ""
        last = stopped.stderr.splitlines()[-1]
        assert last.startswith(f"stopped; continue with: vitdsi index {photos} -o '{out}'")
        assert last.endswith(" --resume")
        assert state.is_dir() and not out.exists()

        interrupt_at(lambda phase, done: False)
        resumed = index(photos, out, "--resume")
        assert resumed.exit_code == 0, resumed.stderr
        assert out.is_dir() and not state.exists()
        whole = tmp_path / "whole.dsi"
        assert index(photos, whole).exit_code == 0
        assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()

    def test_before_training_there_is_nothing_to_resume(
        self, photos: Path, tmp_path: Path, interrupt_at: Callable[..., None]
    ) -> None:
        interrupt_at(lambda phase, done: phase == "reading")
        stopped = index(photos, tmp_path / "a.dsi")
        assert (stopped.exit_code, stopped.stdout) == (130, "")
        assert stopped.stderr.splitlines()[-1].startswith("stopped before there was anything to resume")
        assert list(tmp_path.iterdir()) == []

    def test_other_verbs(self, dsi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def press(path: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", press)
        result = run("info", dsi)
        assert (result.exit_code, result.output) == (130, "stopped\n")


class TestSearch:
    def test_json_lines(self, dsi: Path, photos: Path) -> None:
        query = photos / "round" / "03.png"
        result = run("search", dsi, query, "-k", 4)
        assert (result.exit_code, result.stderr) == (0, "")
        found = lines(result)
        assert [list(line) for line in found] == [["query", "rank", "image_id", "score", "id"]] * 4
        assert [line["rank"] for line in found] == [1, 2, 3, 4]
        assert {line["query"] for line in found} == {str(query)}
        assert found[0]["image_id"] == "round/03.png"
        scores = [float(str(line["score"])) for line in found]
        assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.0001

    def test_k_above_the_size_gives_every_image_once(self, dsi: Path, photos: Path) -> None:
        found = lines(run("search", dsi, photos / "round" / "03.png", "-k", 100))
        assert len(found) == COUNT
        assert sorted(str(line["id"]) for line in found) == sorted(str(i) for i in range(COUNT))

    def test_files_and_folders_are_named_as_given(
        self, dsi: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(photos.parent)
        result = run("search", dsi, "./photos/round/", "photos/square/02.png", "-k", 1)
        wanted = [f"./photos/round/{i:02}.png" for i in range(1, COUNT, 2)] + ["photos/square/02.png"]
        assert [line["query"] for line in lines(result)] == wanted

    def test_stdin(self, dsi: Path, photos: Path) -> None:
        path = photos / "square" / "04.png"
        piped = lines(run("search", dsi, "-", "-k", 3, stdin=path.read_bytes()))
        named = lines(run("search", dsi, path, "-k", 3))
        assert {line["query"] for line in piped} == {"-"}
        assert [line["score"] for line in piped] == [line["score"] for line in named]
        assert piped[0]["image_id"] == "square/04.png"

    def test_empty_stdin(self, dsi: Path) -> None:
        result = run("search", dsi, "-", stdin=b"")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("skipped -: the file is empty")

    def test_bad_queries_are_skipped(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"no image")
        good = [photos / "round" / "01.png", photos / "round" / "03.png"]
        result = run("search", dsi, good[0], bad, good[1], "-k", 1)
        assert result.exit_code == 1
        assert [line["query"] for line in lines(result)] == [str(path) for path in good]
        assert f"skipped {bad}: not an image" in result.stderr
        assert result.stderr.endswith("skipped 1 of 3 images\n")

    def test_strict_stops_at_a_bad_query(self, dsi: Path, tmp_path: Path) -> None:
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"no image")
        one_error_line(run("search", dsi, bad, "--strict"), 1, str(bad), "not an image")

    def test_plain(self, dsi: Path, photos: Path) -> None:
        first, second = photos / "round" / "01.png", photos / "round" / "03.png"
        result = run("search", dsi, first, second, "-k", 10, "--plain")
        one, two = result.stdout.split("\n\n")
        assert one.splitlines()[0] == str(first) and two.splitlines()[0] == str(second)
        rows = one.splitlines()[1:]
        assert len(rows) == 10 and rows[0].startswith("   1  ") and rows[0].endswith("  round/01.png")
        assert len({row.index(row.split()[2]) for row in rows}) == 1

    def test_sheet(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        sheet = tmp_path / "sheet.html"
        result = run("search", dsi, photos / "round", "-k", 2, "--sheet", sheet, "--images", photos)
        assert result.exit_code == 0, result.stderr
        assert len(lines(result)) == COUNT
        html = sheet.read_text("utf-8")
        assert all(f"round/{i:02}.png" in html for i in range(1, COUNT, 2))

    def test_usage_errors(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        query, empty, sheet = photos / "round" / "01.png", tmp_path / "empty", tmp_path / "sheet.html"
        empty.mkdir()
        one_error_line(run("search", dsi, tmp_path / "none.jpg"), 2, "none.jpg", "no such file")
        one_error_line(run("search", dsi, empty), 2, str(empty), "no images")
        one_error_line(run("search", tmp_path / "none.dsi", query), 2, "none.dsi")
        one_error_line(run("search", dsi, query, "-k", 5, "--beam-size", 2), 2, "beam_size", "2", "5")
        one_error_line(run("search", dsi, query, "--sheet", sheet), 2, "--images")
        one_error_line(
            run("search", dsi, query, "--sheet", sheet, "--images", empty / "no"), 2, "no such folder"
        )
        one_error_line(run("search", dsi, "-", "--sheet", sheet, "--images", photos), 2, "stdin")
        elsewhere = tmp_path / "nowhere" / "sheet.html"
        one_error_line(
            run("search", dsi, query, "--sheet", elsewhere, "--images", photos), 2, "no such folder"
        )
        assert run("search", dsi, query, "-k", 0).exit_code == 2
        assert run("search", dsi).exit_code == 2


class TestEvaluate:
    def test_table_and_report(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        report = tmp_path / "report.json"
        result = run("evaluate", dsi, photos, "--labels", "folder", "--json", report)
        assert result.exit_code == 0, result.stderr
        content = json.loads(report.read_text("utf-8"))
        assert list(content) == ["metrics", "queries", "excluded"]
        assert set(content["metrics"]) == {"IA@1", "IA@5", "P@10", "MAP@10", "MAP", "Recall@100"}
        assert (content["queries"], content["excluded"]) == (COUNT, 0)
        for name, metric in content["metrics"].items():
            assert set(metric) == {"value", "chance", "ci95"}
            low, high = metric["ci95"]
            assert 0 <= low <= metric["value"] <= high <= 1
            assert name in result.stdout and f"{metric['value']:.4f}" in result.stdout
        # Both ends of the scale: the tiny index knows its own images, and 100 places hold all twelve.
        assert content["metrics"]["IA@1"]["value"] == 1.0
        assert content["metrics"]["Recall@100"] == {"value": 1.0, "chance": 1.0, "ci95": [1.0, 1.0]}
        assert [path.name for path in tmp_path.iterdir()] == ["report.json"]

    def test_usage_errors(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        report = tmp_path / "nowhere" / "report.json"
        one_error_line(run("evaluate", dsi, photos, "--json", report), 2, "no such folder")
        one_error_line(run("evaluate", dsi, tmp_path / "none"), 2, "none")
        one_error_line(run("evaluate", dsi, photos / "round"), 2, "no class folder")


class TestInfo:
    def test_json_and_plain_say_the_same(self, dsi: Path) -> None:
        facts = json.loads(run("info", dsi, "--json").stdout)
        assert facts["images"] == COUNT and facts["scheme"] == "random"
        plain = dict(line.split(maxsplit=1) for line in run("info", dsi).stdout.splitlines())
        assert plain["images"] == str(COUNT)
        assert plain["report.IA@1"] == str(facts["report"]["IA@1"])

    def test_not_an_index(self, tmp_path: Path) -> None:
        one_error_line(run("info", tmp_path), 1, str(tmp_path), "not an index")
        one_error_line(run("info", tmp_path / "none.dsi"), 2, "none.dsi")

    @pytest.mark.parametrize("file", ["model.safetensors", "index.json", "trie.safetensors"])
    def test_broken_index(self, copied: Path, file: str) -> None:
        content = (copied / file).read_bytes()
        (copied / file).write_bytes(content[: len(content) // 2])
        one_error_line(run("info", copied), 1, str(copied), "broken")

    def test_newer_index(self, copied: Path) -> None:
        description = json.loads((copied / "index.json").read_text("utf-8"))
        description["format_version"] = 999
        (copied / "index.json").write_text(json.dumps(description), "utf-8")
        one_error_line(run("info", copied), 1, "999", "upgrade")


class TestErrors:
    @pytest.mark.parametrize("before", [True, False])
    def test_debug_shows_the_traceback(self, tmp_path: Path, before: bool) -> None:
        verb = ["info", str(tmp_path / "none.dsi")]
        result = run(*(["--debug", *verb] if before else [*verb, "--debug"]))
        assert result.exit_code == 2
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: ")

    def test_unexpected_errors_are_one_line(self, dsi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path) -> None:
            raise ZeroDivisionError("two\nlines")

        monkeypatch.setattr("vitdsi.index.ImageIndex.load", fail)
        one_error_line(run("info", dsi), 1, "ZeroDivisionError: two lines", "run again with --debug")
        assert "Traceback" in run("info", dsi, "--debug").stderr

    def test_click_errors_exit_with_2(self) -> None:
        for arguments in (["nonsense"], ["info"], ["info", "--nonsense", "a.dsi"]):
            result = run(*arguments)
            assert result.exit_code == 2 and "Traceback" not in result.stderr

    def test_closed_pipe_is_quiet(self, dsi: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", "from vitdsi.cli import main; main()", "info", str(dsi)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""


class TestHelp:
    @pytest.mark.parametrize("verb", ["index", "search", "evaluate", "info"])
    def test_every_verb_has_examples(self, verb: str) -> None:
        result = run(verb, "--help")
        assert result.exit_code == 0
        assert f"  vitdsi {verb} " in result.stdout.split("Examples:")[1]

    def test_version(self) -> None:
        result = run("--version")
        assert result.exit_code == 0 and result.stdout.startswith("vitdsi ")

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from vitdsi.cli import cli; cli(['--help'], standalone_mode=False); "
            "print(sorted({'torch', 'numpy', 'PIL', 'rich', 'omegaconf'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


def _environment() -> dict[str, str]:
    assert vitdsi.__file__ is not None
    return {**os.environ, "PYTHONPATH": str(Path(vitdsi.__file__).parents[1])}
