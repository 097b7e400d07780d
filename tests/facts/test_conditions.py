"""Conditions as SQL, tested by the rows that SQLite then finds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from helpers_conditions import COLUMNS, found

from vitdsi.errors import UsageError
from vitdsi.facts.conditions import compile_where


def error_of(text: str, columns: Mapping[str, str] = COLUMNS) -> str:
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
    assert compile_where(text, COLUMNS) == ('coalesce("album" = ?, 0)', [value])
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
