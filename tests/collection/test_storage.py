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
from helpers_former import write_format_5
from helpers_stored import add, content, stored
from safetensors.torch import load_file, save_file

from vitdsi.collection import storage
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import FORMAT_VERSION, read_index, sizes, write_index, write_lock
from vitdsi.errors import IndexFormatError, IndexLockedError, UsageError, VitdsiError
from vitdsi.ids.trie import Trie
from vitdsi.model.coding import with_row_bytes
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


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """An index as it was up to format 3, without a part for categories and without held-out views."""
    path = tmp_path / "former.dsi"
    write_format_5(path, replace(stored(former=True), held_out=None))
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


def test_index_of_format_6_has_the_rows_of_images_among_the_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    write_index(path, stored())
    model, rows = (path / f"{part}-000001.safetensors" for part in ("model", "rows"))
    save_file(load_file(model) | load_file(rows), model)
    rows.unlink()
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    del manifest["files"]["rows"], manifest["checksums"], manifest["checksum"]
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 6}), "utf-8")
    weights = stored().model.state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in read_index(path).model.state_dict().items()
    )
    write_index(path, changed(path), REMOVAL)
    grown = add(read_index(path), 2)
    write_index(path, grown, GROWING)
    assert {file.name for file in path.glob("rows-*")} == {"rows-000003.safetensors"}
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


def test_index_of_format_5_is_read_and_rewritten_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    before = replace(stored(), model=with_row_bytes(stored().model, stored().trie, None))
    write_format_5(path, before)
    after = read_index(path)
    assert after.image_ids == before.image_ids and after.labels == before.labels
    assert list(after.hashes) == list(before.hashes)
    assert after.decisions == ((content("old", 1)[:16], content("old", 2)[:16]),)
    assert after.held_out is not None and after.keypoints is not None and before.keypoints is not None
    assert np.array_equal(after.keypoints.since(0).values, before.keypoints.since(0).values)
    found = rank(after, after.features, SearchOptions(k=3))
    assert np.array_equal(found.ids, rank(before, before.features, SearchOptions(k=3)).ids)
    write_index(path, remove(after, [1]), REMOVAL)
    assert names(path) == {"index.json", *(f"{part}-000002.{suffix}" for part, suffix in PARTS.items())}
    assert len(read_index(path).trie.live_ids()) == 59


def test_index_of_format_4_has_no_keypoints(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    manifest = write_format_5(path, stored())
    (path / manifest["files"].pop("keypoints")).unlink()
    del manifest["requested"]["keypoints"], manifest["resolved"]["keypoints"]
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 4}), "utf-8")
    index = read_index(path)
    assert index.keypoints is None
    assert write_index(path, remove(index, [1]), REMOVAL) == 2
    assert read_index(path).keypoints is None and "keypoints" not in sizes(path)


def test_removed_ids_of_format_3_have_no_code(former: Path) -> None:
    """Up to format 3, a removal deleted the code of an id and the branches that led only to it."""
    path = former
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    tensors = load_file(path / manifest["files"]["trie"])
    del tensors["live"]
    child, nodes, tokens = tensors["child"], *stored(former=True).trie.last_edges(torch.tensor([4, 9]))
    child[nodes, tokens] = -1
    tensors["codes"][[4, 9]], tensors["nodes"][[4, 9]] = stored(former=True).trie.vocabulary.pad, -1
    save_file(tensors, path / manifest["files"]["trie"])
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 3}), "utf-8")
    index = read_index(path)
    assert index.trie.live_ids().tolist() == [i for i in range(60) if i not in (4, 9)]
    found = rank(index, index.features, SearchOptions(k=60, rerank=False))
    assert found.ids.shape == (60, 58) and found.proven.all()
    write_index(path, index, REMOVAL)
    assert json.loads((path / "index.json").read_text("utf-8"))["format_version"] == FORMAT_VERSION
    assert torch.equal(read_index(path).trie.live, index.trie.live)


def test_index_of_format_2_is_read_and_rewritten(former: Path) -> None:
    """Format 2 called the features tokens and inputs, and some settings by other names."""
    path = former
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    tensors = load_file(path / manifest["files"].pop("features"))
    save_file(
        {{"features": "inputs"}.get(name, name): value for name, value in tensors.items()},
        path / "tokens-000001.safetensors",
    )
    manifest["files"]["tokens"] = "tokens-000001.safetensors"
    config = manifest.pop("resolved")
    del manifest["requested"]
    model, training = config["model"], config["training"]
    model |= {
        "head_dim": model.pop("embedding_dim"),
        "memory_tokens": 4,
        "head_scale": 20.0,
        **model.pop("paper"),
    }
    training |= {"views": training.pop("augment_prob"), "gradient_clip": 1.0, **training.pop("paper")}
    del model["backbone"], model["category_dim"]
    (path / "index.json").write_text(json.dumps({**manifest, "format_version": 2, "config": config}), "utf-8")
    before, after = stored(former=True), read_index(path)
    assert after.resolved == before.resolved
    assert after.features is not None and before.features is not None
    assert torch.equal(after.features, before.features)
    write_index(path, remove(after, [1]))
    assert not list(path.glob("tokens-*"))
    assert len(read_index(path).trie.live_ids()) == 59
