from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, model_config, random_codes

from vitdsi.ids.trie import NONE, Trie, leaf
from vitdsi.model.heads import TrieHead, rows


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def untrained(trie: Trie, embedding_dim: int = 8, prototypes: int = 2) -> TrieHead:
    torch.manual_seed(0)
    return TrieHead(model_config(embed_dim=16, embedding_dim=embedding_dim, prototypes=prototypes), trie)


def head(trie: Trie, prototypes: int) -> TrieHead:
    """Random in float64, with nothing left at zero, so that every part matters."""
    torch.manual_seed(0)
    config = model_config(embed_dim=16, embedding_dim=8, prototypes=prototypes)
    made = TrieHead(config, trie).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.4)
    return made


@pytest.mark.parametrize("prototypes", [0, 2])
def test_scores_depend_on_the_node(prototypes: int) -> None:
    trie = Trie(random_codes("fixed"), 3)
    made = head(trie, prototypes)
    hidden, embedding = torch.randn(1, 1, 16).double(), torch.randn(1, 8).double()
    scores = torch.cat([made(hidden, embedding, torch.tensor([[node]]))[0] for node in range(trie.num_nodes)])
    assert scores.shape == (trie.num_nodes, trie.vocabulary.outputs)
    assert torch.equal(scores > -torch.inf, trie.child != NONE)
    assert torch.pdist(scores.clamp(min=-50)).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prototypes", [0, 2])
def test_scores_of_all_positions_at_once_equal_those_one_by_one(kind: str, prototypes: int) -> None:
    trie = Trie(random_codes(kind), 3)
    made = head(trie, prototypes)
    count, length = trie.nodes.shape
    hidden, embedding = torch.randn(count, length, 16).double(), torch.randn(count, 8).double()
    together = made(hidden, embedding, trie.nodes)
    assert together.shape == (count, length, trie.vocabulary.outputs)
    with torch.no_grad():
        for i in range(count):
            for t in range(length):
                if trie.nodes[i, t] >= 0:
                    alone = made(
                        hidden[i : i + 1, t : t + 1], embedding[i : i + 1], trie.nodes[i : i + 1, t : t + 1]
                    )
                    torch.testing.assert_close(alone[0, 0], together[i, t])


def test_untrained_head_scores_by_the_image_alone() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = untrained(trie, prototypes=32)
    nodes = trie.nodes[:4]
    embedding = torch.randn(4, 8)
    first, second = (made(torch.randn(4, nodes.shape[1], 16), embedding, nodes) for _ in range(2))
    assert torch.equal(first, second)  # the decoder's hidden state does not steer yet
    assert not torch.allclose(first, made(torch.zeros(4, nodes.shape[1], 16), embedding.flip(0), nodes))


def test_gradients_are_finite_and_reach_only_the_branches_of_the_nodes_on_the_path() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = untrained(trie, prototypes=32)
    nodes = trie.nodes[:3]
    scores = made(torch.randn(3, nodes.shape[1], 16), torch.randn(3, 8), nodes)
    scores[scores.isfinite()].square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    on_path = sorted({n for n in nodes.flatten().tolist() if n >= 0})
    children = trie.child[on_path]
    assert made.leaf_bias.grad is not None and made.branch_bias.grad is not None
    touched = torch.nonzero(made.leaf_bias.grad).flatten()
    assert touched.tolist() == sorted(leaf(children[children < NONE]).tolist())
    touched = torch.nonzero(made.branch_bias.grad.abs().sum(1)).flatten()
    assert touched.tolist() == sorted(children[children >= 0].tolist())


def test_many_queries_in_one_node_have_the_scores_of_few() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = head(trie, 2)
    hidden, embedding = torch.randn(40, 1, 16).double(), torch.randn(40, 8).double()
    node = int(trie.last_edges(torch.tensor([0]))[0])
    together = made(hidden, embedding, torch.full((40, 1), node))
    few = [made(hidden[i : i + 2], embedding[i : i + 2], torch.full((2, 1), node)) for i in range(0, 40, 2)]
    torch.testing.assert_close(together, torch.cat(few))


def test_large_tables_have_sparse_gradients_of_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    trie = Trie(random_codes("mixed"), 3)
    gradients = []
    for limit in (10**6, 1):
        monkeypatch.setattr(rows, "SPARSE_FROM", limit)
        made = head(trie, 2)
        torch.manual_seed(1)
        scores = made(torch.randn(23, 4, 16).double(), torch.randn(23, 8).double(), trie.nodes)
        scores[scores.isfinite()].square().sum().backward()
        gradients.append([made.leaves.weight.grad, made.branches.weight.grad])
    for dense, sparse in zip(*gradients, strict=True):
        assert dense is not None and sparse is not None and sparse.is_sparse and not dense.is_sparse
        torch.testing.assert_close(sparse.to_dense(), dense)


