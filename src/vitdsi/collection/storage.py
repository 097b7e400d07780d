"""An index on disk: a folder whose `index.json` names the files that belong together.

A change writes new files beside the old ones, syncs them, and then replaces `index.json`. A reader
finds the index as it was before or after the change, never a mixture. Weights and tensors are safetensors, the rest is
JSON and SQLite; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vitdsi.collection.former_formats import upgraded, upgraded_weights
from vitdsi.config import config_from_dict
from vitdsi.errors import IndexFormatError, IndexLockedError, UsageError, VitdsiError
from vitdsi.facts.store import MetadataStore
from vitdsi.files import replace_folder, sync, umask, write_atomically
from vitdsi.ids.trie import Trie
from vitdsi.model.coding import packed, unpacked
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.photos.keypoints import Keypoints
from vitdsi.state import BuildReport, Change, HeldOut, IndexState, TextGap

FORMAT_VERSION = 6
_READABLE_VERSIONS = (2, 3, 4, 5, 6)
PARTS = {
    "model": "safetensors",
    "trie": "safetensors",
    "ids": "json",
    "features": "safetensors",
    "metadata": "sqlite",
    "keypoints": "safetensors",
    "decisions": "json",
}
_SUFFIXES_BY_FORMER_PART = {"tokens": "safetensors"}
_LOCK = "lock"
_MAX_ATTEMPTS = 20


@contextlib.contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the write lock of the index `path` inside this block.

    The operating system releases the lock when the process ends, however it ends. Raises
    IndexLockedError if another process holds it.
    """
    lock = FileLock(path.resolve() / _LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise IndexLockedError(
            f"{path} is being changed by another process; try again when it is done"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_index(path: Path, state: IndexState, parts: Collection[str] | None = None) -> int:
    """Write an index, replacing an existing one; or write only `parts` of it into the index that it was read from.

    Readers see the old index or the new one, never a mixture. Returns the generation that was written.

    Raises:
        UsageError: `path` exists and is not an index; or `parts` are given and another process has changed the index
            since it was read.
        IndexLockedError: another process is changing the index.
    """
    if not path.exists():
        with replace_folder(path) as folder:
            _write(folder, state, PARTS, generation=1, kept={})
        return 1
    if not (path / "index.json").is_file():
        raise UsageError(f"{path} exists and is not an index; give another output")
    with write_lock(path):
        before = _read_manifest(path)
        if parts is not None and before["generation"] != state.generation:
            raise UsageError(
                f"{path} was changed by another process since it was opened; open it again, and repeat the change"
            )
        changed = PARTS if parts is None else parts
        kept = {part: name for part, name in before["files"].items() if part not in changed}
        _write(path, state, changed, generation=before["generation"] + 1, kept=kept)
        return int(before["generation"]) + 1


def _write(
    folder: Path, state: IndexState, parts: Collection[str], *, generation: int, kept: dict[str, str]
) -> None:
    files = dict(kept)
    clear(folder)
    for part in PARTS:
        if (part == "keypoints" and state.keypoints is None) or (part == "decisions" and not state.decisions):
            files.pop(part, None)
        elif part in parts:
            files[part] = f"{part}-{generation:06d}.{PARTS[part]}"
            _WRITERS[part](folder / files[part], state)
            os.chmod(folder / files[part], 0o666 & ~umask())  # safetensors writes for the owner alone
            sync(folder / files[part])
    sync(folder)
    manifest = {
        "format_version": FORMAT_VERSION,
        "generation": generation,
        "files": files,
        "base": state.trie.vocabulary.base,
        "requested": asdict(state.requested),
        "resolved": asdict(state.resolved),
        "weights": state.weights,
        "input_shape": list(state.model.input_shape),
        "row_bytes": state.model.row_bytes,
        "report": state.report.as_dict(),
        "changes": [asdict(change) for change in state.changes],
    }
    with write_atomically(folder / "index.json") as stream:
        stream.write(json.dumps(manifest, ensure_ascii=False).encode())
    clear(folder)


def clear(folder: Path) -> None:
    """Delete the files of parts that `index.json` does not name: those of earlier or interrupted writes."""
    named = set(_read_manifest(folder)["files"].values()) if (folder / "index.json").is_file() else set()
    for part, suffix in {**PARTS, **_SUFFIXES_BY_FORMER_PART}.items():
        for file in folder.glob(f"{part}-*.{suffix}"):
            if file.name not in named:
                file.unlink(missing_ok=True)


def sizes(path: Path) -> dict[str, int]:
    """Return the size of each part on disk in bytes."""
    files = _read_manifest(path)["files"]
    return {part: (path / name).stat().st_size for part, name in files.items()}


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
    try:
        for _ in range(_MAX_ATTEMPTS):
            manifest = _read_manifest(path)
            try:
                return _read(path, manifest)
            except (
                OSError,
                ValueError,
                RuntimeError,
                SafetensorError,
            ):  # A missing file raises any of these.
                if _read_manifest(path)["generation"] == manifest["generation"]:
                    raise
                # Another process changed the index after its manifest was read, so everything is read again.
        raise IndexFormatError("it changes faster than it can be read; try again later")
    except IndexFormatError as error:
        raise IndexFormatError(f"{path}: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, VitdsiError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IndexFormatError(f"{path} is broken ({reason}); make it again from the images") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((path / "index.json").read_text("utf-8"))
    version = manifest["format_version"]
    if version > FORMAT_VERSION:
        raise IndexFormatError(
            f"it has format {version}, this version reads up to {FORMAT_VERSION}; upgrade vitdsi"
        )
    if version not in _READABLE_VERSIONS:
        raise IndexFormatError(
            f"it has format {version}, this version reads {_READABLE_VERSIONS[0]} to {FORMAT_VERSION};"
            " make it again from the images"
        )
    return upgraded(manifest)


def _read(path: Path, manifest: dict[str, Any]) -> IndexState:
    files = {part: path / name for part, name in manifest["files"].items()}
    resolved = config_from_dict(manifest["resolved"])
    trie = Trie.from_tensors(load_file(files["trie"]), manifest["base"])
    model = Seq2Seq(resolved.model, trie, tuple(manifest["input_shape"]), manifest["row_bytes"])
    model.load_state_dict(upgraded_weights(unpacked(load_file(files["model"])), trie))
    ids = json.loads(files["ids"].read_text("utf-8"))
    features = load_file(files["features"])
    held_out = None
    if "held_out" in features:
        held_out = HeldOut(features["held_out"], features["held_out_ids"], ids["held_out_labels"])
    text_gap = None
    if "text_gap" in features:
        scale, pairs = features["text_gap_scale"].tolist()
        text_mean, photo_mean = features["text_gap"]
        text_gap = TextGap(text_mean, photo_mean, scale, int(pairs))
    return IndexState(
        config_from_dict(manifest["requested"]),
        resolved,
        model.eval(),
        trie,
        ids["image_ids"],
        ids["labels"],
        ids["hashes"],
        features.get("features", features.get("inputs")),  # called "inputs" in format 2
        features.get("thumbnails"),
        features["differences"],
        MetadataStore.load(files["metadata"]),
        BuildReport.from_dict(manifest["report"]),
        held_out,
        tuple(Change(**change) for change in manifest["changes"]),
        manifest.get("weights"),
        text_gap,
        manifest["generation"],
        _read_keypoints(files["keypoints"]) if "keypoints" in files else None,
        decisions=_read_decisions(files["decisions"]) if "decisions" in files else (),
    )


def _read_decisions(file: Path) -> tuple[tuple[str, str], ...]:
    pairs = json.loads(file.read_text("utf-8"))["keep_both"]
    return tuple((str(first), str(second)) for first, second in pairs)


def _write_decisions(file: Path, state: IndexState) -> None:
    file.write_text(json.dumps({"keep_both": state.decisions}), "utf-8")


def _read_keypoints(file: Path) -> Keypoints:
    tensors = load_file(file)
    return Keypoints(*(tensors[name].numpy() for name in ("descriptors", "positions", "offsets")))


def _write_keypoints(file: Path, state: IndexState) -> None:
    assert state.keypoints is not None
    save_file({name: torch.from_numpy(value) for name, value in vars(state.keypoints).items()}, file)


def _write_ids(file: Path, state: IndexState) -> None:
    ids = {
        "image_ids": state.image_ids,
        "labels": state.labels,
        "hashes": state.hashes,
        "held_out_labels": None if state.held_out is None else state.held_out.labels,
    }
    file.write_text(json.dumps(ids, ensure_ascii=False), "utf-8")


def _write_model(file: Path, state: IndexState) -> None:
    save_file(packed({name: value.contiguous() for name, value in state.model.state_dict().items()}), file)


def _write_trie(file: Path, state: IndexState) -> None:
    trie = state.trie
    save_file({"codes": trie.codes, "nodes": trie.nodes, "child": trie.child, "live": trie.live}, file)


def _write_features(file: Path, state: IndexState) -> None:
    tensors = {"differences": state.differences.half().contiguous()}
    if state.features is not None:
        tensors["features"] = state.features.contiguous()
    if state.thumbnails is not None:
        tensors["thumbnails"] = state.thumbnails.contiguous()
    if state.held_out is not None:
        tensors["held_out"] = state.held_out.features.contiguous()
        tensors["held_out_ids"] = state.held_out.ids.contiguous()
    if state.text_gap is not None:
        gap = state.text_gap
        tensors["text_gap"] = torch.stack([gap.text_mean, gap.photo_mean])
        tensors["text_gap_scale"] = torch.tensor([gap.scale, gap.pairs], dtype=torch.float64)
    save_file(tensors, file)


def _write_metadata(file: Path, state: IndexState) -> None:
    state.metadata.save(file)


_WRITERS: dict[str, Callable[[Path, IndexState], None]] = {
    "model": _write_model,
    "trie": _write_trie,
    "ids": _write_ids,
    "features": _write_features,
    "metadata": _write_metadata,
    "keypoints": _write_keypoints,
    "decisions": _write_decisions,
}
