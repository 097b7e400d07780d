from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers_images import photo

from vitdsi.cli.engines import engine_for
from vitdsi.engine.base import cores
from vitdsi.engine.local import LocalEngine
from vitdsi.errors import UsageError
from vitdsi.index import ImageIndex


def test_without_torchrun_processes_are_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    for workers, expected in ((3, 3), (None, cores())):
        engine = engine_for("local", workers)
        assert isinstance(engine, LocalEngine)
        assert engine.workers == expected


def test_an_address_needs_the_engine_that_has_one() -> None:
    with pytest.raises(UsageError, match="--address auto is that of a Ray cluster; give --engine ray"):
        engine_for("local", None, "auto")


_SMALL = ["--robust", "1", "--epochs", "10", "--no-keypoints", "model.embedding_dim=64", "vector_bytes=null"]


def _index(command: list[str], images: Path, out: Path) -> ImageIndex:
    arguments = ["-m", "vitdsi", "index", str(images), "-o", str(out), "--device", "cpu", *_SMALL]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "VITDSI_CACHE": str(out.with_suffix(".cache")),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # of the first process alone
    assert json.loads(line)["images"] == 8
    return ImageIndex.load(out)


@pytest.mark.slow
def test_torchrun_builds_the_index_that_one_process_builds(tmp_path: Path) -> None:
    images = tmp_path / "photos"
    images.mkdir()
    for seed in range(8):
        photo(40, 32, seed).save(images / f"{seed}.png")
    one = _index([sys.executable], images, tmp_path / "one.dsi")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    two = _index([*launcher, "--master-port", "29411"], images, tmp_path / "two.dsi")
    assert torch.equal(two.trie_.codes, one.trie_.codes)
    theirs = two.model_.state_dict()
    for name, value in one.model_.state_dict().items():
        if not name.endswith("key_value.bias"):  # which has no effect and no gradient
            assert torch.allclose(theirs[name], value, atol=1e-3), name
    for result, other in zip(*(index.search(images / "3.png", 3) for index in (one, two)), strict=True):
        assert result.image_id == other.image_id
        assert result.log_prob == pytest.approx(other.log_prob, abs=1e-3)
