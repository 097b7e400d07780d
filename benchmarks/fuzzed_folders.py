"""Index folders that are damaged, or made by somebody who means harm: case n is the same damage each time."""

from __future__ import annotations

import atexit
import functools
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from damage import ACCIDENTS, HOSTILE, parts

from vitdsi.errors import VitdsiError


def read_folder(case: int) -> tuple[str, str]:
    """Damage a copy of an index, and ask everything that can be asked of it.

    Accidents must be noticed, or change no answer. Damage of a stranger, who computes checksums anew, may change
    answers. Neither may raise anything but the errors of vitdsi.
    """
    rng = random.Random(f"folder {case}")
    hostile = rng.random() < 0.5
    mutation = rng.choice(HOSTILE if hostile else ACCIDENTS)
    kind = f"{'stranger' if hostile else 'accident'}: {mutation.__name__.strip('_').replace('_', ' ')}"
    sound = _sound()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(sound, Path(folder, "i.dsi")))
        mutation(copy, rng)
        if hostile:
            _seal(copy)
        try:
            found = answers(copy)
            if rng.random() < 0.3:
                _change(copy)
        except VitdsiError as error:
            message = str(error)
            if not message or "\n" in message:
                raise AssertionError(f"{kind}: an error that is not one line: {message!r}") from error
            return kind, "refused"
    same = found == _sound_answers()
    if not same and not hostile:
        raise AssertionError(f"{kind}: another answer, and no error")
    return kind, "same answers" if same else "other answers of a stranger"


def answers(path: Path) -> list[Any]:
    """Open an index, and ask for results, images, facets, a summary and near-identical images."""
    from vitdsi.index import ImageIndex

    index = ImageIndex.load(path, device="cpu")
    info = json.loads(json.dumps(index.info()))
    return [
        [(r.image_id, round(r.score, 5)) for r in index.more_like(index.image_ids_[3], k=5)],
        [
            (r.image_id, round(r.score, 5))
            for r in index.more_like(index.image_ids_[7], k=3, where="album = 'a1'")
        ],
        str(index.images(where="width > 120", limit=20)),
        str(index.facets(["album"])),
        index.near_identical(),
        info["images"],
        info["report"],
    ]


def _change(path: Path) -> None:
    """Remove an image that the index has, and store what changed."""
    from vitdsi.index import ImageIndex

    index = ImageIndex.load(path, device="cpu")
    index.remove([int(index.trie_.live_ids()[0])])
    index.save(path)
    ImageIndex.load(path, device="cpu")


@functools.cache
def _sound() -> Path:
    """An index in several segments, with everything that an index can have."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from dataclasses import replace

    from helpers_stored import add, stored

    from vitdsi.collection.parts import GROWING
    from vitdsi.collection.storage import read_index, write_index

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "sound.dsi"
    write_index(path, replace(stored(labels=True), decisions=(("old/001.jpg", "old/002.jpg"),)))
    write_index(path, add(read_index(path), 7), GROWING)
    return path


@functools.cache
def _sound_answers() -> list[Any]:
    return answers(_sound())


def _seal(path: Path) -> None:
    """Compute the checksums anew, as far as the description can be read."""
    from vitdsi.collection.checksums import file_checksums, manifest_checksum

    try:
        manifest = json.loads((path / "index.json").read_text("utf-8"))
        manifest["checksums"] = {file.name: file_checksums(file) for file in parts(path)}
        manifest["checksum"] = manifest_checksum(manifest)
        (path / "index.json").write_text(json.dumps(manifest), "utf-8")
    except (ValueError, TypeError, OSError):
        return
