from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers_cli import COUNT, one_error_line, run


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

    def test_without_tokens(self, copied: Path, photos: Path, tmp_path: Path) -> None:
        assert run("compact", copied, "--drop-tokens", "--no-retrain").exit_code == 0
        report = tmp_path / "report.json"
        result = run("evaluate", copied, photos, "--json", report)
        assert result.exit_code == 0
        assert "IA@1" not in result.stdout and "MAP@10" in result.stdout
        assert "\nnote: the tokens were dropped, and IA@1" in result.stderr
        assert set(json.loads(report.read_text("utf-8"))["metrics"]) == {
            "P@10",
            "MAP@10",
            "MAP",
            "Recall@100",
        }

    def test_queries_of_other_classes_are_left_out(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(photos, tmp_path / "more"))
        (folder / "oval").mkdir()
        shutil.copy(folder / "round" / "01.png", folder / "oval")
        result = run("evaluate", dsi, folder, "--json", tmp_path / "report.json")
        assert "queries without a relevant indexed image, left out: 1\n" in result.stdout
        report = json.loads((tmp_path / "report.json").read_text("utf-8"))
        assert (report["queries"], report["excluded"]) == (COUNT, 1)

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

    def test_what_it_holds(self, dsi: Path) -> None:
        facts = json.loads(run("info", dsi, "--json").stdout)
        assert facts["metadata"] == {
            "width": "integer",
            "height": "integer",
            "format": "text",
            "bytes": "integer",
        }
        assert (facts["removed"], facts["changes"], facts["labels"]) == (0, [], "none")
        assert facts["capacity_left"] == facts["base"] ** facts["digits"] - COUNT
        assert set(facts["bytes"]) == {"model", "trie", "ids", "tokens", "metadata"}
        assert all(size > 0 for size in facts["bytes"].values())

    def test_not_an_index(self, tmp_path: Path) -> None:
        one_error_line(run("info", tmp_path), 1, str(tmp_path), "not an index")
        one_error_line(run("info", tmp_path / "none.dsi"), 2, "none.dsi")

    @pytest.mark.parametrize("file", ["model-000001.safetensors", "index.json", "trie-000001.safetensors"])
    def test_broken_index(self, copied: Path, file: str) -> None:
        content = (copied / file).read_bytes()
        (copied / file).write_bytes(content[: len(content) // 2])
        one_error_line(run("info", copied), 1, str(copied), "broken")

    def test_newer_index(self, copied: Path) -> None:
        description = json.loads((copied / "index.json").read_text("utf-8"))
        description["format_version"] = 999
        (copied / "index.json").write_text(json.dumps(description), "utf-8")
        one_error_line(run("info", copied), 1, "999", "upgrade")
