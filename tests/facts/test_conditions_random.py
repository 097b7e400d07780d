"""Random conditions, compared with what they mean in Python."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from helpers_conditions import found

from vitdsi.errors import UsageError


def _like(value: str, pattern: str) -> bool:
    def lower(text: str) -> str:
        return "".join(c.lower() if c.isascii() else c for c in text)

    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(c, re.escape(c)) for c in lower(pattern))
    return re.fullmatch(expression, lower(value), re.DOTALL) is not None


_Row = dict[str, Any]
_Test = Callable[[_Row], bool]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_KINDS = {"t": "text", "Ü ü": "text", "i": "integer", "j": "integer", "r": "real"}
_TEXTS = ["", "a", "A", "ab", "aB_", "%", "é", "É", "it's", '"', "2019-07", "🙂", "\n"]
_NUMBERS = [-2, -1, 0, 1, 2, 2.5, -0.5, 10]


def _value(rng: random.Random, kind: str) -> Any:
    if kind == "text":
        return rng.choice(_TEXTS)
    return rng.choice([n for n in _NUMBERS if kind == "real" or isinstance(n, int)])


def _comparison(rng: random.Random) -> tuple[str, _Test]:
    name = rng.choice(list(_KINDS))
    kind = _KINDS[name]
    column = f"`{name}`" if " " in name or rng.random() < 0.2 else name
    literal_kind = "text" if kind == "text" else "real"

    def literal() -> tuple[str, Any]:
        value = _value(rng, literal_kind)
        if isinstance(value, str):
            quote = rng.choice("'\"")
            return quote + value.replace(quote, quote * 2) + quote, value
        return str(value), value

    (a, x), (b, y) = literal(), literal()
    negated = rng.random() < 0.4
    word = rng.choice(["not ", "NOT "]) if negated else ""
    form = rng.choice(["compare", "columns", "in", "between", "null"] + ["like"] * (kind == "text"))
    if form == "compare":
        operator, compare = rng.choice(list(_COMPARE.items()))
        return f"{column} {operator} {a}", lambda row: row[name] is not None and compare(row[name], x)
    if form == "columns":
        operator, compare = rng.choice(list(_COMPARE.items()))
        other = rng.choice([n for n, k in _KINDS.items() if (k == "text") == (kind == "text")])
        return (
            f"{column} {operator} `{other}`",
            lambda row: row[name] is not None and row[other] is not None and compare(row[name], row[other]),
        )
    if form == "null":
        return f"{column} is {word}null", lambda row: (row[name] is None) != negated
    if form == "in":
        return (
            f"{column} {word}in ({a}, {b})",
            lambda row: row[name] is not None and (row[name] in (x, y)) != negated,
        )
    if form == "between":
        return (
            f"{column} {word}between {a} and {b}",
            lambda row: row[name] is not None and (x <= row[name] <= y) != negated,
        )
    return f"{column} {word}like {a}", lambda row: row[name] is not None and _like(row[name], x) != negated


def _expression(rng: random.Random, depth: int) -> tuple[str, _Test]:
    """A random condition and what it means."""
    form = rng.choice(["comparison", "not", "and", "or"]) if depth else "comparison"
    if form == "comparison":
        return _comparison(rng)
    parts = [_expression(rng, depth - 1) for _ in range(1 if form == "not" else rng.randint(2, 3))]
    tests = [test for _, test in parts]
    texts = [f"({text})" for text, _ in parts]
    if form == "not":
        return f"not {texts[0]}", lambda row: not tests[0](row)
    if form == "and":
        return " and ".join(texts), lambda row: all(test(row) for test in tests)
    return " or ".join(texts), lambda row: any(test(row) for test in tests)


@pytest.mark.parametrize("seed", range(10))
def test_random_condition_finds_the_rows_that_python_finds(seed: int) -> None:
    rng = random.Random(seed)
    rows = [{name: rng.choice([None, _value(rng, kind)]) for name, kind in _KINDS.items()} for _ in range(60)]
    hits = 0
    for _ in range(40):
        text, holds = _expression(rng, rng.randint(0, 4))
        expected = [i for i, row in enumerate(rows) if holds(row)]
        assert found(text, rows, _KINDS) == expected, text
        hits += 0 < len(expected) < len(rows)
    assert hits > 10


@pytest.mark.parametrize("seed", range(5))
def test_and_binds_more_tightly_than_or(seed: int) -> None:
    rng = random.Random(seed)
    rows = [{name: rng.choice([None, _value(rng, kind)]) for name, kind in _KINDS.items()} for _ in range(60)]
    for _ in range(20):
        groups = [[_comparison(rng) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 3))]
        text = " or ".join(" and ".join(part for part, _ in group) for group in groups)
        expected = [
            i for i, row in enumerate(rows) if any(all(test(row) for _, test in group) for group in groups)
        ]
        assert found(text, rows, _KINDS) == expected, text


@pytest.mark.parametrize("seed", range(5))
def test_random_tokens_are_a_condition_or_a_usage_error(seed: int) -> None:
    rng = random.Random(seed)
    pieces = re.findall(
        r"\S+", "album `in` and or not in like between is null ( ) , = 'a' 1 -2.5 ' ` ; -- \0 é true ?"
    )
    good = re.findall(r"\S+", "not ( album = 'a' or width in ( 1 , 2 ) ) and width not between 1 and 2")
    accepted = 0
    for _ in range(500):
        parts = list(good)
        for _ in range(rng.randint(0, 2)):
            position = rng.randint(0, len(parts))
            parts[position : position + rng.randint(0, 1)] = [rng.choice(pieces)]
        text = " ".join(parts)
        try:
            found(text)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1
        else:
            accepted += 1
    assert 10 < accepted < 400
