"""Conditions as SQL, tested by the rows that SQLite then finds."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest

from vitdsi.errors import UsageError
from vitdsi.facts.conditions import compile_where, quote_identifier

_COLUMNS = {
    "album": "text",
    "Width": "integer",
    "height": "integer",
    "f_number": "real",
    "taken": "text",
    "camera model": "text",
    'odd " ` name': "text",
    "größe": "real",
    "in": "integer",
}
_ROWS: list[dict[str, Any]] = [
    {"album": "2019", "Width": 800, "height": 600, "f_number": 2.8, "taken": "2019-07-01T12:00:00"},
    {"album": "it's", "Width": 600, "height": 800, "f_number": 4.0, "taken": "2018-12-31T23:59:59"},
    {"album": 'say "hi"', "Width": 0, "camera model": "Canon EOS 5D", 'odd " ` name': "yes", "in": 1},
    {"album": "IMG_1", "größe": -1.5, "Width": 2**53 + 1},
    {},
]


def found(
    text: str, rows: Sequence[Mapping[str, Any]] = _ROWS, columns: Mapping[str, str] = _COLUMNS
) -> list[int]:
    """The positions of the rows for which the condition holds."""
    condition, values = compile_where(text, columns)
    names = [f"{quote_identifier(name)} {kind.upper()}" for name, kind in columns.items()]
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE TABLE facts (number INTEGER PRIMARY KEY, {', '.join(names)})")
        places = ", ".join("?" * (1 + len(columns)))
        table = [(i, *map(row.get, columns)) for i, row in enumerate(rows)]
        database.executemany(f"INSERT INTO facts VALUES ({places})", table)
        query = f"SELECT number FROM facts WHERE {condition} ORDER BY 1"
        return [number for (number,) in database.execute(query, values)]


def error_of(text: str, columns: Mapping[str, str] = _COLUMNS) -> str:
    with pytest.raises(UsageError) as caught:
        compile_where(text, columns)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# ---- meaning


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('album = "2019" and width > 700', [0]),
        ("album == '2019'", [0]),
        ("ALBUM <> '2019' AND NOT Width = 600", [2, 3]),
        ("width>=600and height<=600", [0]),
        ("width != 800", [1, 2, 3]),
        ('album = "it\'s"', [1]),
        ("album = 'it''s'", [1]),
        ('album = "say ""hi"""', [2]),
        ("`camera model` like '%eos%'", [2]),
        ("`Camera Model` = 'Canon EOS 5D'", [2]),
        ("`odd \" `` name` = 'yes'", [2]),
        ("größe < -1", [3]),
        ("GRÖSSE = -1.5", [3]),
        ("`in` = true", [2]),
        ("`in` != false", [2]),
        ('taken >= "2019-07"', [0]),
        ('taken between "2018" and "2019"', [1]),
        ("f_number in (2.8, 4)", [0, 1]),
        ("f_number not in (2.8)", [1]),
        ("width between -1 and +6e2", [1, 2]),
        ("width not between 0 and 700", [0, 3]),
        (f"width = {2**53 + 1}", [3]),
        (f"width = {2**53}", []),
        ("width < 99999999999999999999999", [0, 1, 2, 3]),
        ("width < 1e999 and width > .5", [0, 1, 3]),
        ("album like 'img\\_%'", []),
        ("album like 'img_%'", [3]),
        ("album not like '%i%'", [0]),
        ("album is null", [4]),
        ("album is not null", [0, 1, 2, 3]),
        ("height < width", [0]),
        ("f_number < height", [0, 1]),
        ("album = `camera model`", []),
        ("(album = '2019' or album = 'IMG_1') and width = 800", [0]),
        ("album = '2019' or album = 'IMG_1' and width = 800", [0]),
        ("not album = '2019' and not (width = 600 or width = 0)", [3, 4]),
        ("not not width = 0", [2]),
        (" \n\twidth\n=\n0 ", [2]),
    ],
)
def test_condition_finds_the_expected_rows(text: str, expected: list[int]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "comparison",
    [
        "f_number = 2.8",
        "f_number != 2.8",
        "f_number in (2.8)",
        "f_number not in (2.8)",
        "f_number < height",
        "f_number between 0 and 9",
        "f_number not between 0 and 1",
        "taken like '2%'",
        "taken not like 'x'",
    ],
)
def test_comparison_with_missing_value_is_false_and_its_negation_true(comparison: str) -> None:
    missing = {2, 3, 4}
    assert not missing & set(found(comparison))
    assert missing <= set(found(f"not {comparison}"))
    assert sorted(found(comparison) + found(f"not ({comparison})")) == [0, 1, 2, 3, 4]


