from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_cli import COUNT, one_error_line, run

New = Callable[..., Path]


def test_json_and_plain_output_agree(dsi: Path) -> None:
    facts = json.loads(run("info", dsi, "--json").stdout)
    assert facts["images"] == COUNT and facts["scheme"] == "random"
    plain = dict(line.split(maxsplit=1) for line in run("info", dsi).stdout.splitlines())
    assert plain["images"] == str(COUNT)
    assert plain["report.IA@1"] == str(facts["report"]["IA@1"])


def test_info_has_metadata_columns_capacity_and_bytes_of_each_part(dsi: Path) -> None:
    facts = json.loads(run("info", dsi, "--json").stdout)
    assert facts["metadata"] == {
        "width": "integer",
        "height": "integer",
        "format": "text",
        "bytes": "integer",
    }
    assert (facts["removed"], facts["changes"], facts["labels"]) == (0, [], "none")
    assert facts["capacity_left"] == facts["base"] ** facts["digits"] - COUNT
    assert set(facts["bytes"]) == {
        "differences", "features", "held_out", "ids", "keypoints", "live", "metadata", "model", "rows",
        "thumbnails", "trie"
    }  # fmt: skip
    assert all(size > 0 for size in facts["bytes"].values())


def test_path_that_is_not_an_index_is_refused(tmp_path: Path) -> None:
    one_error_line(run("info", tmp_path), 1, str(tmp_path), "not an index")
    one_error_line(run("info", tmp_path / "none.dsi"), 2, "none.dsi")


@pytest.mark.parametrize("file", ["model-000001.safetensors", "index.json", "trie-000001.safetensors"])
def test_broken_index_is_refused(copied: Path, file: str) -> None:
    content = (copied / file).read_bytes()
    (copied / file).write_bytes(content[: len(content) // 2])
    one_error_line(run("info", copied), 1, str(copied), "broken")


def test_index_of_a_newer_format_is_refused(copied: Path) -> None:
    description = json.loads((copied / "index.json").read_text("utf-8"))
    description["format_version"] = 999
    (copied / "index.json").write_text(json.dumps(description), "utf-8")
    one_error_line(run("info", copied), 1, "999", "upgrade")


def test_verify_notices_a_changed_byte_that_opening_does_not(copied: Path) -> None:
    assert "every byte is as it was written" in run("info", copied, "--verify").stderr
    path = copied / "index.json"
    manifest = json.loads(path.read_text("utf-8"))
    (quick, _) = manifest["checksums"]["model-000001.safetensors"]
    manifest["checksums"]["model-000001.safetensors"] = [quick, "0" * 16]
    del manifest["checksum"]
    path.write_text(json.dumps(manifest), "utf-8")
    assert run("info", copied).exit_code == 0
    one_error_line(run("info", copied, "--verify"), 1, "model-000001.safetensors is not as it was written")
    del manifest["checksums"]
    path.write_text(json.dumps(manifest), "utf-8")
    assert "have no checksums" in run("info", copied, "--verify").stderr
