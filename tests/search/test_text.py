from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers_stored import stored
from helpers_transformers import COLOURS, coloured

from vitdsi import ImageIndex
from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import UsageError
from vitdsi.search.options import SearchOptions
from vitdsi.search.text import text_queries


@pytest.fixture(scope="module")
def index(colour_index: Path) -> ImageIndex:
    return ImageIndex.load(colour_index)


@pytest.mark.parametrize("rerank", [None, False], ids=["by relevance", "by the decoder alone"])
def test_text_finds_the_photos_that_show_what_it_says(index: ImageIndex, rerank: bool | None) -> None:
    found = [
        result.image_id.split("/")[0] == colour
        for colour in COLOURS
        for result in index.search(text=f"a photo of {colour}", k=4, rerank=rerank)
    ]
    assert len(found) == 32
    assert sum(found) >= 26  # chance is 4


def test_texts_are_answered_after_photos_and_alone_alike(index: ImageIndex) -> None:
    options, texts = SearchOptions(k=3), ["a photo of red", "a photo of blue"]
    images = [coloured("green", 7)]
    together = index.search_with(images, options, texts=texts)
    assert [result.image_id for result in together[0]] == [r.image_id for r in index.search(images[0], 3)]
    for text, results in zip(texts, together[1:], strict=True):
        assert [result.image_id for result in results] == [r.image_id for r in index.search(text=text, k=3)]


def test_filters_hold_for_texts(index: ImageIndex) -> None:
    allowed = ["red/1.png", "blue/2.png"]
    found = index.search(text="a photo of blue", allow=allowed)
    assert [result.image_id for result in found] == ["blue/2.png", "red/1.png"]


def test_the_gap_is_closed_before_texts_are_searched(index: ImageIndex) -> None:
    """As they are, all texts would be read as nearly the same photo."""
    gap = index.state_.text_gap
    assert gap is not None and gap.pairs == 32
    texts = [f"a photo of {colour}" for colour in COLOURS]
    features = text_queries(index.state_, index.reader, texts, SearchOptions())
    raw = index.reader.text_features(texts)
    torch.testing.assert_close(features, gap.photo_mean + gap.scale * (raw - gap.text_mean))
    assert index.features_ is not None
    centres = torch.stack(
        [
            index.features_[[n for n, name in enumerate(index.image_ids_) if name.startswith(colour)]]
            .float()
            .mean(0)
            for colour in COLOURS
        ]
    )
    assert torch.equal(torch.cdist(features, centres).argmin(1), torch.arange(8))
    assert not torch.equal(torch.cdist(raw, centres).argmin(1), torch.arange(8))


def test_gap_survives_a_change_of_the_index(index: ImageIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "copy.dsi")
    copy = ImageIndex.load(tmp_path / "copy.dsi")
    copy.remove(["red/0.png"])
    copy.save(tmp_path / "copy.dsi")
    found = ImageIndex.load(tmp_path / "copy.dsi").search(text="a photo of red", k=1)
    assert found[0].image_id in ("red/1.png", "red/2.png", "red/3.png")


def test_an_image_and_a_text_are_not_searched_as_one(index: ImageIndex) -> None:
    for given in ({}, {"image": coloured("red", 0), "text": "red"}):
        with pytest.raises(UsageError, match="give an image or a text to search for, and not both"):
            index.search(**given)


@pytest.mark.parametrize(
    ("text", "min_score", "message"),
    [("  ", 0.0, "a text is empty"), ("red", 0.5, "min_score has no meaning for a text")],
)
def test_texts_that_cannot_be_searched_are_refused(
    index: ImageIndex, text: str, min_score: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        index.search(text=text, min_score=min_score)


def test_a_backbone_without_text_is_refused_with_advice() -> None:
    reader = FeatureReader("pixels", 8)
    with pytest.raises(
        UsageError, match=r"reads no text \(backbone efficientnet-lite0, .* --backbone openai/clip"
    ):
        text_queries(stored(), reader, ["red"], SearchOptions())
