"""Writes the parts of the documentation that repeat the source code.

    python docs/generate.py           write them
    python docs/generate.py --check   only say which of them are out of date, with exit code 1 if any is

These are `reference/settings.md`, from the fields of the settings and their docstrings; `reference/cli.md` and the man
page `man/vitdsi.1`, from the commands and their options; and the tree of modules in `architecture.md`, from the first
sentence of each module.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
from pydantic.fields import FieldInfo

from vitdsi.cli.main import cli
from vitdsi.config import settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGE = ROOT / "src" / "vitdsi"

_GENERATED = "<!-- Written by docs/generate.py; edit {source} instead. -->\n\n"
_TREE = re.compile(r"(<!-- tree: begin -->\n).*?(<!-- tree: end -->)", re.DOTALL)
_TYPES = {int: "integer", float: "number", str: "text", bool: "true or false"}
_OUTPUT = "Results are printed on stdout as JSON lines, everything else on stderr."
_EXIT_CODES = (
    "The exit code is 0 after success, 1 where something could not be read or went wrong, 2 after a mistake in the"
    " arguments or settings, and 130 after Ctrl-C."
)
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def generated() -> dict[Path, str]:
    """The content that each generated file should have."""
    architecture = DOCS / "architecture.md"
    return {
        DOCS / "reference" / "settings.md": settings_page(),
        DOCS / "reference" / "cli.md": command_page(),
        DOCS / "man" / "vitdsi.1": man_page(),
        architecture: _TREE.sub(
            lambda found: f"{found[1]}{module_tree()}{found[2]}", architecture.read_text("utf-8")
        ),
    }


# ---- settings


def settings_page() -> str:
    """Every setting with its type, default and docstring: those of the product first, those of the paper last."""
    sections = list(_sections(settings.IndexConfig, ""))
    product = [section for section in sections if ".paper" not in section[0]]
    paper = [section for section in sections if ".paper" in section[0]]
    lines = [
        "# Settings",
        "",
        "Set them on the command line as `KEY=VALUE`, in a YAML file for `--config`, or in Python as fields of"
        " [`IndexConfig`](api.md#vitdsi.IndexConfig). A key or value that does not exist is an error that names the"
        " nearest one. Most collections need none of them.",
        "",
        *_section_lines(product),
        "## Settings that only the paper's experiments change",
        "",
        "They make the paper's own model and training, so that both can be compared; `--config paper` and"
        " `--config paper_ours` set them. Nothing here has to be touched to index photos.",
        "",
        *_section_lines(paper, level=3),
    ]
    return _GENERATED.format(source="src/vitdsi/config/settings.py") + "\n".join(lines).rstrip() + "\n"


def _sections(section: type, prefix: str) -> Iterator[tuple[str, type]]:
    """(prefix of the keys, class) of a section and of the sections in it."""
    yield prefix, section
    for entry in fields(section):
        if is_dataclass(entry.default_factory):
            assert isinstance(entry.default_factory, type)
            yield from _sections(entry.default_factory, f"{prefix}{entry.name}.")


def _section_lines(sections: list[tuple[str, type]], level: int = 2) -> Iterator[str]:
    for prefix, section in sections:
        title = f"`{prefix.rstrip('.')}`: {_first_sentence(inspect.getdoc(section))}"
        yield from ("#" * level + " " + (title if prefix else "The whole index"), "")
        hints = get_type_hints(section, include_extras=True)
        docstrings = _field_docstrings(section)
        for entry in fields(section):
            if is_dataclass(entry.default_factory):
                continue
            key = f"{prefix}{entry.name}"
            kind = f"*{describe_type(hints[entry.name])}; default {_default(entry)}*"
            yield from (
                "#" * (level + 1) + f" `{key}` {{ #{key} }}",
                "",
                kind,
                "",
                docstrings[entry.name],
                "",
            )


def _field_docstrings(section: type) -> dict[str, str]:
    """The string under each field of a class, on one line."""
    body = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(body, ast.ClassDef)
    docstrings = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            assert isinstance(field.target, ast.Name)
            docstrings[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return docstrings


def describe_type(hint: Any) -> str:
    """A type in words, such as "integer, at least 1" for Annotated[int, Field(ge=1)]."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [
            f"{word} {getattr(rule, name)}"
            for info in arguments[1:]
            for rule in (info.metadata if isinstance(info, FieldInfo) else [info])
            for name, word in _BOUNDS.items()
            if hasattr(rule, name)
        ]
        return ", ".join([describe_type(arguments[0]), " and ".join(bounds)])
    if origin is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType):
        return ", or ".join([*(describe_type(part) for part in arguments if part is not NoneType), "none"])
    return _TYPES[hint]


