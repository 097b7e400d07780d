from __future__ import annotations

import pytest
from helpers_backbones import ToyBackbone

from vitdsi import load_config
from vitdsi.errors import ConfigError, UsageError
from vitdsi.model.reading import reader_for


@pytest.mark.usefixtures("toy")
def test_reader_reads_what_the_stem_needs_with_the_backbone_of_the_settings() -> None:
    reader = reader_for(load_config(overrides=["model.backbone=toy"]).model, None)
    assert reader.kind == "pooled" and isinstance(reader.backbone, ToyBackbone)


@pytest.mark.usefixtures("toy")
def test_place_of_the_weights_takes_precedence_over_the_settings() -> None:
    model = load_config(overrides=["model.backbone=nowhere"]).model
    assert isinstance(reader_for(model, None, backbone="toy").backbone, ToyBackbone)
    with pytest.raises(UsageError, match="nowhere"):
        reader_for(model, None)


def test_unknown_stem_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.stem"):
        reader_for(load_config(overrides=["model.stem=leaf"]).model, None)
