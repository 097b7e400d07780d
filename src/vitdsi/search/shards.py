"""Searching the shards of an index: each finds its most probable ids, and the best of all are those of the index.

A shard and the top are made by `vitdsi.collection.shards`. They may be in other processes or on other machines: a
search talks to shards through `Ask`. Log-probabilities do not depend on the shards (see there), and neither does the
order of results, which is computed from what the shards know about the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE
from vitdsi.photos.keypoints import PhotoKeypoints
from vitdsi.photos.regions import Region
from vitdsi.search.best_first import Found
from vitdsi.search.evidence import Seen
from vitdsi.search.filters import Filters
from vitdsi.search.log_probs import log_probs_of
from vitdsi.search.options import CANDIDATES, SearchOptions, SearchResult
from vitdsi.search.rank import rank_searched
from vitdsi.search.searched import Alike, WholeIndex
from vitdsi.search.verify import Proof, options_for_candidates, prove, verified
from vitdsi.state import IndexState

__all__ = ["Ask", "Query", "Shard", "ShardedSearch", "Top"]

Ask: TypeAlias = Callable[[str, Mapping[int, Sequence[Any]]], Mapping[int, Any]]
"""Calls a method of several shards at once: its name and the arguments of each shard, by number, to their answers."""

_FAR = 7.0  # nats below the best sub-tree; shards with only such ones wait for the answers of the others


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        features: (B * R, *shape) features of B queries that were read in R parts each.
        parts: R.
        where: a condition on metadata.
    """

    features: Tensor
    parts: int = 1
    where: str | None = None


class Shard:
    """A part of an index, which speaks of images by their ids in the whole.

    Args:
        state: the part, as an index.
        ids: (n,) the ids of its images in the whole index, ascending.
    """

    def __init__(self, state: IndexState, ids: Tensor) -> None:
        self.state, self.ids = state, ids
        self._filters = Filters(state)

    def find(self, query: Query, k: int, beam_size: int, max_expansions: int) -> Found:
        """Find the k most probable ids of this shard; see `vitdsi.search.best_first.best_first_search`.

        Raises:
            UsageError: the condition of the query is not valid.
        """
        found = self._searched(query).find(k, beam_size, max_expansions)
        return found._replace(ids=self._there(found.ids))

    def alike(self, query: Query, k: int) -> Alike:
        """Find the k images of this shard that look most like each query; see `vitdsi.search.searched.Searched.alike`.

        Raises:
            UsageError: as for `find`.
        """
        found = self._searched(query).alike(k)
        return found._replace(ids=self._there(found.ids))

    def describe(self, query: Query, ids: Tensor, log_probs: Tensor | None) -> Seen:
        """Return the evidence for ids (B, K) of this shard, or NONE; see `vitdsi.search.searched.Searched.describe`."""
        here = self._here(ids.clamp(min=0)).masked_fill(ids == NONE, NONE)
        return self._searched(query).describe(here, log_probs)

    def names(self, ids: Sequence[int]) -> list[str]:
        """Return the image_ids of ids."""
        return [self.state.image_ids[i] for i in self._here(torch.tensor(ids)).tolist()]

    def prove(self, ids: Sequence[int], photo: PhotoKeypoints) -> list[Proof]:
        """Return what the keypoints of a photo say about images of this shard, which has keypoints."""
        assert self.state.keypoints is not None
        return prove(photo, self.state.keypoints, self._here(torch.tensor(ids)).tolist())

    def _there(self, ids: Tensor) -> Tensor:
        """Return the ids in the whole index of numbers in this shard, or NONE."""
        return self.ids[ids.clamp(min=0)].masked_fill(ids == NONE, NONE)

    def _here(self, ids: Tensor) -> Tensor:
        """Return the numbers that ids have in this shard."""
        return torch.searchsorted(self.ids, ids)

    @torch.inference_mode()
    def _searched(self, query: Query) -> WholeIndex:
        within = self._filters.trie_for(SearchOptions(where=query.where))
        return WholeIndex(self.state, query.features, within, query.parts)


class Top:
    """The top of an index: its first digits, and all that its shards share.

    Args:
        state: an index with one image of each sub-tree, all of them removed.
        owners: (P,) the shard that holds each of the sub-trees.
        depth: how many digits lead to a sub-tree.
    """

    def __init__(self, state: IndexState, owners: Tensor, depth: int) -> None:
        self.state, self.owners, self.depth = state, owners, depth

    @torch.inference_mode()
    def bounds(self, features: Tensor) -> Tensor:
        """Return for queries (B, *shape) the log-probability of the best sub-tree of each shard (B, S).

        No id of a shard is more probable.
        """
        model = self.state.model
        memory, embedding = model.encode(features.to(next(model.parameters()).device))
        ids = torch.arange(len(self.owners)).expand(len(embedding), -1)
        each = log_probs_of(model, memory, embedding, self.state.trie, ids, self.depth)
        best = each.new_full((len(each), int(self.owners.max()) + 1), -torch.inf)
        return best.scatter_reduce(1, self.owners.expand(len(each), -1), each, "amax")


