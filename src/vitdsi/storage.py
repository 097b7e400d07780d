"""An index on disk: a folder whose `index.json` names the files that belong together.

A change writes new files beside the old ones, syncs them, and then replaces `index.json`: whoever opens the folder
finds the index as it was before or after, never between. Weights and tensors are safetensors, the rest is JSON and
SQLite; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitdsi.config import IndexConfig, config_from_dict
from vitdsi.errors import IndexFormatError, IndexLockedError, UsageError, VitdsiError
from vitdsi.files import replace_folder, sync, umask, write_atomically
from vitdsi.ids import capacity_left
from vitdsi.metadata import MetadataStore
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import Trie

FORMAT_VERSION = 2  # 1: summaries of the features as they are, without roots
PARTS = {
    "model": "safetensors",
    "trie": "safetensors",
    "ids": "json",
    "tokens": "safetensors",
    "metadata": "sqlite",
}
_LOCK = "lock"
_ATTEMPTS = 20
_LAST_CHANGES = 10


@dataclass(frozen=True)
class Stored:
    """Everything that an index is.

    Attributes:
        image_ids, labels, hashes: one each id, also of ids that were removed; labels may be None.
        inputs: (N, *shape) cached model inputs, kept for later training, or None.
        thumbnails: (N, 32, 32) uint8, kept with them, to tell duplicates by.
        differences: (D, *shape) what alterations do to inputs.
        metadata: what filters ask about.
        report: what the build measured.
        changes: what was done since, oldest first.
        generation: of the files it was read from, 0 where it was not.
    """

    config: IndexConfig
    model: Seq2Seq
    trie: Trie
    image_ids: list[str]
    labels: list[str] | None
    hashes: list[str]
    inputs: Tensor | None
    thumbnails: Tensor | None
    differences: Tensor
    metadata: MetadataStore
    report: dict[str, Any]
    changes: list[dict[str, Any]] = field(default_factory=list)
    generation: int = 0


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Nobody else changes the index `path` inside this block. IndexLockedError when somebody does already.

    The lock is the operating system's, so it ends with the process that holds it, however that ends.
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


def write_index(path: Path, stored: Stored, parts: Collection[str] | None = None) -> int:
    """Write an index in place of what is there, or `parts` of the one that it was read from; all or nothing is seen.

    Returns the generation that was written. Raises UsageError where `parts` are given and another process has changed
    the index since it was read, IndexLockedError where one is changing it now.
    """
    if not path.exists():
        with replace_folder(path) as folder:
            _write(folder, stored, PARTS, generation=1, kept={})
        return 1
    if not (path / "index.json").is_file():
        raise UsageError(f"{path} exists and is not an index; give another output")
    with writing(path):
        before = _describe(path)
        if parts is not None and before["generation"] != stored.generation:
            raise UsageError(
                f"{path} was changed by another process since it was opened; open it again, and repeat the change"
            )
        changed = PARTS if parts is None else parts
        kept = {part: name for part, name in before["files"].items() if part not in changed}
        _write(path, stored, changed, generation=before["generation"] + 1, kept=kept)
        return int(before["generation"]) + 1


def _write(
    folder: Path, stored: Stored, parts: Collection[str], *, generation: int, kept: dict[str, str]
) -> None:
    files = dict(kept)
    clear(folder)
    for part in PARTS:
        if part in parts:
            files[part] = f"{part}-{generation:06d}.{PARTS[part]}"
            _WRITERS[part](folder / files[part], stored)
            os.chmod(folder / files[part], 0o666 & ~umask())  # safetensors writes for the owner alone
            sync(folder / files[part])
    sync(folder)
    description = {
        "format_version": FORMAT_VERSION,
        "generation": generation,
        "files": files,
        "base": stored.trie.vocabulary.base,
        "config": asdict(stored.config),
        "input_shape": list(stored.model.input_shape),
        "report": stored.report,
        "changes": stored.changes,
    }
    with write_atomically(folder / "index.json") as stream:
        stream.write(json.dumps(description, ensure_ascii=False).encode())
    clear(folder)


def clear(folder: Path) -> None:
    """Delete the parts that `index.json` does not name: of before a change, or of one that was killed."""
    named = set(_describe(folder)["files"].values()) if (folder / "index.json").is_file() else set()
    for part, suffix in PARTS.items():
        for file in folder.glob(f"{part}-*.{suffix}"):
            if file.name not in named:
                file.unlink(missing_ok=True)


def sizes(path: Path) -> dict[str, int]:
    """Bytes on disk by part."""
    return {part: (path / name).stat().st_size for part, name in _describe(path)["files"].items()}


def describe(stored: Stored, path: Path | None) -> dict[str, Any]:
    """Size, ids, room for more, what was changed and what the build measured; bytes by part where it is on disk."""
    trie = stored.trie
    live = trie.live_ids()
    is_live = np.isin(np.arange(len(trie.codes)), live.numpy())
    facts: dict[str, Any] = {
        "images": len(live),
        "removed": len(trie.codes) - len(live),
        "scheme": stored.config.ids.scheme,
        "base": trie.vocabulary.base,
        "digits": trie.max_length,
        "capacity_left": capacity_left(trie.codes.numpy(), is_live, trie.vocabulary.base),
        "inner_nodes": trie.num_nodes,
        "parameters": sum(p.numel() for p in stored.model.parameters()),
        "labels": stored.config.labels,
        "stem": stored.config.model.stem,
        "metadata": stored.metadata.columns(),
        "report": {k: v for k, v in stored.report.items() if not isinstance(v, list)},
        "changes": stored.changes[-_LAST_CHANGES:],
    }
    if path is not None:
        facts["bytes"] = sizes(path)
    return facts


def read_index(path: Path) -> Stored:
    """Open an index folder; IndexFormatError says what is wrong with it. Never waits, and disturbs no writer."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such index; make one with: vitdsi index IMAGES -o {path}")
    if not (path / "index.json").is_file():
        raise IndexFormatError(f"{path} is not an index: it has no index.json")
    try:
        for _ in range(_ATTEMPTS):
            description = _describe(path)
            try:
                return _read(path, description)
            except (OSError, ValueError, RuntimeError, SafetensorError):  # a file that is gone has many names
                if _describe(path)["generation"] == description["generation"]:
                    raise
                # somebody changed the index between our reading its description and its files: read again
        raise IndexFormatError("it changes faster than it can be read")
    except IndexFormatError as error:
        raise IndexFormatError(f"{path}: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, VitdsiError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IndexFormatError(f"{path} is broken ({reason}); make it again from the images") from error


def _describe(path: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((path / "index.json").read_text("utf-8"))
    version = description["format_version"]
    if version > FORMAT_VERSION:
        raise IndexFormatError(
            f"it has format {version}, this version reads up to {FORMAT_VERSION}; upgrade vitdsi"
        )
    if version < FORMAT_VERSION:
        raise IndexFormatError(
            f"it has format {version}, this version reads {FORMAT_VERSION}; make it again from the images"
        )
    return description


def _read(path: Path, description: dict[str, Any]) -> Stored:
    files = {part: path / name for part, name in description["files"].items()}
    config = config_from_dict(description["config"])
    trie = Trie.from_tensors(load_file(files["trie"]), description["base"])
    model = Seq2Seq(config.model, trie, tuple(description["input_shape"]))
    model.load_state_dict(load_file(files["model"]))
    ids = json.loads(files["ids"].read_text("utf-8"))
    tokens = load_file(files["tokens"])
    return Stored(
        config,
        model.eval(),
        trie,
        ids["image_ids"],
        ids["labels"],
        ids["hashes"],
        tokens.get("inputs"),
        tokens.get("thumbnails"),
        tokens["differences"],
        MetadataStore.load(files["metadata"]),
        description["report"],
        description["changes"],
        description["generation"],
    )


def _write_ids(file: Path, stored: Stored) -> None:
    ids = {"image_ids": stored.image_ids, "labels": stored.labels, "hashes": stored.hashes}
    file.write_text(json.dumps(ids, ensure_ascii=False), "utf-8")


def _write_model(file: Path, stored: Stored) -> None:
    save_file({name: value.contiguous() for name, value in stored.model.state_dict().items()}, file)


def _write_trie(file: Path, stored: Stored) -> None:
    trie = stored.trie
    save_file({"codes": trie.codes, "nodes": trie.nodes, "child": trie.child}, file)


def _write_tokens(file: Path, stored: Stored) -> None:
    tokens = {"differences": stored.differences.half().contiguous()}
    if stored.inputs is not None:
        tokens["inputs"] = stored.inputs.contiguous()
    if stored.thumbnails is not None:
        tokens["thumbnails"] = stored.thumbnails.contiguous()
    save_file(tokens, file)


def _write_metadata(file: Path, stored: Stored) -> None:
    stored.metadata.save(file)


_WRITERS: dict[str, Callable[[Path, Stored], None]] = {
    "model": _write_model,
    "trie": _write_trie,
    "ids": _write_ids,
    "tokens": _write_tokens,
    "metadata": _write_metadata,
}
