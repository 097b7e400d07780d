from __future__ import annotations

import contextlib
import copy
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_stored import add, stored

from vitdsi.collection import storage
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import read_index, sizes, write_index, write_lock
from vitdsi.errors import IndexFormatError, IndexLockedError, UsageError, VitdsiError
from vitdsi.ids.trie import Trie
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import IndexState

DECISIONS = (("1234567890abcdef", "abcdef1234567890"),)
REMOVAL = ("live",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a b.dsi"
    assert write_index(path, replace(stored(), decisions=DECISIONS)) == 1
    return path


def changed(path: Path) -> IndexState:
    return remove(read_index(path), [4, 9])


def trained(state: IndexState) -> IndexState:
    """The same index with another bias of each image and other weights that all images share."""
    model = copy.deepcopy(state.model)
    with torch.no_grad():
        for weight in (model.head.leaf_bias, model.head.steer.bias):
            weight += 1
    return replace(state, model=model)


def names(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()} - {"lock"}


def test_index_without_decisions_has_no_file_of_them(path: Path) -> None:
    assert read_index(path).decisions == DECISIONS
    write_index(path, replace(read_index(path), decisions=()), ("decisions",))
    assert read_index(path).decisions == ()
    assert list(path.glob("decisions-*")) == []


def test_read_index_equals_the_written_one(path: Path) -> None:
    before, after = stored(), read_index(path)
    for name in ("image_ids", "labels", "hashes", "report", "changes", "requested", "resolved"):
        assert getattr(after, name) == getattr(before, name)
    for name in ("features", "differences"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    assert after.thumbnails is not None and before.thumbnails is not None
    assert torch.equal(after.thumbnails.all(), before.thumbnails.all())
    for name in ("codes", "nodes", "child", "live", "allowed"):
        assert torch.equal(getattr(after.trie, name), getattr(before.trie, name))
    weights = before.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in after.model.state_dict().items())
    assert after.metadata.ids_where("album = 'a1'").tolist() == list(range(1, 60, 3))
    assert after.keypoints is not None and before.keypoints is not None
    for name in ("values", "offsets"):
        assert np.array_equal(
            getattr(after.keypoints.since(0), name), getattr(before.keypoints.since(0), name)
        )
    assert after.held_out is not None and before.held_out is not None
    assert torch.equal(after.held_out.features, before.held_out.features)
    assert torch.equal(after.held_out.ids, before.held_out.ids)
    assert after.generation == 1


def test_only_the_given_parts_are_written(path: Path) -> None:
    before = {part: file for part in PARTS for file in path.glob(f"{part}-*")}
    inodes = {part: file.stat().st_ino for part, file in before.items()}
    assert write_index(path, changed(path), REMOVAL) == 2
    for part in PARTS:
        (file,) = path.glob(f"{part}-*")
        assert (file.stat().st_ino == inodes[part]) == (part not in REMOVAL)
    assert len(read_index(path).trie.live_ids()) == 58
    assert set(sizes(path)) == set(PARTS)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_index(tmp_path / "i.dsi", stored())
    finally:
        os.umask(mask)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "i.dsi").iterdir()}
    assert set(modes.values()) == {0o640}, modes


def test_files_of_a_killed_write_are_ignored_and_cleared(path: Path) -> None:
    (path / "model-000002.safetensors").write_bytes(b"half")
    (path / "trie-000007.safetensors").write_bytes(b"")
    assert len(read_index(path).trie.live_ids()) == 60
    write_index(path, changed(path), REMOVAL)
    generations = {part: 2 if part == "live" else 1 for part in PARTS}
    written = {f"{part}-{generations[part]:06d}.{suffix}" for part, suffix in PARTS.items()}
    assert names(path) == {"index.json", *written}


class Crash(BaseException):
    """What stands for a kill."""