def test_imprinted_rows_are_the_embeddings_and_the_means_of_those_below() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = untrained(trie)
    embeddings = torch.randn(23, 8)
    made.imprint(trie, torch.arange(23), embeddings, seed=0)
    torch.testing.assert_close(made.vectors(torch.arange(23)), embeddings)
    for token in range(3):
        below = (trie.nodes[:, 0] == 0) & (trie.codes[:, 0] == token)
        child = int(trie.child[0, token])
        assert child > 0
        torch.testing.assert_close(made.branches.take(torch.tensor(child * 3)), embeddings[below].mean(0))
    changed = {name for name, value in untrained(trie).state_dict().items()
               if not torch.equal(value, made.state_dict()[name])}  # fmt: skip
    assert changed == {"leaves.weight", "branches.weight", "branch_bias"}


def test_imprint_leaves_known_nodes_as_they_are() -> None:
    """In a head of known nodes, a new id gets a row, and the mean bias of the other ids in its node."""
    trie = Trie(random_codes("fixed"), 3)
    made, before = head(trie, 2).float(), head(trie, 2).float()
    ids, embeddings = torch.tensor([4, 9]), torch.randn(2, 8)
    made.imprint(trie, ids, embeddings, 0, known=torch.ones(trie.num_nodes, dtype=torch.bool))
    torch.testing.assert_close(made.vectors(ids), embeddings)
    old = torch.tensor([i for i in range(23) if i not in (4, 9)])
    assert torch.equal(made.vectors(old), before.vectors(old))
    assert torch.equal(made.leaf_bias[old], before.leaf_bias[old])
    for i, node in zip(ids.tolist(), trie.last_edges(ids)[0].tolist(), strict=True):
        others = [n for n in leaf(trie.child[node][trie.child[node] < NONE]).tolist() if n not in (4, 9)]
        expected = before.leaf_bias[others].mean() if others else torch.zeros(())
        torch.testing.assert_close(made.leaf_bias[i], expected, msg=f"id {i}")
    assert torch.equal(made.branches.weight, before.branches.weight)
    assert torch.equal(made.branch_bias, before.branch_bias)


def test_imprint_of_embeddings_that_differ_only_by_rounding_is_silent() -> None:
    vectors = torch.full((6, 2), 1e-14)
    vectors[:3, 0] = torch.nextafter(vectors[0, 0], torch.tensor(1.0))
    vectors[0, 1] = 1e-38
    trie = Trie(np.array([[0, digit] for digit in range(6)]), 6)
    made = untrained(trie, embedding_dim=2, prototypes=3)
    made.imprint(trie, torch.arange(6), vectors, seed=0)
    torch.testing.assert_close(made.vectors(torch.arange(6)), vectors)


@pytest.mark.parametrize("prototypes", [2, 3, 9])
def test_imprinted_prototypes_are_the_centres_of_what_lies_below(prototypes: int) -> None:
    vectors = torch.tensor([[0.0, 0], [0, 0.1], [5, 5], [5, 5], [5, 5]])
    codes = np.array([[0, digit] for digit in range(5)])
    trie = Trie(codes, 6)
    made = untrained(trie, embedding_dim=2, prototypes=prototypes)
    child = int(trie.child[0, 0])
    made.imprint(trie, torch.arange(5), vectors, seed=0)
    mixed = prototypes + 1
    bias = made.branch_bias[child].detach()[1:]
    below = made.branches.weight.detach()[child * mixed + 1 : (child + 1) * mixed]
    centres, sizes = below[bias > -1e3], bias[bias > -1e3].exp()
    assert len(centres) == min(prototypes, 3)  # three are different
    assert float(sizes.sum()) == pytest.approx(5)
    nearest_centre = torch.cdist(torch.tensor([[5.0, 5.0]]), centres).argmin()
    torch.testing.assert_close(centres[nearest_centre], torch.tensor([5.0, 5.0]))
    assert float(sizes[nearest_centre]) == pytest.approx(3)
    assert made.branch_bias[child, 0].item() == pytest.approx(np.log(5))


def test_graft_moves_the_weights_of_nodes_and_ids_and_leaves_new_ones() -> None:
    trie = Trie(random_codes("fixed"), 3)
    old, new = head(trie, 2).float(), untrained(trie)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    nodes, ids = torch.arange(trie.num_nodes).roll(1), torch.arange(23).roll(1)
    nodes[2] = ids[5] = NONE
    new.graft(old, nodes, ids)
    for name, origin, each in (("leaves.weight", ids, 1), ("leaf_bias", ids, 1),
                               ("branches.weight", nodes, 3), ("branch_bias", nodes, 1)):  # fmt: skip
        value, before, start = (
            part[name].view(len(origin), each, -1) for part in (new.state_dict(), old.state_dict(), fresh)
        )
        known = origin != NONE
        assert torch.equal(value[known], before[origin[known]]), name
        assert torch.equal(value[~known], start[~known]), name
    assert torch.equal(new.steer.weight, old.steer.weight) and torch.equal(new.log_scale, old.log_scale)
    assert torch.equal(new.child, trie.child)


def test_parameters_from_features_are_what_imprint_sets() -> None:
    made = untrained(Trie(random_codes("fixed"), 3))
    assert {id(value) for value in made.parameters_from_features()} == {
        id(made.leaves.weight), id(made.branches.weight)
    }  # fmt: skip
