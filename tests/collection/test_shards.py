from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.collection.shards import (
    plan_shards,
    read_shard,
    read_top,
    shard_count,
    shard_of,
    split_index,
    top_of,
    write_shards,
)
from vitdsi.collection.storage import write_index
from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.search.log_probs import log_probs_of
from vitdsi.state import IndexState


def log_probs(state: IndexState, ids: torch.Tensor) -> torch.Tensor:
    """The log-probabilities of ids for the features of the first ten images of the whole index."""
    features = stored().features
    assert features is not None
    memory, embedding = state.model.encode(features[:10])
    return log_probs_of(state.model, memory, embedding, state.trie, ids.expand(10, -1))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 60])
def test_each_image_is_in_one_shard_with_others_of_its_sub_tree(count: int) -> None:
    trie = stored().trie
    plan = plan_shards(trie, count)
    assert set(plan.of_id.tolist()) <= set(range(count))
    prefixes: dict[tuple[int, ...], set[int]] = {}
    for code, shard in zip(trie.codes[:, : plan.depth].tolist(), plan.of_id.tolist(), strict=True):
        prefixes.setdefault(tuple(code), set()).add(shard)
    assert all(len(shards) == 1 for shards in prefixes.values())
    assert len(plan.examples) == len(prefixes)
    assert torch.bincount(plan.of_id, minlength=count).max() <= 60 / count + 8


def test_log_probabilities_of_a_shard_are_those_of_the_whole_index() -> None:
    whole = stored()
    plan = plan_shards(whole.trie, 3)
    for number in range(3):
        shard = shard_of(whole, plan, number)
        live = torch.nonzero(shard.state.trie.live).squeeze(1)
        assert torch.equal(shard.ids[live], torch.nonzero(plan.of_id == number).squeeze(1))
        there = log_probs(shard.state, live)
        assert torch.equal(there, log_probs(whole, shard.ids[live]))
        assert len(shard.ids) < 60
        assert [shard.state.image_ids[i] for i in live] == [
            whole.image_ids[i] for i in shard.ids[live].tolist()
        ]


def test_removed_images_stay_removed_in_their_shard() -> None:
    whole = remove(stored(), [4, 30])
    plan = plan_shards(whole.trie, 2)
    shards = [shard_of(whole, plan, number) for number in range(2)]
    live = torch.cat([shard.ids[shard.state.trie.live] for shard in shards]).sort().values
    assert live.tolist() == [i for i in range(60) if i not in (4, 30)]


def test_the_top_bounds_what_each_shard_holds() -> None:
    whole = stored()
    plan = plan_shards(whole.trie, 4)
    top = top_of(whole, plan)
    assert top.state.trie.live_count == 0
    assert whole.features is not None
    bounds = top.bounds(whole.features[:10])
    each = log_probs(whole, torch.arange(60))
    for number in range(4):
        best = each[:, plan.of_id == number].amax(1)
        assert (best <= bounds[:, number] + 1e-5).all()
    assert (bounds.exp() <= 1).all()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    whole = stored()
    write_shards(whole, tmp_path / "shards", 2)
    plan = plan_shards(whole.trie, 2)
    top = read_top(tmp_path / "shards")
    assert top.depth == plan.depth
    assert torch.equal(top.owners, plan.of_id[plan.examples])
    shard, made = read_shard(tmp_path / "shards", 1), shard_of(whole, plan, 1)
    assert torch.equal(shard.ids, made.ids)
    own = torch.nonzero(made.state.trie.live).squeeze(1)
    assert torch.equal(log_probs(shard.state, own), log_probs(made.state, own))


def test_an_index_is_split_again_only_if_it_or_the_number_changed(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.dsi", tmp_path / "shards"
    write_index(path, stored())

    def split(count: int) -> float:
        split_index(path, folder, count)
        assert shard_count(folder) == count
        return (folder / "shards.json").stat().st_mtime_ns

    first = split(2)
    assert split(2) == first
    second = split(3)
    assert second != first
    write_index(path, remove(stored(), [1]))
    assert split(3) != second
    assert sum(read_shard(folder, number).state.trie.live_count for number in range(3)) == 59


def test_folders_and_numbers_that_are_no_shards_are_errors(tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError, match="is not an index that was split into shards"):
        read_top(tmp_path)
    write_shards(stored(), tmp_path / "shards", 2)
    with pytest.raises(IndexFormatError, match="has the shards 0 to 1, and not 2"):
        read_shard(tmp_path / "shards", 2)
    for count in (0, 61):
        with pytest.raises(UsageError, match=f"{count} shards: an index of 60 images has 1 to 60"):
            plan_shards(stored().trie, count)