def _default(entry: Field[Any]) -> str:
    assert entry.default is not MISSING
    value = "none" if entry.default is None else str(entry.default)
    return f"`{value.lower() if isinstance(entry.default, bool) else value}`"


# ---- commands


def command_page() -> str:
    """A section for each verb with its usage, description, examples and options."""
    lines = [
        "# Command line",
        "",
        f"{_OUTPUT} {_EXIT_CODES} `vitdsi VERB --help` shows the same as this page.",
        "",
        *_command_lines(cli, "vitdsi", 2),
    ]
    return _GENERATED.format(source="src/vitdsi/cli") + "\n".join(lines).rstrip() + "\n"


def _command_lines(command: click.Command, name: str, level: int) -> Iterator[str]:
    options = [p for p in command.params if isinstance(p, click.Option)]
    commands = command.commands if isinstance(command, click.Group) else {}
    yield from ("#" * level + f" `{name}`", "", "```", _usage(command, name), "```", "")
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if paragraph.startswith("\b"):
            first, *rest = paragraph.lstrip("\b\n").splitlines()
            yield from (first, "", "```", *(line.strip() for line in rest), "```", "")
        elif paragraph:
            yield from (_escaped(" ".join(paragraph.split())), "")
    if options:
        yield from ("| option | meaning |", "| --- | --- |", *map(_option, options), "")
    for verb, inner in commands.items():
        yield from _command_lines(inner, f"{name} {verb}", level + (name != "vitdsi"))


def _usage(command: click.Command, name: str) -> str:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    has_options = any(isinstance(p, click.Option) for p in command.params)
    verbs = ["VERB ..."] if isinstance(command, click.Group) else []
    return " ".join([name, *(["[OPTIONS]"] if has_options else []), *map(_argument, arguments), *verbs])


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or str(argument.name).upper()
    if argument.metavar is None and argument.nargs == -1:
        name += "..."
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: click.Option) -> str:
    names = [name.replace("|", "\\|") for name in _option_names(option)]
    return f"| `{'`, `'.join(names)}` | {_escaped(_meaning(option))} |"


def _option_names(option: click.Option) -> list[str]:
    """The names of an option, each with its value, such as `-k NUMBER`."""
    value = option.metavar or ""
    if not value and not option.is_flag:
        numbers = (click.IntRange, click.FloatRange)
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        value = "|".join(map(str, choices)) or ("NUMBER" if isinstance(option.type, numbers) else "TEXT")
    return [
        " ".join(filter(None, [", ".join(given), value]))
        for given in (option.opts, option.secondary_opts)
        if given
    ]


def _meaning(option: click.Option) -> str:
    return (option.help or "") + (f" [{option.default}]" if option.show_default else "")


def _escaped(text: str) -> str:
    """Help text as Markdown: what is between backticks stays code."""
    return re.sub(r"[*_<|]", r"\\\g<0>", text)


# ---- the man page


