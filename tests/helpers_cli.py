"""The command line in this process, on a real but tiny collection; shared by the tests of the verbs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw

from vitdsi.cli.main import cli
from vitdsi.index import ImageIndex

COUNT = 12
TINY = [
    "model.stem=pixels",
    "model.paper.image_size=32",
    "model.paper.patch_size=8",
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


def lines(result: Result) -> list[dict[str, Any]]:
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


def content(folder: Path) -> dict[str, bytes]:
    """Every file of an index but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def live(dsi: Path) -> list[str]:
    """The image_ids that can be found."""
    opened = ImageIndex.load(dsi)
    return [opened.image_ids_[i] for i in opened.trie_.live_ids().tolist()]
