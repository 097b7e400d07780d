from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from helpers_cli import COUNT, index, lines, one_error_line, run

from vitdsi.collection.storage import read_index
from vitdsi.config.budget import SMALL, budget_of


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
        manifest = json.loads((out / "index.json").read_text("utf-8"))
        for config in (manifest["requested"], manifest["resolved"]):
            assert (config["seed"], config["ids"]["base"], config["ids"]["scheme"]) == (7, 5, "clustered")
            assert config["training"]["max_epochs"] == 3.0
            assert config["model"]["paper"]["image_size"] == 32

    def test_unreadable_files_and_duplicates_are_listed(self, photos: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(photos, tmp_path / "mixed"))
        for i in range(11):
            (folder / f"bad{i:02}.jpg").write_bytes(b"" if i else b"no image")
        shutil.copy(folder / "round/01.png", folder / "copy of 01.png")
        result = index(folder, tmp_path / "a.dsi", "--epochs", 2)
        assert result.exit_code == 0, result.stderr
        (summary,) = lines(result)
        assert (summary["images"], summary["skipped"], summary["duplicates"]) == (COUNT + 1, 11, 1)
        assert "unreadable files, skipped: 11\n" in result.stderr
        assert result.stderr.count("the file is empty") >= 9
        assert "  and 1 more\n" in result.stderr
        assert "copy of 01.png = round/01.png" in result.stderr

    def test_strict_refuses_a_folder_with_an_unreadable_file(self, photos: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(photos, tmp_path / "mixed"))
        (folder / "bad.jpg").write_bytes(b"no image")
        result = index(folder, tmp_path / "a.dsi", "--strict", "--epochs", 2)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "bad.jpg" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: unreadable files: 1;")
        assert not (tmp_path / "a.dsi").exists()

    def test_strict_accepts_a_folder_in_which_all_files_can_be_read(
        self, photos: Path, tmp_path: Path
    ) -> None:
        assert index(photos, tmp_path / "a.dsi", "--strict", "--epochs", 2).exit_code == 0

    def test_existing_output_needs_force(self, photos: Path, copied: Path) -> None:
        before = (copied / "index.json").read_bytes()
        one_error_line(index(photos, copied, "--epochs", 2), 2, str(copied), "exists", "--force")
        assert (copied / "index.json").read_bytes() == before
        assert index(photos, copied, "--epochs", 2, "--force").exit_code == 0
        assert (copied / "index.json").read_bytes() != before

    @pytest.mark.parametrize("damaged", ["model-000001.safetensors", "index.json"])
    def test_force_replaces_a_broken_index_and_says_what_is_lost(
        self, photos: Path, copied: Path, damaged: str
    ) -> None:
        (copied / damaged).write_bytes(b"{")
        result = index(photos, copied, "--epochs", 2, "--force")
        assert result.exit_code == 0
        assert "note: decisions to keep copies are lost: " in result.stderr

    @pytest.mark.parametrize("what", ["file.dsi", "folder.dsi"])
    def test_force_never_replaces_anything_but_an_index(
        self, photos: Path, tmp_path: Path, what: str
    ) -> None:
        precious = tmp_path / what
        if what == "folder.dsi":
            precious.mkdir()
            precious /= "letter.txt"
        precious.write_text("dear", "utf-8")
        one_error_line(
            index(photos, tmp_path / what, "--force"), 2, what, "exists and is not an index", "not replaced"
        )
        assert precious.read_text("utf-8") == "dear"

    def test_other_folder_in_place_of_the_training_state_is_left_alone(
        self, photos: Path, tmp_path: Path
    ) -> None:
        precious = tmp_path / "a.dsi.training" / "letter.txt"
        precious.parent.mkdir()
        precious.write_text("dear", "utf-8")
        one_error_line(index(photos, tmp_path / "a.dsi"), 2, "a.dsi.training")
        assert precious.read_text("utf-8") == "dear"

    def test_unusual_suffix_is_noted(self, photos: Path, tmp_path: Path) -> None:
        result = index(photos, tmp_path / "photos", "--epochs", 2)
        assert result.exit_code == 0
        assert result.stderr.startswith("note: the name of an index usually ends with .dsi")

    def test_wrong_arguments_are_refused_and_nothing_is_written(self, photos: Path, tmp_path: Path) -> None:
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


