from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, model_config, random_codes

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.heads import TrieHead


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
    assert torch.pdist(scores).min() > 1e-3


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


def test_gradients_are_finite_and_reach_only_the_nodes_on_the_path() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = untrained(trie, prototypes=32)
    nodes = trie.nodes[:3]
    scores = made(torch.randn(3, nodes.shape[1], 16), torch.randn(3, 8), nodes)
    scores[nodes >= 0].square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    assert made.bias.grad is not None
    touched = made.bias.grad.abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == sorted({n for n in nodes.flatten().tolist() if n >= 0})


def test_imprinted_rows_are_the_embeddings_and_the_means_of_those_below() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = untrained(trie)
    embeddings = torch.randn(23, 8)
    made.imprint(trie, torch.arange(23), embeddings, seed=0)
    torch.testing.assert_close(made.vectors(trie, torch.arange(23)), embeddings)
    for token in range(3):
        below = (trie.nodes[:, 0] == 0) & (trie.codes[:, 0] == token)
        torch.testing.assert_close(made.rows[0, token], embeddings[below].mean(0))
    changed = {name for name, value in untrained(trie).state_dict().items()
               if not torch.equal(value, made.state_dict()[name])}  # fmt: skip
    assert changed == {"rows", "bias", "prototypes", "prototype_bias"}


def test_imprint_leaves_known_nodes_as_they_are() -> None:
    """In a head of known nodes, a new last digit gets a row, and the mean bias of its siblings."""
    trie = Trie(random_codes("fixed"), 3)
    made, before = head(trie, 2).float(), head(trie, 2).float()
    ids, embeddings = torch.tensor([4, 9]), torch.randn(2, 8)
    made.imprint(trie, ids, embeddings, 0, known=torch.ones(trie.num_nodes, dtype=torch.bool))
    nodes, tokens = trie.last_edges(ids)
    torch.testing.assert_close(made.rows[nodes, tokens], embeddings)
    changed = (made.rows != before.rows).any(-1)
    assert int(changed.sum()) == 2
    assert not ((made.bias != before.bias) & ~changed).any()
    for i, node, token in zip(ids.tolist(), nodes.tolist(), tokens.tolist(), strict=True):
        leaves = [t for t in range(3) if trie.child[node, t] < NONE and t != token]
        expected = before.bias[node, leaves].mean() if leaves else torch.zeros(())
        torch.testing.assert_close(made.bias[node, token], expected, msg=f"id {i}")
    assert torch.equal(made.prototypes, before.prototypes)
    assert torch.equal(made.prototype_bias, before.prototype_bias)


def test_imprint_of_embeddings_that_differ_only_by_rounding_is_silent() -> None:
    vectors = torch.full((6, 2), 1e-14)
    vectors[:3, 0] = torch.nextafter(vectors[0, 0], torch.tensor(1.0))
    vectors[0, 1] = 1e-38
    trie = Trie(np.array([[0, digit] for digit in range(6)]), 6)
    made = untrained(trie, embedding_dim=2, prototypes=3)
    made.imprint(trie, torch.arange(6), vectors, seed=0)
    torch.testing.assert_close(made.rows[tuple(trie.last_edges(torch.arange(6)))], vectors)


@pytest.mark.parametrize("prototypes", [2, 3, 9])
def test_imprinted_prototypes_are_the_centres_of_what_lies_below(prototypes: int) -> None:
    vectors = torch.tensor([[0.0, 0], [0, 0.1], [5, 5], [5, 5], [5, 5]])
    codes = np.array([[0, digit] for digit in range(5)])
    trie = Trie(codes, 6)
    made = untrained(trie, embedding_dim=2, prototypes=prototypes)
    child = int(trie.child[0, 0])
    unused = made.prototype_bias[child].detach().clone()
    made.imprint(trie, torch.arange(5), vectors, seed=0)
    bias, prototypes_below = made.prototype_bias[child].detach(), made.prototypes[child].detach()
    centres, sizes = prototypes_below[bias > unused], bias[bias > unused].exp()
    assert len(centres) == min(prototypes, 3)  # three are different
    assert float(sizes.sum()) == pytest.approx(5)
    nearest_centre = torch.cdist(torch.tensor([[5.0, 5.0]]), centres).argmin()
    torch.testing.assert_close(centres[nearest_centre], torch.tensor([5.0, 5.0]))
    assert float(sizes[nearest_centre]) == pytest.approx(3)
    assert made.bias[0, 0].item() == pytest.approx(np.log(5))


def test_graft_moves_the_weights_of_nodes_and_leaves_new_ones() -> None:
    trie = Trie(random_codes("fixed"), 3)
    old, new = head(trie, 2).float(), untrained(trie)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    origin = torch.arange(trie.num_nodes).roll(1)
    origin[2] = NONE
    new.graft(old, origin)
    known = torch.arange(trie.num_nodes) != 2
    for name in ("rows", "bias", "prototypes", "prototype_bias"):
        value = getattr(new, name)
        assert torch.equal(value[known], getattr(old, name)[origin[known]]), name
        assert torch.equal(value[2], fresh[name][2]), name
    assert torch.equal(new.steer.weight, old.steer.weight) and torch.equal(new.log_scale, old.log_scale)
    for name in ("inner_range", "inner_token"):  # they describe the new trie
        assert torch.equal(getattr(new, name), fresh[name])


def test_learning_only_gives_gradients_to_the_tokens_that_new_ids_alone_use() -> None:
    trie = Trie(random_codes("fixed"), 3)
    made = head(trie, 2).requires_grad_(False)
    new_ids = torch.tensor([5, 11])
    shared = {
        (int(n), int(c))
        for i in range(23)
        if i not in (5, 11)
        for n, c in zip(trie.nodes[i], trie.codes[i], strict=True)
    }
    own = {
        (int(n), int(c)) for i in (5, 11) for n, c in zip(trie.nodes[i], trie.codes[i], strict=True)
    } - shared
    with made.learning_only(trie, new_ids):
        assert [name for name, value in made.named_parameters() if value.requires_grad] == ["rows", "bias"]
        scores = made(torch.randn(23, 4, 16).double(), torch.randn(23, 8).double(), trie.nodes)
        scores.square().sum().backward()
        for gradient in (made.rows.grad, made.bias.grad):
            assert gradient is not None
            reached = {(n, t) for n, t, *_ in gradient.nonzero().tolist() if trie.child[n, t] != NONE}
            assert reached == own and len(own) >= 2
    made.rows.requires_grad_(True).grad = None
    made(torch.randn(23, 4, 16).double(), torch.randn(23, 8).double(), trie.nodes).square().sum().backward()
    assert made.rows.grad is not None
    assert bool((made.rows.grad[trie.child != NONE] != 0).all())  # nothing is masked afterwards


def test_parameters_from_features_are_what_imprint_sets() -> None:
    made = untrained(Trie(random_codes("fixed"), 3))
    assert {id(value) for value in made.parameters_from_features()} == {id(made.rows), id(made.prototypes)}
