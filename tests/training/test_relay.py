from __future__ import annotations

import time
from pathlib import Path

from vitdsi.progress import Progress
from vitdsi.training.relay import relayed, reporting_to


def test_progress_that_another_process_writes_is_reported_once(tmp_path: Path) -> None:
    path, seen = tmp_path / "progress.json", list[Progress]()
    report = reporting_to(path)
    assert report is not None
    with relayed(path, seen.append, seconds=0.01):
        report(Progress("joint", 10, 100, loss=0.5))
        end = time.monotonic() + 30
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
        report(Progress("joint", 20))
    assert [(progress.done, progress.total, progress.loss) for progress in seen] == [
        (10, 100, 0.5),
        (20, None, None),
    ]


def test_without_a_file_nothing_is_reported(tmp_path: Path) -> None:
    seen: list[Progress] = []
    with relayed(tmp_path / "missing.json", seen.append):
        pass
    assert seen == []
