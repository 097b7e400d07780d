from __future__ import annotations

import torch
from helpers_stored import stored

from vitdsi.collection.take import taken
from vitdsi.ids.trie import NONE, Trie


def test_all_columns_have_the_images_that_were_taken() -> None:
    whole = stored()
    ids = torch.tensor([3, 10, 42])
    some = taken(whole, ids, Trie(whole.trie.codes[ids], 8))
    assert list(some.image_ids) == [whole.image_ids[i] for i in ids.tolist()]
    assert list(some.hashes) == [whole.hashes[i] for i in ids.tolist()]
    assert whole.features is not None and some.features is not None
    assert torch.equal(some.features, whole.features[ids])
    assert some.metadata.ids_where("width = 142").tolist() == [2]
    assert whole.held_out is not None and some.held_out is not None
    places = {3: 0, 10: 1, 42: 2}
    assert some.held_out.ids.tolist() == [places.get(i, NONE) for i in whole.held_out.ids.tolist()]