class ShardedSearch:
    """Searches an index by its shards.

    Args:
        top: the top of the index.
        ask: reaches the shards.
    """

    def __init__(self, top: Top, ask: Ask) -> None:
        self.top, self._ask = top, ask

    def search(
        self,
        features: Tensor,
        options: SearchOptions,
        regions: Sequence[Region] | None = None,
        photo: PhotoKeypoints | None = None,
    ) -> list[SearchResult]:
        """Return the results of one query, best first; they are those of a search of the whole index.

        Args:
            features: (R, *shape) of a query that was read in R parts.
            options: the options of the search. `allow`, `collapse` and `any_rotation` need the whole index.
            regions: the R regions, None if only the whole photo was read.
            photo: the keypoints of the query, by which results are verified; None if they are not.

        Raises:
            UsageError: an option is not valid, or needs the whole index.
        """
        if options.allow is not None or options.collapse or options.any_rotation:
            raise UsageError("allow, collapse and any_rotation need the whole index, and not shards of it")
        wanted = options if photo is None else options_for_candidates(options)
        query = Query(features, len(regions) if regions else 1, options.where)
        searched = _Shards(self.top, self._ask, query)
        found = rank_searched(self.top.state, searched, wanted, 0 if photo is None else CANDIDATES)
        first = options.offset if photo is None else 0
        ids = [i for i in found.ids[0, first:].tolist() if i != NONE]
        names = dict(zip(ids, searched.names(ids), strict=True))
        results = found.results(0, first, names.__getitem__, regions, wanted.min_score)
        if photo is None:
            return results
        return verified(results, lambda ids: searched.prove(ids, photo), options)


class _Shards:
    """The shards of an index, for one search; see `vitdsi.search.searched.Searched`."""

    def __init__(self, top: Top, ask: Ask, query: Query) -> None:
        self._ask, self._query, self.parts = ask, query, query.parts
        self._bounds = top.bounds(query.features)
        self._owner: dict[int, int] = {}

    def find(self, k: int, beam_size: int, max_expansions: int) -> Found:
        """Ask the shards in which the answer probably is, then those that may hold more of it."""
        rows = len(self._bounds)
        merged = Found(
            torch.empty(rows, 0, dtype=torch.long),
            torch.empty(rows, 0),
            torch.ones(rows, dtype=torch.bool),
            torch.zeros(rows, dtype=torch.long),
        )
        least = self._bounds.amax(1, keepdim=True) - _FAR
        asked: set[int] = set()
        while True:
            needed = set(torch.nonzero((self._bounds > least).any(0)).flatten().tolist()) - asked
            if asked and not needed:
                return merged
            asked |= needed
            arguments = (self._query, k, beam_size, max_expansions)
            answers = self._ask("find", dict.fromkeys(needed, arguments))
            for number, found in answers.items():
                self._owner |= dict.fromkeys(found.ids[found.ids != NONE].tolist(), number)
            merged = _merged([merged, *answers.values()], k)
            least = (
                merged.log_probs[:, -1:] if merged.ids.shape[1] == k else torch.full((rows, 1), -torch.inf)
            )

    def alike(self, k: int) -> Alike:
        """Ask all shards. Each compares all its images, if these are not too many for one shard."""
        answers = self._ask("alike", dict.fromkeys(range(self._bounds.shape[1]), (self._query, k)))
        for number, found in answers.items():
            self._owner |= dict.fromkeys(found.ids[found.ids != NONE].tolist(), number)
        cosines, order = torch.cat([found.cosines for found in answers.values()], dim=2).sort(
            dim=2, descending=True, stable=True
        )
        ids = torch.cat([found.ids for found in answers.values()], dim=2).gather(2, order)
        return Alike(ids[..., :k], cosines[..., :k])

    def describe(self, ids: Tensor, log_probs: Tensor | None) -> Seen:
        """Ask the shards that found these ids, each for its own."""
        owner = torch.tensor([[self._owner.get(i, NONE) for i in row] for row in ids.tolist()])
        numbers = sorted(set(owner.flatten().tolist()) - {NONE})
        answers = self._ask(
            "describe",
            {number: (self._query, ids.masked_fill(owner != number, NONE), log_probs) for number in numbers},
        )
        merged = Seen(
            torch.full((*ids.shape, 3), -torch.inf),
            torch.zeros_like(ids),
            torch.full(ids.shape, -torch.inf),
        )
        for number, seen in answers.items():
            for whole, of_shard in zip(merged, seen, strict=True):
                whole[owner == number] = of_shard[owner == number]
        return merged

    def names(self, ids: Sequence[int]) -> list[str]:
        """Ask for the image_ids of ids."""
        return self._of_each("names", ids)

    def prove(self, ids: Sequence[int], photo: PhotoKeypoints) -> list[Proof]:
        """Ask what the keypoints of a photo say about images."""
        return self._of_each("prove", ids, photo)

    def _of_each(self, method: str, ids: Sequence[int], *arguments: Any) -> list[Any]:
        """Ask the shards of ids for an answer about each of them."""
        of: dict[int, list[int]] = {}
        for i in ids:
            of.setdefault(self._owner[i], []).append(i)
        answers = self._ask(method, {number: (mine, *arguments) for number, mine in of.items()})
        known = {
            i: answer for number, mine in of.items() for i, answer in zip(mine, answers[number], strict=True)
        }
        return [known[i] for i in ids]


def _merged(found: Sequence[Found], k: int) -> Found:
    """Return the k best of what shards found, all of them if there are fewer."""
    log_probs = torch.cat([part.log_probs for part in found], dim=1)
    best, order = log_probs.sort(dim=1, descending=True, stable=True)
    order = order[:, :k]
    return Found(
        torch.cat([part.ids for part in found], dim=1).gather(1, order),
        best[:, :k].contiguous(),
        torch.stack([part.proven for part in found]).all(0),
        torch.stack([part.expansions for part in found]).sum(0),
    )