def test_like_ignores_case_only_in_ascii() -> None:
    rows = [{"album": "Ärger"}, {"album": "ärGER"}]
    assert found("album like 'Ä%'", rows) == [0]
    assert found("album like '%gEr'", rows) == [0, 1]
    assert found("album = 'Ärger'", rows) == [0]


def test_exact_spelling_of_a_column_wins_over_another_case() -> None:
    assert compile_where("A = 1", {"A": "integer", "a": "integer"})[0] == 'coalesce("A" = ?, 0)'
    assert compile_where("a = 1", {"A": "integer", "a": "integer"})[0] == 'coalesce("a" = ?, 0)'


# ---- only values and known columns reach the database


@pytest.mark.parametrize(
    "value",
    [
        "x'; DROP TABLE facts; --",
        'x" OR 1=1 --',
        "') OR ('1'='1",
        "1 UNION SELECT 1",
        "?",
        "?1",
        ":a",
        "a\0b",
        "\\",
        "🙂 \u2028",
    ],
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_sql_inside_a_value_is_only_text(value: str, quote: str) -> None:
    text = f"album = {quote}{value.replace(quote, quote * 2)}{quote}"
    assert compile_where(text, _COLUMNS) == ('coalesce("album" = ?, 0)', [value])
    assert found(text, [{"album": value}, {"album": "other"}]) == [0]


def test_sql_inside_a_column_name_is_only_a_name() -> None:
    name = 'x" = 1 OR 1=1 --'
    assert found(f"`{name}` = 2", [{name: 1}, {name: 2}], {name: "integer"}) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "1 = 1",
        "album = '2019'; DROP TABLE facts",
        "album = '2019' -- comment",
        "album = '2019' /* comment */",
        "album = '2019' union select 1",
        "album = (select 1)",
        "album in (select album from facts)",
        "rowid = 1",
        "number = 1",
        "abs(width) = 1",
        "width = 1 + 1",
        "width = ?",
        "width = :a",
        "width = 0x10",
        "width = x'00'",
        "album || 'a' = 'b'",
        "facts.width = 1",
        '"album" = "album"',
        "exists (select 1)",
        "album glob '*'",
        "album collate nocase = 'a'",
        "width = ٣",
    ],
)
def test_other_sql_is_refused_as_a_condition(text: str) -> None:
    assert error_of(text)


def test_lone_surrogates_in_a_value_are_replaced() -> None:
    assert found("album = 'a\udc80'", [{"album": "a?"}]) == [0]


