"""Photo sets are laid out from a commit by a recorded rule, and checked."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vitdsi.errors import UsageError

_FILE = Path(__file__).parents[2] / "benchmarks" / "sets.py"


@pytest.fixture
def sets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_sets", _FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def entry(sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The entry of a set of 2 cats and 2 dogs, in a repository whose newest commit has other photos."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    repository = tmp_path / "repository"
    photos = {"cat/1.jpg": b"cat 1", "cat/2.jpg": b"cat 2", "dog/1.JPG": b"dog 1", "dog/2.jpg": b"dog 2"}
    names = [(data.split()[0].decode(), _hash(data)) for data in photos.values()]
    lines = "".join(sorted(f"{label}/{name}.jpg {name}\n" for label, name in names))
    _write(repository, {f"photos/{name}": data for name, data in photos.items()})
    _write(repository, {"README.md": b"Read me.", "photos/cat/notes.txt": b"cats", "code/cat/1.jpg": b"code"})
    _git(repository, "init", "-q")
    _git(repository, "add", ".")
    _git(repository, "commit", "-q", "-m", "Photos")
    commit = _git(repository, "rev-parse", "HEAD")
    _git(repository, "rm", "-rq", "photos")
    _git(repository, "commit", "-q", "-m", "No photos")
    return {
        "role": "development",
        "repository": repository.as_uri(),
        "commit": commit,
        "checkout": ["/photos/"],
        "pattern": r"photos/(?P<label>[^/]+)/[^/]+\.(jpg|JPG)",
        "at_least": 2,
        "at_most": None,
        "classes": 2,
        "photos": 4,
        "hash": _hash(lines.encode()),
    }


@pytest.fixture
def record(sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> Any:
    """A function that records `entry`, with changes, as the set "pets"."""
    monkeypatch.setattr(sets, "MANIFEST", tmp_path / "sets.json")

    def write(**changes: object) -> None:
        sets.MANIFEST.write_text(json.dumps({"pets": entry | changes}))

    write()
    return write


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_photos_of_the_commit_are_laid_out_by_class_with_their_bytes(
    sets: ModuleType, record: Any, tmp_path: Path
) -> None:
    folder = sets.lay_out("pets", tmp_path / "sets")
    assert sorted(_content(folder).values()) == [b"cat 1", b"cat 2", b"dog 1", b"dog 2"]
    for path in folder.rglob("*.jpg"):
        assert path.read_bytes().startswith(path.parent.name.encode())
        assert path.stem == _hash(path.read_bytes())
    assert sets.load("pets", tmp_path / "sets") == (folder, "development")
    assert list((tmp_path / "sets").iterdir()) == [folder]  # nothing temporary is left


def test_a_set_that_is_in_place_needs_no_repository(sets: ModuleType, record: Any, tmp_path: Path) -> None:
    folder = sets.lay_out("pets", tmp_path / "sets")
    record(repository=(tmp_path / "missing").as_uri())
    assert sets.lay_out("pets", tmp_path / "sets") == folder


def test_other_content_than_recorded_is_an_error_and_the_old_folder_stays(
    sets: ModuleType, record: Any, tmp_path: Path
) -> None:
    record(hash="0" * 32)
    _write(tmp_path, {"sets/pets/cat/mine.jpg": b"mine"})
    with pytest.raises(
        UsageError, match=r"4 photos in 2 classes .* instead of 4 photos in 2 classes with the hash 0000"
    ):
        sets.lay_out("pets", tmp_path / "sets")
    assert _content(tmp_path / "sets") == {"pets/cat/mine.jpg": b"mine"}


def test_a_changed_photo_is_noticed_and_laid_out_again(sets: ModuleType, record: Any, tmp_path: Path) -> None:
    folder = sets.lay_out("pets", tmp_path / "sets")
    before = _content(folder)
    min(folder.rglob("*.jpg")).write_bytes(b"changed")
    with pytest.raises(UsageError, match=r"run `python benchmarks/sets\.py .* pets`"):
        sets.load("pets", tmp_path / "sets")
    sets.lay_out("pets", tmp_path / "sets")
    assert _content(folder) == before


def test_an_unknown_set_is_named_with_the_known_ones(sets: ModuleType, record: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'cars' is not a known set: use one of pets"):
        sets.load("cars", tmp_path)


def test_a_commit_that_git_cannot_get_ends_the_command_with_its_name(
    sets: ModuleType, record: Any, tmp_path: Path
) -> None:
    record(commit="0" * 40)
    with pytest.raises(SystemExit, match="pets: git could not get the commit"):
        sets.main([str(tmp_path / "sets"), "pets"])


def test_copies_are_kept_once_and_photos_of_two_classes_not_at_all(sets: ModuleType, tmp_path: Path) -> None:
    _write(tmp_path, {"a/1": b"one", "a/2": b"one", "a/3": b"both", "b/1": b"both", "b/2": b"two"})
    found = sets.labelled(tmp_path, r"(?P<label>.)/.")
    kept = sets.choose(found, at_least=1, at_most=None)
    assert {label: [path.read_bytes() for _, path in photos] for label, photos in kept.items()} == {
        "a": [b"one"],
        "b": [b"two"],
    }


def test_the_first_photos_by_hash_are_kept_of_classes_that_are_large_enough(
    sets: ModuleType, tmp_path: Path
) -> None:
    _write(tmp_path, {f"large/{i}": b"%d" % i for i in range(9)} | {"small/1": b"x", "small/2": b"y"})
    kept = sets.choose(sets.labelled(tmp_path, r"(?P<label>\w+)/.*"), at_least=3, at_most=4)
    assert list(kept) == ["large"]
    assert [digest for digest, _ in kept["large"]] == sorted(_hash(b"%d" % i) for i in range(9))[:4]


def test_classes_that_differ_in_case_are_one(sets: ModuleType, tmp_path: Path) -> None:
    _write(tmp_path, {"train/Street/1": b"1", "test/street/1": b"2"})
    assert [label for label, _ in sets.labelled(tmp_path, r"\w+/(?P<label>\w+)/1")] == ["street", "street"]


def test_the_content_hash_depends_on_names_and_bytes(sets: ModuleType, tmp_path: Path) -> None:
    for folder, files in {
        "x": {"a/1": b"1"},
        "y": {"b/1": b"1"},
        "z": {"a/1": b"2"},
        "same": {"a/1": b"1"},
    }.items():
        _write(tmp_path / folder, files)
    x, y, z, same = (sets.content_hash(tmp_path / folder) for folder in ("x", "y", "z", "same"))
    assert x == same and len({x, y, z}) == 3


def test_roles_of_the_recorded_sets_follow_the_rule(sets: ModuleType) -> None:
    groups: dict[str, list[str]] = {}
    for name, recorded in sorted(sets.known().items()):
        if name != "caltech101":  # a development set before the others were found
            groups.setdefault(recorded["group"], []).append(recorded["role"])
    assert len(groups) == 3
    for roles in groups.values():
        assert roles == ["locked", "development", *["reserve"] * (len(roles) - 2)]


def test_recorded_sets_are_complete(sets: ModuleType) -> None:
    for recorded in sets.known().values():
        assert re.fullmatch(r"[0-9a-f]{40}", recorded["commit"])
        assert re.fullmatch(r"[0-9a-f]{32}", recorded["hash"])
        assert "label" in re.compile(recorded["pattern"]).groupindex
        assert recorded["repository"].startswith("https://")
        assert recorded["classes"] >= 5 and recorded["at_least"] >= 25
        assert recorded["photos"] >= recorded["classes"] * recorded["at_least"]
        assert all(recorded[key] for key in ("domain", "description", "labels", "licence", "checkout"))