def man_page() -> str:
    """The same as `command_page`, in the macros of man(7)."""
    lines = [
        '.\\" Written by docs/generate.py; edit src/vitdsi/cli instead.',
        '.TH VITDSI 1 "" vitdsi "User Commands"',
        ".SH NAME",
        r"vitdsi \- image search in which the index is a model",
        ".SH SYNOPSIS",
        _roff(_usage(cli, "vitdsi")),
        ".SH DESCRIPTION",
        *_man_paragraphs(cli),
        ".SH COMMANDS",
        *(line for verb, command in cli.commands.items() for line in _man_lines(command, f"vitdsi {verb}")),
        ".SH OUTPUT AND EXIT STATUS",
        _roff(f"{_OUTPUT} {_EXIT_CODES}"),
    ]
    return "\n".join(lines) + "\n"


def _man_lines(command: click.Command, name: str) -> Iterator[str]:
    yield f".SS {_roff(_usage(command, name))}"
    yield from _man_paragraphs(command)
    for option in command.params:
        if isinstance(option, click.Option):
            yield from (".TP", rf"\fB{_roff(', '.join(_option_names(option)))}\fR", _roff(_meaning(option)))
    for verb, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _man_lines(inner, f"{name} {verb}")


def _man_paragraphs(command: click.Command) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if paragraph.startswith("\b"):
            first, *rest = paragraph.lstrip("\b\n").splitlines()
            yield from (".PP", _roff(first), ".nf", *(f"    {_roff(line.strip())}" for line in rest), ".fi")
        elif paragraph:
            yield from (".PP", _roff(" ".join(paragraph.split())))


def _roff(text: str) -> str:
    """Text as roff: backslashes and hyphens as themselves, and nothing at the start of a line that is a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


# ---- the tree of modules


def module_tree() -> str:
    """A code block with every module that holds code, in the order in which they may import each other."""
    rows = [(1, "__init__.py", _sentence_of(PACKAGE / "__init__.py"))]
    for name in _reading_order():
        if (PACKAGE / f"{name}.py").exists():
            rows.append((1, f"{name}.py", _sentence_of(PACKAGE / f"{name}.py")))
        else:
            rows += _folder_rows(PACKAGE / name, 1)
    width = max(2 * depth + len(name) for depth, name, _ in rows) + 2
    lines = [f"{'  ' * depth + name:<{width}}{sentence}".rstrip() for depth, name, sentence in rows]
    return "\n".join(["", "```", "src/vitdsi/", *lines, "```", "", ""])


def _folder_rows(folder: Path, depth: int) -> Iterator[tuple[int, str, str]]:
    yield depth, f"{folder.name}/", _sentence_of(folder / "__init__.py")
    names = _public_names(folder / "__init__.py")
    if names:
        yield depth + 1, "__init__.py", f"Public: {', '.join(names)}"
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.is_dir() and (path / "__init__.py").exists():
            yield from _folder_rows(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield depth + 1, path.name, _sentence_of(path)


def _reading_order() -> list[str]:
    """`_ORDER` of the test that checks the imports, which is the order itself."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_ORDER":
            order: list[str] = ast.literal_eval(node.value)
            return order
    raise LookupError("tests/test_architecture.py has no _ORDER")


def _public_names(path: Path) -> list[str]:
    """`__all__` of a module."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def _sentence_of(path: Path) -> str:
    return _first_sentence(ast.get_docstring(ast.parse(path.read_text("utf-8"))))


def _first_sentence(text: str | None) -> str:
    """The first sentence of a docstring, without its full stop."""
    flat = " ".join((text or "").split("\n\n")[0].split())
    return re.split(r"(?<![ .])\.(?= [A-Z`]|$)", flat)[0]


def main(*, check: bool) -> int:
    """Write what is out of date, or name it if `check`; return the exit code."""
    stale = [
        (path, text)
        for path, text in generated().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    for path, text in stale:
        name = path.relative_to(ROOT).as_posix()
        if check:
            print(f"{name} is out of date: run make docs, and commit it", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if anything is out of date"
    )
    sys.exit(main(check=parser.parse_args().check))
