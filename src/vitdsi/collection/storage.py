"""An index on disk: a folder whose `index.json` names the files that belong together.

A change writes new files beside the old ones, syncs them, and then replaces `index.json`. A reader finds the index as
it was before or after the change, never a mixture. What the files hold is said in `vitdsi.collection.parts`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from vitdsi.collection.checksums import file_checksums, manifest_checksum, verify
from vitdsi.collection.former_formats import (
    FORMER_SUFFIXES,
    is_former,
    read_former_parts,
    renumbered,
    upgraded_weights,
)
from vitdsi.collection.manifest import (
    DAMAGE,
    FORMAT_VERSION,
    explained,
    files_of,
    last_generation,
    read_manifest,
)
from vitdsi.collection.parts import (
    PARTS,
    SEGMENTED,
    absent,
    holds,
    read_parts,
    write_part,
)
from vitdsi.collection.weights import read_weights
from vitdsi.columns.segments import segments_to_keep
from vitdsi.config import config_from_dict
from vitdsi.errors import IndexFormatError, IndexLockedError, UsageError
from vitdsi.files import replace_folder, sync, umask, unwritable, write_atomically
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.state import BuildReport, Change, IndexState

_LOCK = "lock"
_MAX_ATTEMPTS = 20


@contextlib.contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the write lock of the index `path` inside this block.

    The operating system releases the lock when the process ends, however it ends. Raises
    IndexLockedError if another process holds it.
    """
    try:
        lock = FileLock(path.resolve() / _LOCK, is_singleton=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise IndexLockedError(
            f"{path} is being changed by another process; try again when it is done"
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def write_index(path: Path, state: IndexState, parts: Collection[str] | None = None) -> int:
    """Write an index, replacing an existing one; or write only `parts` of it into the index that it was read from.

    Of parts in segments, only new rows are then written. An index of a former format is written as a whole. Readers see
    the old index or the new one, never a mixture. Returns the generation that was written.

    Raises:
        UsageError: `path` exists and is not an index; or `parts` are given and another process has changed the index
            since it was read.
        IndexLockedError: another process is changing the index.
        VitdsiError: the files cannot be written, for example because the disk is full. The index is as it was.
    """
    try:
        return _replace_index(path, state, parts)
    except (OSError, sqlite3.Error, SafetensorError) as error:
        raise unwritable(path, error) from error


def _replace_index(path: Path, state: IndexState, parts: Collection[str] | None) -> int:
    if not path.exists():
        with replace_folder(path) as folder:
            _write(folder, state, PARTS, generation=1, before={})
        return 1
    if not (path / "index.json").is_file():
        raise UsageError(f"{path} exists and is not an index; give another output")
    with write_lock(path):
        generation, before = last_generation(path) + 1, {}
        if parts is not None:
            with explained(path):
                before = read_manifest(path)
            if before["generation"] != state.generation:
                raise UsageError(
                    f"{path} was changed by another process since it was opened; open it again, and repeat the change"
                )
        if parts is None or is_former(before):
            parts, before = PARTS, {}
        try:
            _write(path, state, parts, generation=generation, before=before)
        except BaseException:
            clear(path)
            raise
        return generation


def _write(
    folder: Path, state: IndexState, parts: Collection[str], *, generation: int, before: dict[str, Any]
) -> None:
    """Write parts of an index; what else the description `before` names is kept."""
    grown = before.get("lineage") == state.image_ids.lineage
    files: dict[str, list[tuple[str, int]]] = {}
    checksums: dict[str, list[str]] = {}
    clear(folder)
    for part in PARTS:
        known = before.get("files", {}).get(part, [])
        if absent(state, part):
            continue
        if part not in parts:
            files[part] = known
            continue
        count = len(state.image_ids)
        kept = _kept(folder, part, known, state) if grown else []
        first = sum(rows for _, rows in kept)
        files[part] = kept
        if kept and (first == count or part not in SEGMENTED):
            continue
        name = f"{part}-{generation:06d}.{PARTS[part]}"
        files[part] = [*kept, (name, count - first)]
        write_part(part, folder / name, state, first)
        os.chmod(folder / name, 0o666 & ~umask())  # safetensors writes for the owner alone
        sync(folder / name)
        checksums[name] = file_checksums(folder / name)
    sync(folder)
    checksums |= {name: value for name, value in before.get("checksums", {}).items() if name not in checksums}
    named = {name for part in files.values() for name, _ in part}
    manifest = {
        "format_version": FORMAT_VERSION,
        "generation": generation,
        "lineage": state.image_ids.lineage,
        "files": files,
        "checksums": {name: value for name, value in checksums.items() if name in named},
        "base": state.trie.vocabulary.base,
        "requested": asdict(state.requested),
        "resolved": asdict(state.resolved),
        "weights": state.weights,
        "input_shape": list(state.model.input_shape),
        "row_bytes": state.model.row_bytes,
        "report": state.report.as_dict(),
        "changes": [asdict(change) for change in state.changes],
    }
    manifest["checksum"] = manifest_checksum(manifest)
    with write_atomically(folder / "index.json") as stream:
        stream.write(json.dumps(manifest, ensure_ascii=False).encode())
    clear(folder)


def _kept(folder: Path, part: str, known: list[tuple[str, int]], state: IndexState) -> list[tuple[str, int]]:
    """Return the files that stay as they are when this part of an index that has grown is written."""
    if part in ("model", "held_out"):
        return known if known and holds(part, folder / known[0][0], state) else []
    if part not in SEGMENTED:
        return []
    lengths = [rows for _, rows in known]
    kept = known[: segments_to_keep(lengths, len(state.image_ids) - sum(lengths))]
    if part != "rows":
        return kept
    ends = itertools.accumulate(rows for _, rows in kept)
    same = (
        holds(part, folder / name, state, end - rows, end)
        for (name, rows), end in zip(kept, ends, strict=True)
    )
    return kept[: sum(itertools.takewhile(bool, same))]


def clear(folder: Path) -> None:
    """Delete the files that `index.json` does not name: those of earlier or interrupted writes.

    Nothing is deleted as long as `index.json` cannot be read.
    """
    named: set[str] = set()
    if (folder / "index.json").is_file():
        try:
            files = files_of(folder, read_manifest(folder))
        except DAMAGE:
            return
        named = {file.name for file in itertools.chain(*files.values())}
    patterns = [f"{part}-*.{suffix}" for part, suffix in [*PARTS.items(), *FORMER_SUFFIXES]]
    for pattern in (*patterns, ".tmp*"):  # which is what safetensors writes to, before it renames it
        for file in folder.glob(pattern):
            if file.name not in named:
                file.unlink(missing_ok=True)


def check_files(path: Path) -> list[str]:
    """Compare all bytes of the files of an index with their checksums, which can take as long as copying it.

    Returns:
        The names of the files that have no checksum, because an earlier version wrote them.

    Raises:
        UsageError, IndexFormatError: as `read_index`.
    """
    read_index(path)
    with explained(path):
        manifest = read_manifest(path)
        checksums = manifest.get("checksums", {})
        files = list(itertools.chain(*files_of(path, manifest).values()))
        for file in files:
            verify(file, checksums.get(file.name), whole=True)
    return [file.name for file in files if file.name not in checksums]


def sizes(path: Path) -> dict[str, int]:
    """Return the size of each part on disk in bytes."""
    files = files_of(path, read_manifest(path))
    return {part: sum(file.stat().st_size for file in files[part]) for part in files}


def read_index(path: Path) -> IndexState:
    """Read an index folder. This never waits for, nor blocks, a process that changes the index.

    Raises:
        UsageError: there is no such folder.
        IndexFormatError: it is not an index, is broken, or has a format that this version does not read.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such index; make one with: vitdsi index IMAGES -o {path}")
    if not (path / "index.json").is_file():
        raise IndexFormatError(f"{path} is not an index: it has no index.json")
    with explained(path):
        for _ in range(_MAX_ATTEMPTS):
            manifest = read_manifest(path)
            try:
                return _read(path, manifest)
            except DAMAGE:  # A missing file raises any of these.
                if read_manifest(path)["generation"] == manifest["generation"]:
                    raise
                # Another process changed the index after its manifest was read, so everything is read again.
        raise IndexFormatError("it changes faster than it can be read; try again later")


def _read(path: Path, manifest: dict[str, Any]) -> IndexState:
    files = files_of(path, manifest)
    for file in itertools.chain(*files.values()):
        verify(file, manifest.get("checksums", {}).get(file.name))
    resolved = config_from_dict(manifest["resolved"])
    former = is_former(manifest)
    if former:
        parts = read_former_parts(files, manifest["base"])
    else:
        parts = read_parts(files, manifest["base"], manifest["lineage"])
    model = Seq2Seq(resolved.model, parts["trie"], tuple(manifest["input_shape"]), manifest["row_bytes"])
    weights = read_weights(files)
    model.load_state_dict(upgraded_weights(weights, parts["trie"]) if former else weights, assign=True)
    if former:
        model, parts["trie"] = renumbered(model, parts["trie"], resolved.seed)
    return IndexState(
        requested=config_from_dict(manifest["requested"]),
        resolved=resolved,
        model=model.eval(),
        report=BuildReport.from_dict(manifest["report"]),
        changes=tuple(Change(**change) for change in manifest["changes"]),
        weights=manifest.get("weights"),
        generation=manifest["generation"],
        **parts,
    )
