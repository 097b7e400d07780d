"""The served index: swapped when it changed on disk, dropped and read again, changed by one writer at a time."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from helpers_cli import run

from vitdsi.collection.remove import remove
from vitdsi.collection.storage import write_lock
from vitdsi.errors import IndexFormatError, IndexLockedError, UsageError
from vitdsi.serving.holder import IndexHolder


@pytest.fixture
def holder(copied: Path) -> IndexHolder:
    return IndexHolder(copied, "cpu")


def test_an_index_that_changed_on_disk_is_swapped_in(holder: IndexHolder) -> None:
    before = holder.current()
    assert not holder.refresh()
    assert run("remove", holder.path, "0").exit_code == 0
    assert holder.refresh()
    after = holder.current()
    assert (before.generation, after.generation) == (1, 2)
    assert not after.has(0)
    assert before.has(0)  # requests that began with it keep it
    assert after.reader is before.reader


def test_a_broken_index_on_disk_leaves_the_former_one_in_place(
    holder: IndexHolder, caplog: pytest.LogCaptureFixture
) -> None:
    before = holder.current()
    (holder.path / "index.json").write_text("{}", "utf-8")
    with caplog.at_level(logging.WARNING):
        assert not holder.refresh()
        assert not holder.refresh()
    assert holder.current() is before
    assert len(caplog.records) == 1


def test_the_memory_is_given_back_and_the_index_read_again(holder: IndexHolder) -> None:
    before = holder.current()
    holder.unload()
    assert holder.loaded is None
    assert not holder.refresh()
    assert holder.current().generation == before.generation


def test_a_change_is_written_and_served(holder: IndexHolder) -> None:
    changed = holder.change(lambda served: remove(served.state, [3]))
    assert holder.current() is changed
    assert not holder.refresh()  # it knows its own change
    read = IndexHolder(holder.path, "cpu").current()
    assert (read.generation, read.live.tolist()) == (changed.generation, changed.live.tolist())


def test_a_change_is_made_to_what_is_on_disk(holder: IndexHolder) -> None:
    holder.current()
    assert run("remove", holder.path, "0").exit_code == 0
    changed = holder.change(lambda served: remove(served.state, [3]))
    assert not changed.has(0)
    assert not changed.has(3)


def test_a_change_that_fails_or_changes_nothing_leaves_all_as_it_is(holder: IndexHolder) -> None:
    before = holder.current()
    assert holder.change(lambda served: served.state) is before

    def fail(_: object) -> None:
        raise UsageError("no")

    with pytest.raises(UsageError):
        holder.change(fail)  # type: ignore[arg-type]
    assert holder.current() is before
    assert not holder.refresh()


def test_an_index_that_another_process_changes_is_not_changed(holder: IndexHolder) -> None:
    import threading

    caught: list[Exception] = []

    def change() -> None:
        try:
            holder.change(lambda served: remove(served.state, [0]))
        except IndexLockedError as error:
            caught.append(error)

    with write_lock(holder.path):
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_what_is_no_index_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such index"):
        IndexHolder(tmp_path / "none.dsi", "cpu").current()
    with pytest.raises(IndexFormatError):
        IndexHolder(tmp_path, "cpu").current()
