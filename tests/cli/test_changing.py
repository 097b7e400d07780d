from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from helpers_cli import COUNT, content, lines, one_error_line, run

New = Callable[..., Path]


@pytest.mark.parametrize("verb", ["add", "remove", "compact"])
def test_change_during_another_change_is_refused(copied: Path, new: New, photos: Path, verb: str) -> None:
    arguments = {"add": [new("a.png")], "remove": ["round/01.png"], "compact": []}[verb]
    before = content(copied)
    with FileLock(copied / "lock"):
        one_error_line(run(verb, copied, *arguments), 1, str(copied), "is being changed by another process")
        assert len(lines(run("search", copied, photos / "round" / "01.png", "-k", 3))) == 3  # readers go on
    assert content(copied) == before
    assert run(verb, copied, *arguments).exit_code == 0


@pytest.mark.parametrize("verb", ["add", "remove", "compact"])
def test_change_of_a_broken_index_is_refused_and_writes_nothing(copied: Path, new: New, verb: str) -> None:
    arguments = {"add": [new("a.png")], "remove": ["round/01.png"], "compact": []}[verb]
    (copied / "trie-000001.safetensors").write_bytes(b"")
    before = content(copied)
    one_error_line(run(verb, copied, *arguments), 1, str(copied), "broken")
    assert content(copied) == before


def test_relative_and_linked_paths_are_one_index(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link.dsi").symlink_to(copied.name)
    for number, path in enumerate([f"./{copied.name}", "link.dsi", copied], start=1):
        assert lines(run("remove", path, number))[0]["images"] == COUNT - number
