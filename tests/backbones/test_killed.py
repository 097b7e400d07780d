"""Reading that is killed: the features of finished shards are in the cache, and only the others are read again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photo

from vitdsi.backbones import reader as reader_module
from vitdsi.backbones.reader import FeatureReader

COUNT, SHARD, KILLED_AFTER = 300, 16, 215

# Reads a folder with the toy backbone; the process kills itself while the backbone reads photo number KILLED_AFTER.
_READ = """
import os, signal, sys
from pathlib import Path
from helpers_backbones import ToyBackbone
from vitdsi.backbones import BACKBONES, reader

class KilledBackbone(ToyBackbone):
    def features(self, pixels, kind):
        if ToyBackbone.seen == {killed_after}:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().features(pixels, kind)

BACKBONES["toy"] = "__main__:KilledBackbone"
reader.SHARD_ROWS = {shard}
folder, cache = map(Path, sys.argv[1:])
reader.FeatureReader("map", backbone="toy", cache=cache).load(sorted(folder.iterdir()))
"""


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(COUNT):
        photo(12, 8, seed).save(folder / f"{seed:03}.png")
    return sorted(folder.iterdir())


def test_run_after_a_kill_reads_only_the_photos_of_unfinished_shards(
    toy: type[ToyBackbone], photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _READ.format(killed_after=KILLED_AFTER, shard=SHARD),
            str(photos[0].parent),
            str(cache),
        ],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    finished = KILLED_AFTER // SHARD * SHARD
    listings = [json.loads(path.read_text("utf-8")) for path in cache.rglob("*.json")]
    assert sum(map(len, listings)) == finished

    monkeypatch.setattr(reader_module, "SHARD_ROWS", SHARD)
    read = FeatureReader("map", backbone="toy", cache=cache).load(photos)
    assert toy.seen == COUNT - finished
    toy.seen = 0
    whole = FeatureReader("map", backbone="toy").load(photos)
    assert toy.seen == COUNT
    assert torch.equal(read.features, whole.features) and torch.equal(read.thumbnails, whole.thumbnails)
    assert read.hashes == whole.hashes and read.kept.tolist() == list(range(COUNT))
