"""Conditions that nobody would write: each ends in ids, or in one line of an error."""

from __future__ import annotations

import random

import pytest

from vitdsi.errors import UsageError
from vitdsi.facts.store import MetadataStore

_STORE = MetadataStore.create({i: {"album": f"a{i}'", "width": i, "größe": i / 2} for i in range(3)})
_WORDS = r"""
    album width größe `größe` [width] missing facts vitdsi_id rowid sqlite_master 'a0' "a1" ' " ` [ ] 1 -2 1e999 0x7f
    9223372036854775808 1..2 NULL null TRUE ? ?1 :x @y $z = == != <> < <= > >= + - * / % || & | ~ << >> ( ) () , ;
    -- /* */ AND OR NOT and or not IN BETWEEN LIKE GLOB REGEXP MATCH IS ISNULL NOTNULL ESCAPE COLLATE EXISTS CASE WHEN
    THEN ELSE END CAST AS SELECT FROM UNION PRAGMA ATTACH DROP TABLE load_extension( random( zeroblob( printf( json(
    🙂 é İ \ %s {} ${x}
"""
_CHARACTERS = "\0\n\t \ud800\udcff\u202e\ufeff\x7f\U0010ffff'\"`()=<>%_-;1aé"


def _check(text: str) -> None:
    try:
        ids = _STORE.ids_where(text).tolist()
    except UsageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert set(ids) <= {0, 1, 2}


def test_random_sequences_of_words_are_answered_or_refused() -> None:
    rng, known = random.Random(0), _WORDS.split()
    for _ in range(3000):
        words = [rng.choice(known) for _ in range(rng.randrange(1, 12))]
        _check(rng.choice((" ", "")).join(words))


def test_random_characters_are_answered_or_refused() -> None:
    rng = random.Random(0)
    for _ in range(1000):
        text = "".join(
            rng.choice(_CHARACTERS) if rng.random() < 0.7 else chr(rng.randrange(0x110000))
            for _ in range(rng.randrange(20))
        )
        for condition in (text, f"album = {text}", f"album = '{text}'"):
            _check(condition)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "width = 1" + ")" * 5000,
        "NOT " * 5000 + "width = 1",
        " OR ".join(["width = 1"] * 5000),
        "width = " + "9" * 100_000,
        "album = '" + "x" * 1_000_000 + "'",
        "width IN (" + ", ".join(map(str, range(50_000))) + ")",
        "width" + " + 1" * 20_000 + " > 0",
        "album LIKE '" + "%a" * 5000 + "'",
        "`" + "x" * 100_000 + "` = 1",
    ],
    ids=lambda text: text[:12],
)
def test_conditions_without_measure_are_answered_or_refused(text: str) -> None:
    _check(text)


def test_no_condition_changes_the_store() -> None:
    for text in ("1; DROP TABLE facts", "width = (DELETE FROM facts)", "1 -- ", "width = 1 UNION SELECT 0"):
        _check(text)
    assert _STORE.ids_where("width >= 0").tolist() == [0, 1, 2]
