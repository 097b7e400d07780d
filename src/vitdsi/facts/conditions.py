"""Conditions on metadata, such as `album = "2019" and width > 800`, translated to harmless SQL.

A condition consists of comparisons joined by `and`, `or`, `not` and parentheses; `and` binds more tightly than `or`:

    column = value          also == != <> < <= > >=; the value may be another column, as in width > height
    column in (v, v, ...)   column between v and v      column not in (...)     column not between v and v
    column like "img_%"     column not like "..."       column is null          column is not null

In the pattern of `like`, % stands for any text and _ for any one character. `like` ignores the case of the letters A
to Z; all other comparisons of text respect case.

A column is a plain word, or any text between backticks: `camera model`. Names of columns and keywords ignore case. A
value is a number, a text in 'single' or "double" quotes (a quote inside is doubled), or true or false, which stand for
1 and 0. Dates are texts such as "2019-07-01T12:00:00", so they can be compared: `taken >= "2019-07"`.

A column of text can only be compared with text, and a column of numbers only with numbers. Anything else is an error,
because it would never find an image. A comparison with a missing value is always false, including `!=` and `not in`.
Hence, where x is missing, `not x = 1` holds but `x != 1` does not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import NoReturn

from vitdsi.errors import UsageError

__all__ = ["compile_where", "quote_identifier"]

# Within these limits a condition exceeds none of SQLite's own limits on depth and on the length of a pattern.
_MAX_CHARACTERS = 10_000
_MAX_COMPARISONS = 500
_MAX_DEPTH = 15

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"]|"")*"|'(?:[^']|'')*')
    |(?P<column>`(?:[^`]|``)+`)
    |(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<operator>==|!=|<>|<=|>=|[=<>])
    |(?P<sign>[(),])
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset(["and", "or", "not", "in", "between", "like", "is", "null", "true", "false"])
_SQL_OPERATORS = {"==": "=", "<>": "!="}
_MAX_SHOWN = 60  # characters of the condition, and columns, in an error message


def compile_where(text: str, columns: Mapping[str, str]) -> tuple[str, list[object]]:
    """Translate a condition to an SQL expression for SQLite.

    Args:
        text: the condition, in the language that this module describes.
        columns: the type of each column: "text", "integer" or "real".

    Returns:
        The SQL expression, with `?` in place of each value, and the values.

    Raises:
        UsageError: if the condition has a syntax error, an unknown column, a comparison of a number with text, or more
            than 10,000 characters, 500 comparisons or 15 nested levels of parentheses and `not`. The message gives
            the position.
    """
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(
            f"the condition has {len(text)} characters, but at most {_MAX_CHARACTERS} are allowed;"
            " pass a long list of images as the ids to search among"
        )
    return _Parser(text, columns).parse()


def quote_identifier(name: str) -> str:
    """Quote any text as the name of a column in SQL."""
    return '"' + name.replace('"', '""') + '"'


class _Parser:
    """A recursive descent parser that writes SQL, into which only known columns and `?` find their way."""

    def __init__(self, text: str, columns: Mapping[str, str]) -> None:
        self._text = text
        self._columns = columns
        self._spelling = {name.casefold(): name for name in columns}
        matches = [match for match in _TOKEN.finditer(text) if match.lastgroup != "space"]
        self._tokens = [(str(match.lastgroup), match[0], match.start()) for match in matches]
        self._tokens.append(("end", "", len(text)))
        self._position = 0
        self._num_comparisons = 0
        self._values: list[object] = []

    def parse(self) -> tuple[str, list[object]]:
        sql = self._disjunction(0)
        if self._kind != "end":
            self._fail_expecting("`and`, `or` or the end")
        return sql, self._values

    # ---- grammar

    def _disjunction(self, depth: int) -> str:
        terms = [self._conjunction(depth)]
        while self._accept("or"):
            terms.append(self._conjunction(depth))
        return " or ".join(terms)

    def _conjunction(self, depth: int) -> str:
        terms = [self._term(depth)]
        while self._accept("and"):
            terms.append(self._term(depth))
        return " and ".join(terms)

    def _term(self, depth: int) -> str:
        negations = ""
        while self._accept("not"):
            depth = self._deeper(depth)
            negations += "not "
        if not self._accept("("):
            return negations + self._comparison()
        sql = self._disjunction(self._deeper(depth))
        self._expect(")", "`and`, `or` or `)`")
        return f"{negations}({sql})"

    def _comparison(self) -> str:
        self._num_comparisons += 1
        if self._num_comparisons > _MAX_COMPARISONS:
            self._fail(f"more than {_MAX_COMPARISONS} comparisons; write `x in (1, 2)` for `x = 1 or x = 2`")
        name, kind = self._column("a column, `not` or `(`")
        if self._kind == "operator":
            operator = self._advance()
            sql = f"{name} {_SQL_OPERATORS.get(operator, operator)} {self._right_side(kind)}"
        elif self._accept("is"):
            negation = "not " if self._accept("not") else ""
            self._expect("null", "`null`" if negation else "`null` or `not null`")
            return f"({name} is {negation}null)"
        else:
            negation = "not " if self._accept("not") else ""
            if self._accept("in"):
                sql = f"{name} {negation}in ({', '.join(self._value_list(kind))})"
            elif self._accept("between"):
                low = self._value(kind)
                self._expect("and", "`and`")
                sql = f"{name} {negation}between {low} and {self._value(kind)}"
            elif self._accept("like"):
                if kind != "text":
                    self._fail("`like` compares text, but this column holds numbers; use = or <", offset=-1)
                sql = f"{name} {negation}like {self._value(kind)}"
            else:
                operators = "`in`, `between` or `like`"
                self._fail_expecting(operators if negation else f"=, <, >, `is`, {operators}")
        return f"coalesce({sql}, 0)"

    def _value_list(self, kind: str) -> list[str]:
        self._expect("(", "`(`")
        values = [self._value(kind)]
        while self._accept(","):
            values.append(self._value(kind))
        self._expect(")", "`,` or `)`")
        return values

    def _right_side(self, kind: str) -> str:
        """Parse a value, or a column that can be compared with one of this kind."""
        if not self._at_column():
            return self._value(kind)
        name, other_kind = self._column("a column", or_text=True)
        if (kind == "text") != (other_kind == "text"):
            self._fail("a column of text and one of numbers cannot be compared", offset=-1)
        return name

    def _column(self, expected: str, *, or_text: bool = False) -> tuple[str, str]:
        """Parse a column to its quoted name and its kind.

        `or_text` says that text is allowed here too, so that quotes may be missing around an unknown name.
        """
        if not self._at_column():
            self._fail_expecting(expected)
        word = self._word
        if self._kind == "column":
            word = word[1:-1].replace("``", "`")
        name = word if word in self._columns else self._spelling.get(word.casefold())
        if name is None:
            self._fail_unknown(word, or_text)
        self._advance()
        return quote_identifier(name), self._columns[name]

    def _value(self, kind: str) -> str:
        word, lower = self._word, self._word.lower()
        value: object
        if self._kind == "text":
            value = word[1:-1].replace(word[0] * 2, word[0]).encode("utf-8", "replace").decode()
        elif self._kind == "number":
            value = _parse_number(word)
        elif self._kind == "word" and lower in ("true", "false"):
            value = int(lower == "true")
        elif self._kind == "word" and lower == "null":
            self._fail("nothing equals null; write `is null` or `is not null`")
        else:
            self._fail_expecting("a number or a text in quotes")
        if kind == "text" and not isinstance(value, str):
            self._fail(f'the column holds text; write "{_shorten(word)}" in quotes')
        if kind != "text" and isinstance(value, str):
            self._fail("the column holds numbers; write a number without quotes")
        self._advance()
        self._values.append(value)
        return "?"

    # ---- tokens

    @property
    def _kind(self) -> str:
        return self._tokens[self._position][0]

    @property
    def _word(self) -> str:
        return self._tokens[self._position][1]

    def _advance(self) -> str:
        word = self._word
        self._position += 1
        return word

    def _at_column(self) -> bool:
        return self._kind == "column" or (self._kind == "word" and self._word.lower() not in _KEYWORDS)

    def _accept(self, word: str) -> bool:
        """Step over the next token if it is this keyword or sign."""
        found = self._kind in ("word", "sign") and self._word.lower() == word
        self._position += found
        return found

    def _expect(self, word: str, expected: str) -> None:
        if not self._accept(word):
            self._fail_expecting(expected)

    def _deeper(self, depth: int) -> int:
        if depth == _MAX_DEPTH:
            self._fail(
                f"more than {_MAX_DEPTH} levels of parentheses and `not`; simplify the condition", offset=-1
            )
        return depth + 1

    # ---- errors

    def _fail_unknown(self, word: str, or_text: bool) -> NoReturn:
        if not self._columns:
            raise UsageError(
                f"unknown column {_shorten(word)}: the index has no metadata; give some with:"
                " vitdsi index IMAGES --metadata FILE -o INDEX.dsi"
            )
        close = difflib.get_close_matches(word.casefold(), self._spelling, n=3)
        suggestions = " or ".join(_format_column(self._spelling[name]) for name in close)
        known = ", ".join([_format_column(name) for name in self._columns][:_MAX_SHOWN])
        more = f" and {len(self._columns) - _MAX_SHOWN} more" if len(self._columns) > _MAX_SHOWN else ""
        quotes = " (text needs quotes)" if or_text else ""
        suggestion = f"did you mean {suggestions}? " if suggestions else ""
        self._fail(f"unknown column {_shorten(word)}{quotes}; {suggestion}the columns are {known}{more}")

    def _fail_expecting(self, expected: str) -> NoReturn:
        kind, word, start = self._tokens[self._position]
        before = _shorten(self._text[:start], keep_end=True)
        found = "the condition ends" if kind == "end" else f"found {_shorten(word)}"
        if word in ('"', "'", "`"):
            found = f"found {word} without a closing {word}"
        elif word in ("“", "”", "„", "‘", "’"):  # noqa: RUF001 - typographic quotes are what this looks for
            found = f"found {word}; write straight quotes"
        self._fail(f"expected {expected}, but {found}{f' after: {before}' if before else ''}")

    def _fail(self, message: str, offset: int = 0) -> NoReturn:
        """Raise an error at the current token, or `offset` tokens from it."""
        position = self._tokens[self._position + offset][2] + 1
        raise UsageError(f"condition, character {position}: {message}")


def _parse_number(word: str) -> int | float:
    """Return an integer if it fits into 64 bits, and a float otherwise."""
    if re.fullmatch("[+-]?[0-9]{1,19}", word) and -(2**63) <= int(word) < 2**63:
        return int(word)
    return float(word)


def _format_column(name: str) -> str:
    """Write a column as conditions do, in backticks where it needs them."""
    if re.fullmatch(r"[^\W\d]\w*", name) and name.lower() not in _KEYWORDS:
        return name
    return _shorten("`" + name.replace("`", "``") + "`")


def _shorten(text: str, *, keep_end: bool = False) -> str:
    """Put text on one printable line, and cut it at the end, or at the beginning, if it is long."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if len(line) <= _MAX_SHOWN:
        return line
    return f"…{line[-_MAX_SHOWN:]}" if keep_end else f"{line[:_MAX_SHOWN]}…"