@pytest.mark.parametrize("target", ["sync", "write_part", "write_atomically", "clear"])
@pytest.mark.parametrize("call", range(6))
def test_write_that_crashes_leaves_the_index_as_before_or_after(
    path: Path, monkeypatch: pytest.MonkeyPatch, target: str, call: int
) -> None:
    after = changed(path)
    real: Callable[..., object] = getattr(storage, target)
    calls = []

    def dies(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == call + 1:
            raise Crash
        return real(*arguments)

    monkeypatch.setattr(storage, target, dies)
    try:
        write_index(path, after, PARTS)
        finished = True
    except Crash:
        finished = False
    monkeypatch.undo()
    count = len(read_index(path).trie.live_ids())
    assert count == 58 if finished else count in (58, 60)
    if len(calls) <= call:
        assert finished
    write_index(path, read_index(path), PARTS)  # and it can be written again
    assert len(read_index(path).trie.live_ids()) == count


def test_index_that_changes_while_it_is_read_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage._read
    seen = []

    def late(folder: Path, description: dict[str, object]) -> IndexState:
        if not seen:
            seen.append(description["generation"])
            monkeypatch.setattr(storage, "_read", real)
            write_index(path, changed(path), PARTS)
        return real(folder, description)

    monkeypatch.setattr(storage, "_read", late)
    assert len(read_index(path).trie.live_ids()) == 58
    assert seen == [1]


def test_parts_of_an_index_that_was_changed_meanwhile_are_not_overwritten(path: Path) -> None:
    mine = changed(path)
    write_index(path, remove(read_index(path), [30]), REMOVAL)
    with pytest.raises(UsageError, match="changed by another process"):
        write_index(path, mine, REMOVAL)
    assert len(read_index(path).trie.live_ids()) == 59


_HOLD = """
import sys, time
from pathlib import Path
from vitdsi.collection.storage import write_lock
with write_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_write_during_another_write_is_refused_until_that_process_ends(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(IndexLockedError, match="being changed by another process"):
            write_index(path, changed(path), REMOVAL)
        assert len(read_index(path).trie.live_ids()) == 60  # readers do not wait
        holder.kill()
    with write_lock(path):  # the lock ended with its holder
        write_index(path, changed(path), REMOVAL)  # and is the same inside
    assert len(read_index(path).trie.live_ids()) == 58


@pytest.mark.parametrize("part", PARTS)
def test_missing_or_damaged_part_is_a_format_error(path: Path, part: str) -> None:
    (file,) = path.glob(f"{part}-*")
    content = file.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"\0" * 40):
        file.write_bytes(broken)
        with pytest.raises(IndexFormatError, match=r"a b\.dsi"):
            read_index(path)
    file.unlink()
    with pytest.raises(IndexFormatError, match=r"a b\.dsi"):
        read_index(path)


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (8, "this version reads up to 7; upgrade vitdsi"),
        (1, "this version reads 2 to 7; make it again from the images"),
    ],
)
def test_index_of_a_format_that_is_not_read_is_refused_with_advice(
    path: Path, version: int, advice: str
) -> None:
    description = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**description, "format_version": version}))
    with pytest.raises(IndexFormatError, match=f"format {version}, {advice}"):
        read_index(path)


def test_file_outside_of_the_folder_is_not_read(path: Path) -> None:
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    manifest["files"]["metadata"] = [["../metadata.sqlite", 60]]
    del manifest["checksum"]  # somebody else could compute it
    (path / "index.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(IndexFormatError, match="outside of its folder"):
        read_index(path)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond this size fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000, 5000, 10_000])
def test_full_disk_leaves_the_index_as_it_was(path: Path, size: int) -> None:
    after = trained(changed(path))
    with (
        files_of_at_most(size),
        pytest.raises(VitdsiError, match=r"a b\.dsi cannot be written \(.+\); make room"),
    ):
        write_index(path, after, PARTS)
    assert len(read_index(path).trie.live_ids()) == 60
    write_index(path, after, PARTS)
    assert len(read_index(path).trie.live_ids()) == 58
    assert len(names(path)) == 1 + len(PARTS)


def test_full_disk_leaves_nothing_of_a_new_index(tmp_path: Path) -> None:
    with files_of_at_most(5000), pytest.raises(VitdsiError, match="cannot be written"):
        write_index(tmp_path / "new.dsi", stored())
    assert list(tmp_path.iterdir()) == []


def test_changed_description_is_a_format_error(path: Path) -> None:
    text = (path / "index.json").read_text("utf-8")
    (path / "index.json").write_text(
        text.replace('"beam_size":', '"beam_sizes":').replace('"seed": 0', '"seed": 1')
    )
    with pytest.raises(IndexFormatError, match=r"index\.json is not as it was written"):
        read_index(path)


@pytest.mark.parametrize("part", PARTS)
def test_file_with_a_changed_bit_is_a_format_error(path: Path, part: str) -> None:
    (file,) = path.glob(f"{part}-*")
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    file.write_bytes(content)
    with pytest.raises(IndexFormatError, match="is not as it was written"):
        read_index(path)


def test_removed_ids_are_read_with_their_codes(path: Path) -> None:
    write_index(path, changed(path), REMOVAL)
    before, after = stored().trie, read_index(path).trie
    assert not after.live[[4, 9]].any() and int(after.live.sum()) == 58
    assert torch.equal(after.codes, before.codes) and torch.equal(after.child, before.child)


def test_added_images_are_written_beside_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "grown.dsi"
    write_index(path, stored())
    first = {file.name: file.stat().st_ino for file in path.iterdir()}
    grown = add(read_index(path), 2)
    write_index(path, grown, GROWING)
    (model,) = path.glob("model-*")
    assert model.stat().st_ino == first[model.name]
    for part in ("rows", "trie", "ids", "metadata", "features", "thumbnails", "keypoints"):
        old, new = sorted(path.glob(f"{part}-*"))
        assert old.stat().st_ino == first[old.name] and new.stat().st_size <= old.stat().st_size, part
    after = read_index(path)
    for name in ("image_ids", "hashes", "labels"):
        assert getattr(after, name) == getattr(grown, name)
    for name in ("codes", "child", "live", "allowed"):
        assert torch.equal(getattr(after.trie, name), getattr(grown.trie, name))
    assert after.metadata.rows(range(62)) == grown.metadata.rows(range(62))
    assert after.thumbnails is not None and grown.thumbnails is not None
    assert torch.equal(after.thumbnails.all(), grown.thumbnails.all())
    found = rank(after, after.features[-2:], SearchOptions(k=3))
    assert np.array_equal(found.ids, rank(grown, grown.features[-2:], SearchOptions(k=3)).ids)


def test_weights_that_training_changed_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "grown.dsi"
    write_index(path, stored())
    grown = trained(add(read_index(path), 2))
    write_index(path, grown, GROWING)
    assert [file.name for part in ("model", "rows") for file in path.glob(f"{part}-*")] == [
        "model-000002.safetensors",
        "rows-000002.safetensors",
    ]
    weights = grown.model.state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in read_index(path).model.state_dict().items()
    )


def test_place_that_an_added_image_took_is_read_again(path: Path) -> None:
    """The removed image keeps its row in the file of codes, but has no code any more."""
    state = read_index(path)
    codes = state.trie.codes.clone()
    taken = remove(state, [7])
    codes[7] = state.trie.vocabulary.pad
    trie = Trie(codes, state.trie.vocabulary.base, taken.trie.live)
    write_index(path, replace(taken, trie=trie, generation=1), GROWING[1:])
    after = read_index(path).trie
    assert after.codes[7].tolist() == codes[7].tolist() and not after.live[7]
    assert torch.equal(after.child, trie.child)


def test_keypoints_that_were_dropped_leave_the_folder(path: Path) -> None:
    write_index(path, replace(read_index(path), keypoints=None), ("keypoints",))
    assert read_index(path).keypoints is None
    assert not list(path.glob("keypoints-*"))
