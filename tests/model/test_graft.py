from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import random_codes, small_model

from vitdsi.ids.trie import Trie
from vitdsi.model.graft import graft
from vitdsi.model.seq2seq import Seq2Seq

BASE = 3


def scores(made: Seq2Seq, trie: Trie, ids: torch.Tensor) -> list[torch.Tensor]:
    """Scores of every digit of these ids, over all tokens."""
    inputs = torch.randn(len(ids), 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = made(inputs, trie.codes[ids], trie.nodes[ids])
    alive = trie.nodes[ids] >= 0
    return [found[i, : int(alive[i].sum())] for i in range(len(ids))]


def longer(codes: np.ndarray, pad: int) -> np.ndarray:
    return np.pad(codes, ((0, 0), (0, 1)), constant_values=pad)


@pytest.mark.parametrize("head", ["trie", "digits"])
def test_old_ids_keep_their_scores_when_ids_become_longer(head: str) -> None:
    codes = random_codes("fixed")
    small = Trie(codes[: len(codes) // 2], BASE)
    old = small_model(small, head).float()
    pad = small.vocabulary.pad
    taken = {tuple(code) for code in codes}
    free = next(code for code in np.ndindex(*[BASE] * codes.shape[1]) if code not in taken)
    below = np.array([[*free, digit] for digit in range(BASE)])
    grown = Trie(np.concatenate([longer(codes, pad), below]), BASE)
    new, known = graft(old, small, grown, seed=0)
    assert not new.training
    ids = torch.arange(len(small.codes))
    for before, after, code in zip(
        scores(old, small, ids), scores(new, grown, ids), small.codes.tolist(), strict=True
    ):
        for t in range(len(before)):
            torch.testing.assert_close(before[t, code[t]], after[t, code[t]])
    assert known.sum() == small.num_nodes and bool(known[0])


def test_smaller_trie_keeps_the_weights_of_the_ids_that_are_left() -> None:
    codes = random_codes("fixed")
    trie = Trie(codes, BASE)
    old = small_model(trie).float()
    kept = torch.arange(0, len(codes), 3)
    small = Trie(codes[kept.numpy()], BASE)
    new, known = graft(old, trie, small, seed=0, ids=kept)
    assert known.all() and small.num_nodes <= trie.num_nodes
    before = scores(old, trie, kept)
    after = scores(new, small, torch.arange(len(kept)))
    for one, other, code in zip(before, after, small.codes.tolist(), strict=True):
        for t in range(len(one)):
            torch.testing.assert_close(one[t, code[t]], other[t, code[t]])


def test_same_seed_gives_the_same_new_weights_and_leaves_the_generator_alone() -> None:
    trie = Trie(random_codes("fixed"), BASE)
    old = small_model(trie).float()
    pad = trie.vocabulary.pad
    more = np.concatenate([longer(trie.codes.numpy()[1:], pad), [[*trie.codes[0].tolist(), 0]]])
    grown = Trie(more, BASE)
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    first, _ = graft(old, trie, grown, seed=5)
    assert torch.equal(torch.randn(3), expected)
    again, _ = graft(old, trie, grown, seed=5)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


def test_nodes_of_removed_ids_alone_keep_the_weights_of_the_branches_that_lead_to_them() -> None:
    codes = random_codes("fixed")
    node = Trie(codes, BASE).nodes[0, -1]
    trie = Trie(codes, BASE)
    beside = torch.nonzero(trie.nodes[:, -1] == node).squeeze(1)
    removed = trie.without(beside)
    kept = [i for i in range(len(codes)) if i not in beside.tolist()]
    taken = Trie(np.concatenate([codes[kept], codes[beside.numpy()]]), BASE)
    old = small_model(trie).float()
    new, known = graft(old, removed, taken, seed=0, ids=torch.tensor([*kept, *beside.tolist()]))
    assert known.all()
    for after, before in zip(
        scores(new, taken, torch.tensor([len(kept)])), scores(old, trie, beside[:1]), strict=True
    ):
        torch.testing.assert_close(after, before)
