from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.model.stems import Stem


def test_embedding_of_a_stem_that_makes_none_raises() -> None:
    stem = Stem(model_config(), (10,))
    assert not stem.embeds
    assert stem.parameters_from_features() == []
    with pytest.raises(NotImplementedError, match="Stem makes no embeddings"):
        stem.embedding(torch.zeros(1, 10))
    with pytest.raises(NotImplementedError, match="Stem makes no embeddings"):
        stem.tokens(torch.zeros(1, 10))
    with pytest.raises(NotImplementedError, match="no weights that start from features"):
        stem.fit(torch.zeros(1, 10), None)


def test_stem_without_forward_cannot_be_called() -> None:
    with pytest.raises(NotImplementedError):
        Stem(model_config(), (10,))(torch.zeros(1, 10))
