"""Conditions on metadata, such as `album = "2019" and width > 800`, as SQL that cannot do anything else.

A condition is comparisons joined by `and`, `or`, `not` and parentheses; `and` binds more tightly than `or`:

    column = value          also == != <> < <= > >=; the value may be another column: width > height
    column in (v, v, ...)   column between v and v      column not in (...)     column not between v and v
    column like "img_%"     column not like "..."       column is null          column is not null

`like` knows % (anything) and _ (one character) and does not tell A to Z from a to z; everything else does.

A column is a bare word, or anything in backticks: `camera model`; upper and lower case are the same. A value is a text
in 'single' or "double" quotes (doubled inside it stands for itself), a number, or true or false, which are 1 and 0.
Keywords may be in upper case. Dates are texts like "2019-07-01T12:00:00", so `taken >= "2019-07"` is right.

A text column is compared with texts only and a number column with numbers only; anything else is an error, so that
nothing is silently never found. Every comparison is true or false: with a missing value it is false, also != and
`not in`. Therefore `not x = 1` holds where x is missing, and `x != 1` does not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import NoReturn

from vitdsi.errors import UsageError

__all__ = ["compile_where", "quoted_name"]

# Together they keep within SQLite's own limits, on depth and on the size of one pattern, for every condition.
_MAX_CHARACTERS = 10_000
_MAX_COMPARISONS = 500
_MAX_LEVELS = 15

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
_OPERATORS = {"==": "=", "<>": "!="}
_SHOWN = 60  # characters of the condition, and columns, in a message


def compile_where(text: str, columns: Mapping[str, str]) -> tuple[str, list[object]]:
    """An SQL condition for SQLite with `?` for each value, and the values.

    Args:
        text: the condition, as the module describes.
        columns: name -> "text", "integer" or "real".

    Raises:
        UsageError: a mistake in the condition, with its position; an unknown column; a number compared with a text;
            more than 10,000 characters, 500 comparisons or 15 levels of parentheses and `not`.
    """
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(
            f"the condition has {len(text)} characters, at most {_MAX_CHARACTERS} are allowed;"
            " give long lists of images as ids to allow"
        )
    return _Parser(text, columns).condition()


def quoted_name(name: str) -> str:
    """A column name as SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class _Parser:
    """Recursive descent that writes SQL as it reads; only names of known columns and `?` get into it."""

    def __init__(self, text: str, columns: Mapping[str, str]) -> None:
        self._text = text
        self._columns = columns
        self._names = {name.casefold(): name for name in columns}
        tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup != "space"]
        self._tokens = [(str(match.lastgroup), match[0], match.start()) for match in tokens]
        self._tokens.append(("end", "", len(text)))
        self._next = 0
        self._comparisons = 0
        self._values: list[object] = []

    def condition(self) -> tuple[str, list[object]]:
        sql = self._any(0)
        if self._kind != "end":
            self._fail("expected `and`, `or` or the end")
        return sql, self._values

    # ---- grammar

    def _any(self, level: int) -> str:
        terms = [self._all(level)]
        while self._take("or"):
            terms.append(self._all(level))
        return " or ".join(terms)

    def _all(self, level: int) -> str:
        terms = [self._term(level)]
        while self._take("and"):
            terms.append(self._term(level))
        return " and ".join(terms)

    def _term(self, level: int) -> str:
        negated = ""
        while self._take("not"):
            level = self._deeper(level)
            negated += "not "
        if not self._take("("):
            return negated + self._comparison()
        sql = self._any(self._deeper(level))
        self._expect(")", "`and`, `or` or `)`")
        return f"{negated}({sql})"

    def _comparison(self) -> str:
        self._comparisons += 1
        if self._comparisons > _MAX_COMPARISONS:
            self._wrong(f"more than {_MAX_COMPARISONS} comparisons; write x in (1, 2) for x = 1 or x = 2")
        name, kind = self._column("a column, `not` or `(`")
        if self._kind == "operator":
            operator = self._advance()
            sql = f"{name} {_OPERATORS.get(operator, operator)} {self._other_side(kind)}"
        elif self._take("is"):
            negated = "not " if self._take("not") else ""
            self._expect("null", "`null`" if negated else "`null` or `not null`")
            return f"({name} is {negated}null)"
        else:
            negated = "not " if self._take("not") else ""
            if self._take("in"):
                sql = f"{name} {negated}in ({', '.join(self._list(kind))})"
            elif self._take("between"):
                low = self._value(kind)
                self._expect("and", "`and`")
                sql = f"{name} {negated}between {low} and {self._value(kind)}"
            elif self._take("like"):
                if kind != "text":
                    self._wrong("`like` is for text, and this column holds numbers", -1)
                sql = f"{name} {negated}like {self._value(kind)}"
            else:
                expected = "`in`, `between` or `like`"
                self._fail(f"expected {expected if negated else f'=, <, >, `is`, {expected}'}")
        return f"coalesce({sql}, 0)"

    def _list(self, kind: str) -> list[str]:
        self._expect("(", "`(`")
        values = [self._value(kind)]
        while self._take(","):
            values.append(self._value(kind))
        self._expect(")", "`,` or `)`")
        return values

    def _other_side(self, kind: str) -> str:
        """A value, or a column of the same kind."""
        if not self._at_column():
            return self._value(kind)
        name, other = self._column("a column", or_text=True)
        if (kind == "text") != (other == "text"):
            self._wrong("a column of text and one of numbers cannot be compared", -1)
        return name

    def _column(self, expected: str, *, or_text: bool = False) -> tuple[str, str]:
        """The quoted name and the kind; or_text: a text whose quotes were forgotten may have been meant."""
        if not self._at_column():
            self._fail(f"expected {expected}")
        word = self._word
        if self._kind == "column":
            word = word[1:-1].replace("``", "`")
        name = word if word in self._columns else self._names.get(word.casefold())
        if name is None:
            self._unknown(word, or_text)
        self._advance()
        return quoted_name(name), self._columns[name]

    def _value(self, kind: str) -> str:
        word, lower = self._word, self._word.lower()
        value: object
        if self._kind == "text":
            value = word[1:-1].replace(word[0] * 2, word[0]).encode("utf-8", "replace").decode()
        elif self._kind == "number":
            value = _number(word)
        elif self._kind == "word" and lower in ("true", "false"):
            value = int(lower == "true")
        elif self._kind == "word" and lower == "null":
            self._wrong("nothing equals null; write `is null` or `is not null`")
        else:
            self._fail("expected a number or a text in quotes")
        if kind == "text" and not isinstance(value, str):
            self._wrong(f'the column holds text; write "{_shown(word)}" in quotes')
        if kind != "text" and isinstance(value, str):
            self._wrong("the column holds numbers; write a number without quotes")
        self._advance()
        self._values.append(value)
        return "?"

    # ---- tokens

    @property
    def _kind(self) -> str:
        return self._tokens[self._next][0]

    @property
    def _word(self) -> str:
        return self._tokens[self._next][1]

    def _advance(self) -> str:
        word = self._word
        self._next += 1
        return word

    def _at_column(self) -> bool:
        return self._kind == "column" or (self._kind == "word" and self._word.lower() not in _KEYWORDS)

    def _take(self, word: str) -> bool:
        """Step over a keyword or sign if it is the next."""
        found = self._kind in ("word", "sign") and self._word.lower() == word
        self._next += found
        return found

    def _expect(self, word: str, expected: str) -> None:
        if not self._take(word):
            self._fail(f"expected {expected}")

    def _deeper(self, level: int) -> int:
        if level == _MAX_LEVELS:
            self._wrong(f"more than {_MAX_LEVELS} levels of parentheses and `not`; write it more simply", -1)
        return level + 1

    # ---- mistakes

    def _unknown(self, word: str, or_text: bool) -> NoReturn:
        if not self._columns:
            raise UsageError(
                f"unknown column {_shown(word)}: the index has no metadata; give some with:"
                " vitdsi index IMAGES --metadata FILE -o INDEX.dsi"
            )
        near = [self._names[n] for n in difflib.get_close_matches(word.casefold(), self._names, n=3)]
        known = ", ".join([_as_written(name) for name in self._columns][:_SHOWN])
        more = f" and {len(self._columns) - _SHOWN} more" if len(self._columns) > _SHOWN else ""
        text = ", and a text needs quotes" if or_text else ""
        meant = f"did you mean {' or '.join(map(_as_written, near))}? " if near else ""
        self._wrong(f"unknown column {_shown(word)}{text}; {meant}the columns are {known}{more}")

    def _fail(self, expected: str) -> NoReturn:
        kind, word, start = self._tokens[self._next]
        before = _shown(self._text[:start], last=True)
        found = "the condition ends" if kind == "end" else f"found {_shown(word)}"
        if word in ('"', "'", "`"):
            found = f"found {word} that nothing closes"
        elif word in ("“", "”", "„", "‘", "’"):  # noqa: RUF001 - these are the ones meant
            found = f"found {word}, write straight quotes"
        self._wrong(f"{expected}, but {found}{f' after: {before}' if before else ''}")

    def _wrong(self, what: str, step: int = 0) -> NoReturn:
        position = self._tokens[self._next + step][2] + 1
        raise UsageError(f"condition, character {position}: {what}")


def _number(word: str) -> int | float:
    """Exact where it fits 64 bits; the nearest float otherwise."""
    if re.fullmatch("[+-]?[0-9]{1,19}", word) and -(2**63) <= int(word) < 2**63:
        return int(word)
    return float(word)


def _as_written(name: str) -> str:
    """A column as it is written in a condition."""
    if re.fullmatch(r"[^\W\d]\w*", name) and name.lower() not in _KEYWORDS:
        return name
    return _shown("`" + name.replace("`", "``") + "`")


def _shown(text: str, *, last: bool = False) -> str:
    """On one line, and not too long: the beginning, or the end."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if len(line) <= _SHOWN:
        return line
    return f"…{line[-_SHOWN:]}" if last else f"{line[:_SHOWN]}…"
