from __future__ import annotations

import ctypes
import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_stored import stored
from safetensors.torch import load_file

from vitdsi.collection.parts import PARTS, SEGMENTED, absent, read_parts, write_part
from vitdsi.state import IndexState


def written(state: IndexState, folder: Path, bounds: tuple[int, ...] = (0,)) -> dict[str, list[Path]]:
    """Write all parts, those in segments with a segment from each of these ids on."""
    files: dict[str, list[Path]] = {}
    for part, suffix in PARTS.items():
        if absent(state, part):
            continue
        for first in bounds if part in SEGMENTED else (0,):
            file = folder / f"{part}-{first}.{suffix}"
            write_part(part, file, state, first)
            files.setdefault(part, []).append(file)
    return files


@pytest.mark.parametrize("labels", [False, True])
def test_read_parts_are_those_that_were_written(tmp_path: Path, labels: bool) -> None:
    state = stored(labels=labels)
    parts = read_parts(written(state, tmp_path), state.trie.vocabulary.base, state.image_ids.lineage)
    assert parts["image_ids"] == state.image_ids and parts["image_ids"].lineage == state.image_ids.lineage
    assert parts["labels"] == state.labels and parts["hashes"] == state.hashes
    assert torch.equal(parts["trie"].child, state.trie.child)
    assert state.held_out is not None and parts["held_out"].labels == state.held_out.labels
    assert torch.equal(parts["features"], state.features)


def test_an_id_takes_a_few_bytes_and_its_codes_two_a_digit(tmp_path: Path) -> None:
    state = stored()
    files = written(state, tmp_path)
    tensors = {part: load_file(files[part][0]) for part in ("trie", "ids", "live", "thumbnails")}
    count = len(state.image_ids)
    assert tensors["trie"]["codes"].nbytes == 2 * state.trie.max_length * count
    assert tensors["ids"]["content"].nbytes == 8 * count
    assert sum(part.nbytes for part in tensors["live"].values()) == 2 * -(-count // 8)
    assert tensors["thumbnails"]["thumbnails"].nbytes == 182 * count


def test_arrays_are_mapped_and_not_copied(tmp_path: Path) -> None:
    state = stored()
    files = written(state, tmp_path)
    parts = read_parts(files, state.trie.vocabulary.base, "a")
    content = parts["hashes"].rows.since(0)
    assert not content.flags.owndata
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert str(files["ids"][0]) in mapped.read_text("utf-8")


def test_parts_of_different_lengths_are_refused(tmp_path: Path) -> None:
    state = stored()
    files = written(state, tmp_path)
    shorter = replace(state, hashes=state.hashes.take(np.arange(59)))
    write_part("ids", files["ids"][0], shorter)
    with pytest.raises(ValueError, match="60 image_ids, and hashes for 59"):
        read_parts(files, state.trie.vocabulary.base, "a")


def test_writing_more_and_more_images_keeps_nothing_in_memory(tmp_path: Path) -> None:
    state = stored()
    gc.collect()
    types = len(ctypes.Array.__subclasses__())
    for first in range(3):
        written(state, tmp_path, (first,))
    gc.collect()
    assert len(ctypes.Array.__subclasses__()) <= types