# ---- error messages


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["character 1: expected a column, `not` or `(`, but the condition ends"]),
        ("album", ["character 6: expected =, <, >, `is`, `in`, `between` or `like`", "after: album"]),
        ("album = ", ["character 9: expected a number or a text in quotes", "ends after: album ="]),
        ("album = 'x", ["character 9", "found ' without a closing ' after: album ="]),
        ("`album = 1", ["character 1", "found ` without a closing `"]),
        ("album = “x”", ["character 9", "straight quotes"]),
        ("album = 'x' width = 1", ["character 13: expected `and`, `or` or the end, but found width"]),
        ("album = 'x' and", ["character 16: expected a column", "after: album = 'x' and"]),
        ("(album = 'x'", ["character 13: expected `and`, `or` or `)`"]),
        ("album = 'x')", ["character 12: expected `and`, `or` or the end, but found )"]),
        ("album not 'x'", ["character 11: expected `in`, `between` or `like`, but found 'x'"]),
        ("album is 'x'", ["expected `null` or `not null`"]),
        ("album is not 'x'", ["expected `null`, but"]),
        ("album = null", ["character 9", "write `is null`"]),
        ("album in 'x'", ["expected `(`"]),
        ("album in ()", ["character 11: expected a number or a text"]),
        ("album in ('x',)", ["character 15"]),
        ("album in ('x' 'y')", ["expected `,` or `)`"]),
        ("width between 1 or 2", ["expected `and`, but found or"]),
        ("in = 1", ["character 1: expected a column"]),
        (
            "albun = 'x'",
            ["unknown column albun", "did you mean album?", "the columns are album, Width,", "`in`"],
        ),
        ("camera = 'x'", ["did you mean `camera model`?"]),
        ("zzz = 'x'", ["unknown column zzz; the columns are album"]),
        ("album = summer", ["unknown column summer (text needs quotes); the columns are"]),
        ("album = 2019", ["character 9: the column holds text", '"2019" in quotes']),
        ("album = true", ["the column holds text"]),
        ("width = '800'", ["character 9: the column holds numbers"]),
        ("width in (1, '2')", ["character 14: the column holds numbers"]),
        ("f_number between '1' and '2'", ["character 18: the column holds numbers"]),
        ("width like '8%'", ["character 7: `like` compares text"]),
        ("width = album", ["character 9: a column of text and one of numbers"]),
        ("width = 1 & height = 2", ["character 11", "found &"]),
    ],
)
def test_error_gives_the_position_and_what_was_expected(text: str, parts: list[str]) -> None:
    message = error_of(text)
    assert [part for part in parts if part not in message] == [], message


def test_error_about_long_or_unprintable_text_is_one_short_line() -> None:
    columns = {f"column number {i}": "text" for i in range(500)}
    message = error_of("a" * 5000 + " = 1", columns)
    assert "and 440 more" in message and len(message) < 2500
    assert "\x1b" not in error_of("album = '\x1b[31m\n\u2028' \x1b")
    assert len(error_of("album = '" + "x" * 5000 + "' oops")) < 300


def test_error_without_any_columns_says_how_to_give_metadata() -> None:
    assert "--metadata FILE" in error_of("album = 1", {})


# ---- limits


def _deep(levels: int) -> str:
    return "width=1 or width=1 and (" * levels + "width not between 1 and 2" + ")" * levels


def test_fifteen_levels_work_and_more_are_refused() -> None:
    assert found(_deep(15)) == []
    assert found("not (" * 7 + "width = 0" + ")" * 7) == [0, 1, 3, 4]
    assert found("not " * 14 + "(width = 0)") == [2]
    for text in (_deep(16), "(" * 5000, "not " * 2000 + "width = 1", "((" * 8 + "width = 1" + "))" * 8):
        assert "more than 15 levels" in error_of(text)


def test_500_comparisons_work_and_more_are_refused() -> None:
    text = " or ".join(["width = 0"] * 500)
    assert found(text) == [2]
    nested = " or ".join(["width = 5"] * 30) + " or ("
    assert found(nested * 15 + "width = 0" + ")" * 15) == [2]
    assert "more than 500 comparisons; write `x in" in error_of(text + " or width = 0")


def test_10000_characters_work_and_more_are_refused() -> None:
    text = "width in (0" + ",1" * 4994 + ")"
    assert len(text) == 10_000
    assert found(text) == [2]
    assert "10001 characters" in error_of(text + " ")
    pattern = "%🙂" * 4990
    assert found(f"album like '{pattern}'") == []
    assert found("width < " + "9" * 9000) == [0, 1, 2, 3]


# ---- random conditions, compared with Python


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
