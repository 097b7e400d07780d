"""Ways to damage an index folder: accidents, and what somebody does who means harm."""

from __future__ import annotations

import json
import random
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

_NUMBERS = (-1, 0, 1, 2, 255, 65_536, 1 << 31, (1 << 63) - 1, -(1 << 63), 1e308, 0.5)
_VALUES = (*_NUMBERS, None, True, "", "x", "../x", "/etc/passwd", [], {}, [[]], "\ud800", "1" * 5000)


def parts(path: Path) -> list[Path]:
    """Return the files of an index, by name."""
    return sorted(file for file in path.iterdir() if file.name != "lock")


# ---- accidents, and what a stranger may do as well


def _flip_bytes(path: Path, rng: random.Random) -> None:
    file = rng.choice(parts(path))
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 50))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    file.write_bytes(data)


def _cut_file(path: Path, rng: random.Random) -> None:
    file = rng.choice(parts(path))
    data = file.read_bytes()
    file.write_bytes(data[: rng.choice((0, rng.randrange(len(data)), len(data) - 1))])


def _lengthen_file(path: Path, rng: random.Random) -> None:
    file = rng.choice(parts(path))
    file.write_bytes(file.read_bytes() + rng.choice((b"\0", b"\n" * 100, rng.randbytes(5000))))


def _delete_file(path: Path, rng: random.Random) -> None:
    rng.choice(parts(path)).unlink()


def _swap_files(path: Path, rng: random.Random) -> None:
    suffix = rng.choice(parts(path)).suffix
    files = [file for file in parts(path) if file.suffix == suffix]
    first, second = rng.choice(files), rng.choice(files)
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def _folder_for_file(path: Path, rng: random.Random) -> None:
    file = rng.choice(parts(path))
    file.unlink()
    file.mkdir()


def _link_for_file(path: Path, rng: random.Random) -> None:
    file = rng.choice(parts(path))
    file.unlink()
    file.symlink_to(rng.choice((file, Path("/dev/null"), path, Path("/nowhere"))))


def _change_value(path: Path, rng: random.Random) -> None:
    """Change, add or delete a value of `index.json` or of the decisions, at any depth."""
    file = rng.choice([path / "index.json"] * 4 + list(path.glob("decisions-*")))
    content = json.loads(file.read_text("utf-8"))
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(place[key], (dict, list)) and rng.random() < 0.85:
            place = place[key]
            continue
        if rng.random() < 0.2:
            del place[key]
        else:
            place[key] = rng.choice(_VALUES)
        break
    file.write_text(json.dumps(content), "utf-8")


def _not_json(path: Path, rng: random.Random) -> None:
    texts = ("", "null", "[]", "1", '"x"', "{}", "[" * 100_000, '{"format_version": 6}', "NaN", "\ufeff{}")
    (path / "index.json").write_text(rng.choice(texts), "utf-8")


# ---- what only a stranger does


def _tensor_file(path: Path, rng: random.Random) -> Path:
    return rng.choice([file for file in parts(path) if file.suffix == ".safetensors"])


def _numbers_in_tensors(path: Path, rng: random.Random) -> None:
    """Put other numbers into a tensor, such as places outside of another one."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    file = _tensor_file(path, rng)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = {name: value.clone() for name, value in load_file(file).items()}
    tensor = tensors[rng.choice(list(tensors))].view(-1)
    if not len(tensor):
        return
    if tensor.is_floating_point():
        values = (float("nan"), float("inf"), -1e30, 0.0)
    else:
        limits = torch.iinfo(tensor.dtype)
        values = (limits.min, limits.max, -1, 0, len(tensor))
    for _ in range(rng.choice((1, 5, 100))):
        value = rng.choice(values)
        if not tensor.is_floating_point():
            value = min(max(value, limits.min), limits.max)
        tensor[rng.randrange(len(tensor))] = value
    file.unlink()
    save_file(tensors, file, metadata)


def _other_tensors(path: Path, rng: random.Random) -> None:
    """Give a tensor another shape or type, or leave it out."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    file = _tensor_file(path, rng)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = {name: value.clone() for name, value in load_file(file).items()}
    name = rng.choice(list(tensors))
    value = tensors.pop(name)
    types = (torch.float32, torch.int64, torch.uint8, torch.bool)
    changes: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: value[None],
        lambda: value.view(-1),
        lambda: value[:1],
        lambda: value[:0],
        lambda: torch.cat([value, value]),
        lambda: value.to(rng.choice(types)),
        lambda: torch.zeros(()),
    )
    if rng.random() < 0.9:
        tensors[name] = changes[rng.randrange(len(changes) if value.dim() else 2)]().contiguous()
    file.unlink()
    save_file(tensors, file, metadata)


def _lying_header(path: Path, rng: random.Random) -> None:
    """Change the header of a file of tensors: its length, or the types, shapes and places in it."""
    file = _tensor_file(path, rng)
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    way = rng.randrange(3)
    if way == 0:
        file.write_bytes(
            struct.pack("<Q", rng.choice((0, 1, length - 1, length + 1, 1 << 40, (1 << 64) - 1))) + data[8:]
        )
        return
    entry = header[rng.choice([name for name in header if name != "__metadata__"])]
    if way == 1:
        entry["data_offsets"] = [rng.choice((-1, 0, 8, 1 << 62)), rng.choice((0, 8, 1 << 62, len(data)))]
    else:
        entry[rng.choice(("shape", "dtype"))] = rng.choice(([1 << 62, 4], [-1], [0], "F64", "I8", "X", None))
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def _hostile_database(path: Path, rng: random.Random) -> None:
    """Make the table of facts another one: a view, a trigger, an endless query, an index or other columns."""
    file = rng.choice(sorted(path.glob("metadata-*")))
    with closing(sqlite3.connect(file)) as database:
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS vitdsi_id FROM n"
        )
        scripts = (
            f"DROP TABLE facts; CREATE VIEW facts AS {endless};",
            "CREATE TRIGGER t AFTER INSERT ON facts BEGIN DELETE FROM facts; END;",
            "CREATE VIRTUAL TABLE v USING fts5(x);",
            "CREATE INDEX i ON facts(album);",
            "DROP TABLE facts;",
            "ALTER TABLE facts ADD COLUMN c TEXT AS (load_extension('x'));",
            "ALTER TABLE facts DROP COLUMN album;",
            "UPDATE facts SET vitdsi_id = vitdsi_id + 9000000000000000000;",
            "UPDATE facts SET vitdsi_id = -vitdsi_id;",
            "UPDATE facts SET album = x'ff00ff', width = 'wide';",
            "UPDATE facts SET width = 9e999;",
            "DELETE FROM facts;",
            'ALTER TABLE facts ADD COLUMN "a\nb\'""" TEXT;',
            "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE facts(x';",
            "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 1;",
            "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 99999;",
            "PRAGMA user_version = 7; PRAGMA application_id = 5;",
            "PRAGMA journal_mode = WAL;",
        )
        try:
            database.executescript(rng.choice(scripts))
            database.commit()
        except sqlite3.Error:
            pass
    for more in path.glob("metadata-*.sqlite-*"):
        more.unlink()


ACCIDENTS = (
    _flip_bytes,
    _cut_file,
    _lengthen_file,
    _delete_file,
    _swap_files,
    _folder_for_file,
    _link_for_file,
    _change_value,
    _not_json,
)
HOSTILE = (
    _flip_bytes,
    _swap_files,
    _change_value,
    _change_value,
    _numbers_in_tensors,
    _numbers_in_tensors,
    _other_tensors,
    _other_tensors,
    _lying_header,
    _hostile_database,
)
