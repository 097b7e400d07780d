"""Splitting an index into shards: the first digits of ids partition the tree, and each shard holds some sub-trees.

A shard is an ordinary index. Of the sub-trees of other shards it keeps one image each, which counts as removed, so that
the nodes above have all their branches, and log-probabilities are those of the whole index. The top is a shard without
an image of its own: it knows how probable the sub-trees are, and so which shards a search needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitdsi.collection.storage import read_index, write_index
from vitdsi.collection.take import taken
from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.files import replace_folder
from vitdsi.ids.trie import Trie
from vitdsi.model.graft import graft
from vitdsi.search.shards import Shard, Top
from vitdsi.state import IndexState

__all__ = [
    "Plan",
    "plan_shards",
    "read_shard",
    "read_top",
    "shard_count",
    "shard_of",
    "split_index",
    "top_of",
    "write_shards",
]

_PREFIXES_A_SHARD = 8  # at least, where there are so many, so that shards are nearly equal
_LISTING, _TOP = "shards.json", "top.dsi"


@dataclass(frozen=True)
class Plan:
    """Which images belong to which shard.

    Attributes:
        depth: how many digits partition the tree.
        of_id: (N,) the shard of each id of the whole index, -1 for ids without a code.
        examples: (P,) for each prefix of so many digits, the first id that has it, ascending.
    """

    depth: int
    of_id: Tensor
    examples: Tensor


def plan_shards(trie: Trie, count: int) -> Plan:
    """Divide the ids of a trie among `count` shards, by prefixes in their order and with nearly as many ids in each.

    Raises:
        UsageError: `count` is below 1, or above the number of ids.
    """
    ids = torch.nonzero(trie.codes[:, 0] != trie.vocabulary.pad).squeeze(1)
    if not 1 <= count <= len(ids):
        raise UsageError(f"{count} shards: an index of {len(ids)} images has 1 to {len(ids)} of them")
    for depth in range(1, trie.max_length + 1):
        _, prefix = torch.unique(trie.codes[ids, :depth], dim=0, return_inverse=True)
        sizes = torch.bincount(prefix)
        if len(sizes) >= _PREFIXES_A_SHARD * count:
            break
    middle = sizes.cumsum(0) - sizes / 2  # of the ids of each prefix, in the order of prefixes
    shard = (middle * count / len(ids)).long().clamp(max=count - 1)
    of_id = torch.full((len(trie.codes),), -1)
    of_id[ids] = shard[prefix]
    first = torch.full((len(sizes),), len(trie.codes)).scatter_reduce(0, prefix, ids, "amin")
    return Plan(depth, of_id, first.sort().values)


def shard_of(state: IndexState, plan: Plan, number: int) -> Shard:
    """Make a shard of an index; other parts of it are left out, so that the shard can be searched elsewhere."""
    others = plan.examples[plan.of_id[plan.examples] != number]
    ids = torch.cat([torch.nonzero(plan.of_id == number).squeeze(1), others]).sort().values
    return Shard(_part(state, ids, (plan.of_id[ids] == number) & state.trie.live[ids]), ids)


def top_of(state: IndexState, plan: Plan) -> Top:
    """Make the top of an index, which has no images of its own."""
    ids = plan.examples
    return Top(_part(state, ids, torch.zeros(len(ids), dtype=torch.bool)), plan.of_id[ids], plan.depth)


def write_shards(state: IndexState, folder: Path, count: int, stamp: str = "") -> None:
    """Write the top and the shards of an index into a folder, which is replaced as a whole.

    The stamp says which index it was, for `split_index`.

    Raises:
        UsageError: as for `plan_shards`, or the folder cannot be written.
    """
    plan = plan_shards(state.trie, count)
    with replace_folder(folder) as new:
        top = top_of(state, plan)
        write_index(new / _TOP, top.state)
        np.save(new / "owners.npy", top.owners.numpy())
        for number in range(count):
            shard = shard_of(state, plan, number)
            write_index(new / _name(number), shard.state)
            np.save(new / f"{number}.npy", shard.ids.numpy())
        (new / _LISTING).write_text(
            json.dumps({"shards": count, "depth": plan.depth, "stamp": stamp}), "utf-8"
        )


def split_index(path: Path, folder: Path, count: int) -> None:
    """Write the shards of an index on disk, unless the folder holds as many of the same index already.

    Raises:
        UsageError, IndexFormatError: as for `read_index` and `write_shards`.
    """
    stamp = ""
    with contextlib.suppress(OSError):
        stamp = hashlib.blake2b((path / "index.json").read_bytes(), digest_size=16).hexdigest()
    with contextlib.suppress(IndexFormatError):
        listing = _listing(folder)
        if (listing["shards"], listing.get("stamp")) == (count, stamp):
            return
    write_shards(read_index(path), folder, count, stamp)


def shard_count(folder: Path) -> int:
    """Return the number of shards in a folder.

    Raises:
        IndexFormatError: the folder does not hold shards.
    """
    return int(_listing(folder)["shards"])


def read_top(folder: Path) -> Top:
    """Read the top of an index that was split.

    Raises:
        IndexFormatError: the folder does not hold shards.
    """
    depth = int(_listing(folder)["depth"])
    return Top(read_index(folder / _TOP), torch.from_numpy(np.load(folder / "owners.npy")), depth)


def read_shard(folder: Path, number: int) -> Shard:
    """Read a shard of an index that was split.

    Raises:
        IndexFormatError: the folder does not hold shards, or not so many.
    """
    count = shard_count(folder)
    if not 0 <= number < count:
        raise IndexFormatError(f"{folder}: has the shards 0 to {count - 1}, and not {number}")
    return Shard(read_index(folder / _name(number)), torch.from_numpy(np.load(folder / f"{number}.npy")))


def _part(state: IndexState, ids: Tensor, live: Tensor) -> IndexState:
    """Return the state with some of its ids, of which some are live, and of the model what belongs to these."""
    trie = Trie(state.trie.codes[ids], state.trie.vocabulary.base, live)
    model, _ = graft(state.model, state.trie, trie, state.resolved.seed, ids)
    return replace(taken(state, ids, trie), model=model.eval(), features=None)


def _name(number: int) -> str:
    return f"{number}.dsi"


def _listing(folder: Path) -> dict[str, Any]:
    try:
        listing: dict[str, Any] = json.loads((folder / _LISTING).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise IndexFormatError(f"{folder}: is not an index that was split into shards") from error
    return listing
