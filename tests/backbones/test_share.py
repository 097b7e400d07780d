from __future__ import annotations

import pytest
from helpers_engine import NoEngine

from vitdsi.backbones.share import SHARD_ROWS, share


class Recording(NoEngine):
    """An engine that keeps the parts that it is given."""

    def run(self, task, parts):  # type: ignore[no-untyped-def]
        self.parts = parts
        yield from parts


@pytest.mark.parametrize(("count", "size"), [(3, 1), (64, 8), (1000, 125), (100_000, SHARD_ROWS)])
def test_each_worker_has_several_parts_of_at_most_a_shard(count: int, size: int) -> None:
    engine, reported = Recording(), []
    items = list(range(count))
    share(engine, print, items, reported.append)
    assert [item for part in engine.parts for item in part] == items
    assert max(map(len, engine.parts)) == size
    assert reported[-1] == count


def test_what_is_not_worth_it_is_left_to_the_caller() -> None:
    share(None, print, [1], print)
    share(NoEngine(least=7), print, [1, 2], print, passes=3)
    share(NoEngine(), print, [], print)
    with pytest.raises(AssertionError, match="the engine ran"):
        share(NoEngine(least=6), print, [1, 2], print, passes=3)
