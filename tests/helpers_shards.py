"""An index in shards, which are asked in this process; shared by the tests of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitdsi.collection.shards import plan_shards, shard_of, top_of
from vitdsi.search.shards import ShardedSearch
from vitdsi.state import IndexState


class Shards:
    """The shards of an index, which remember what they were asked."""

    def __init__(self, state: IndexState, count: int) -> None:
        plan = plan_shards(state.trie, count)
        self.shards = [shard_of(state, plan, number) for number in range(count)]
        self.asked: list[tuple[str, list[int]]] = []
        self.search = ShardedSearch(top_of(state, plan), self._ask)

    def _ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        self.asked.append((method, list(arguments)))
        return {number: getattr(self.shards[number], method)(*given) for number, given in arguments.items()}
