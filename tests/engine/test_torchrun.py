from __future__ import annotations

from pathlib import Path

import pytest
from helpers_engine import write_process
from helpers_ranks import in_ranks, torchrun_job

from vitdsi.engine.torchrun import is_follower, is_started_by_torchrun


def test_a_process_follows_if_torchrun_started_it_and_it_is_not_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for rank, size, started, follows in (
        (None, None, False, False),
        ("0", "1", False, False),
        ("0", "2", True, False),
        ("1", "2", True, True),
    ):
        for name, value in (("RANK", rank), ("WORLD_SIZE", size)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert (is_started_by_torchrun(), is_follower()) == (started, follows)


@pytest.mark.slow
def test_each_process_does_its_share_of_the_parts_and_of_what_they_do_together(tmp_path: Path) -> None:
    parts = [tmp_path / f"part{i}" for i in range(5)]
    done, _ = in_ranks(2, tmp_path, torchrun_job, write_process, parts)
    assert done == 5
    processes = [part.read_text("utf-8").split()[0] for part in parts]
    assert processes[0] == processes[2] == processes[4] != processes[1] == processes[3]
    assert [(tmp_path / f"together{rank}").read_text("utf-8") for rank in range(2)] == ["2", "2"]
