"""Heads: from a hidden state of the decoder to the scores of an id's next token."""

from __future__ import annotations

from vitdsi.model.heads.base import Head
from vitdsi.model.heads.digit_head import DigitHead
from vitdsi.model.heads.trie_head import TrieHead

__all__ = ["HEADS", "DigitHead", "Head", "TrieHead"]

# Values of the setting `model.paper.head`. A new head is registered here and nowhere else.
HEADS: dict[str, type[Head]] = {
    "trie": TrieHead,
    "digits": DigitHead,
}