class TestMetadata:
    def test_metadata_comes_from_files_and_from_the_table(self, described: Path) -> None:
        columns = json.loads(run("info", described, "--json").stdout)["metadata"]
        assert columns["width"] == columns["stars"] == columns["year"] == "integer"
        assert columns["album"] == columns["taken"] == columns["camera"] == "text"

    def test_names_in_the_table_that_no_image_has_are_listed(self, photos: Path, tmp_path: Path) -> None:
        table = tmp_path / "more.jsonl"
        rows = [
            {"image_id": "round/01.png", "album": "a"},
            *({"image_id": f"no{i:02}.png"} for i in range(12)),
        ]
        table.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        result = index(photos, tmp_path / "a.dsi", "--epochs", 2, "--metadata", table)
        assert result.exit_code == 0
        assert "names in the metadata without an image: 12\n  no00.png\n" in result.stderr
        assert "  no09.png\n  and 2 more\n" in result.stderr

    @pytest.mark.parametrize(
        ("name", "text", "parts"),
        [
            ("none.csv", None, ["no such file"]),
            ("a.txt", "file,x\n", [".csv", ".parquet"]),
            ("a.csv", "", ["there are no columns"]),
            ("a.csv", "colour\nred\n", ["names the images", "colour"]),
            ("a.csv", "file,x\n1.png,2,3\n", ["line 2", "3 fields"]),
            ("a.csv", "file,x\n1.png,2\n1.png,3\n", ["line 3", "twice"]),
            ("a.json", "{", ["line 1", "not JSON"]),
            ("a.parquet", "PAR1", []),
        ],
    )
    def test_wrong_table_is_refused_before_an_image_is_read(
        self, photos: Path, tmp_path: Path, name: str, text: str | None, parts: list[str]
    ) -> None:
        table = tmp_path / name
        if text is not None:
            table.write_text(text, "utf-8")
        refused = index(photos, tmp_path / "a.dsi", "--metadata", table)
        one_error_line(refused, 2, str(table), *parts)
        assert [path.name for path in tmp_path.iterdir()] == ([] if text is None else [name])


class TestFeatures:
    def test_dropped_features_make_the_index_smaller(self, photos: Path, tmp_path: Path) -> None:
        kept, dropped = tmp_path / "kept.dsi", tmp_path / "dropped.dsi"
        assert index(photos, kept, "--epochs", 2, "--keep-features").exit_code == 0
        assert index(photos, dropped, "--epochs", 2, "--drop-features").exit_code == 0
        assert lines(run("search", kept, photos, "-k", 3)) == lines(run("search", dropped, photos, "-k", 3))
        one_error_line(run("duplicates", dropped), 2, "keeps no features")
        one_error_line(run("compact", dropped, "--retrain"), 2, "has the features of all images")
        sizes = [json.loads(run("info", dsi, "--json").stdout)["bytes"] for dsi in (kept, dropped)]
        assert "features" not in sizes[1] and sizes[0]["features"] > COUNT * 3 * 32 * 32

    def test_sizes_and_budgets_become_settings(self, photos: Path, tmp_path: Path) -> None:
        small, exact = tmp_path / "small.dsi", tmp_path / "exact.dsi"
        for out, size in ((small, "small"), (exact, "exact")):
            assert index(photos, out, "--size", size, "--epochs", 2).exit_code == 0
        states = [read_index(out) for out in (small, exact)]
        assert [state.requested.vector_bytes for state in states] == [budget_of(SMALL).vector_bytes, None]
        assert [state.thumbnails is None for state in states] == [True, False]
        assert [state.keypoints is None for state in states] == [True, False]
        assert [state.features is None for state in states] == [True, False]
        assert f"small: {SMALL} bytes an image" in " ".join(run("index", "--help").output.split())
        result = run("index", photos, "-o", tmp_path / "both.dsi", "--size", "small", "--bytes-per-image", 99)
        assert result.exit_code == 2 and "contradict" in result.stderr
        result = run("index", photos, "-o", tmp_path / "few.dsi", "--bytes-per-image", 9)
        assert result.exit_code == 2 and "9 bytes an image are too few" in result.stderr

    def test_named_configuration_of_the_paper_builds_an_index(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "paper.dsi"
        small = [
            "model.paper.image_size=32",
            "model.depth=1",
            "model.decoder_depth=1",
            "training.paper.retrieval_epochs=1",
        ]
        result = run("index", photos, "-o", out, "--no-cache", "--config", "paper", "--epochs", 1, *small)
        assert result.exit_code == 0, result.stderr
        facts = json.loads(run("info", out, "--json").stdout)
        assert (facts["labels"], facts["stem"], facts["base"]) == ("folder", "pixels", 10)


class TestInterruption:
    def test_resumed_run_equals_an_uninterrupted_one(
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
        assert (out / "model-000001.safetensors").read_bytes() == (
            whole / "model-000001.safetensors"
        ).read_bytes()

    def test_run_stopped_before_training_says_to_start_again(
        self, photos: Path, tmp_path: Path, interrupt_at: Callable[..., None]
    ) -> None:
        interrupt_at(lambda phase, done: phase == "reading")
        stopped = index(photos, tmp_path / "a.dsi")
        assert (stopped.exit_code, stopped.stdout) == (130, "")
        assert stopped.stderr.splitlines()[-1].startswith("stopped before there was anything to resume")
        assert list(tmp_path.iterdir()) == []
