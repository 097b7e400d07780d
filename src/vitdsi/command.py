"""What all verbs of the command line share: exit codes, `--debug`, `--version`, checks of the places to write to."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from vitdsi.errors import ImageReadError, UsageError, VitdsiError

__all__ = [
    "INTERRUPTED",
    "Verbs",
    "again",
    "check_output",
    "check_writable",
    "debug_option",
    "named_lines",
    "print_version",
    "refuse",
    "say",
]

INTERRUPTED = 130
_DEBUG = "vitdsi.debug"
_ARGUMENTS = "vitdsi.arguments"
_Verb = TypeVar("_Verb", bound=Callable[..., Any])


class Verbs(click.Group):
    """Turns exceptions into one line on stderr and an exit code; `--debug` adds the traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the arguments for `again`."""
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Exit codes: the error's own, 130 after Ctrl-C, 1 for anything unexpected."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise  # click's own; it also ends quietly on a closed pipe
        except KeyboardInterrupt:
            say("stopped")
            ctx.exit(INTERRUPTED)
        except VitdsiError as error:
            _fail(ctx, _one_line(error), error.exit_code)
        except Exception as error:
            _fail(ctx, f"{type(error).__name__}: {_one_line(error)}; run again with --debug", 1)


def _fail(ctx: click.Context, message: str, code: int) -> None:
    if ctx.meta.get(_DEBUG):
        traceback.print_exc()
    say(f"error: {message}")
    ctx.exit(code)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


def again(ctx: click.Context, *, extra: str) -> list[str]:
    """The arguments that this command was given, with `extra` once, at the end."""
    return [text for text in ctx.meta[_ARGUMENTS] if text != extra] + [extra]


def say(text: str) -> None:
    """A line on stderr; names that are no UTF-8 are written with replacement characters."""
    click.echo(click.format_filename(text), err=True)


def debug_option(verb: _Verb) -> _Verb:
    """`--debug`, before or after the verb."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[_DEBUG] = True

    option = click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember, help="Show the traceback of an error."
    )
    return option(verb)


def print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Callback of `--version`."""
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("vitdsi")
        except PackageNotFoundError:
            number = "(not installed)"
        click.echo(f"vitdsi {number}")
        ctx.exit()


def check_output(out: Path, *, replace: bool) -> None:
    """Find what would keep an index from being written to `out`, before hours are spent on it.

    Raises:
        UsageError: `out` exists and `replace` is false or it is no index; or it cannot be created.
    """
    if out.suffix != ".dsi":
        say(f"note: the name of an index usually ends with .dsi; this one is {out}")
    if out.exists() or out.is_symlink():
        if not (out / "index.json").is_file():
            raise UsageError(f"{out}: exists and is no index, so it is left alone; choose another name")
        if not replace:
            raise UsageError(f"{out}: exists; --force replaces it, or choose another name")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be created ({error.strerror}); choose another place") from error
    check_writable(out.parent / f"{out.name}.json")


def check_writable(path: Path) -> None:
    """UsageError where no file `path` can be written."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; create it, or choose another place")
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise UsageError(f"{path}: cannot be written; choose another place")


def named_lines(file: str) -> list[str]:
    """The lines of a text file, or of stdin where `file` is -, without the empty ones.

    UTF-8 as editors write it; names of files that are no UTF-8 stay what Python makes of them. UsageError where it
    cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}); give a text file, or - for stdin"
        ) from error
    lines = content.decode("utf-8-sig", "surrogateescape").split("\n")
    return [line.rstrip("\r") for line in lines if line.strip()]


def refuse(skipped: Sequence[ImageReadError]) -> NoReturn:
    """What --strict does about files that cannot be read: name them, and raise VitdsiError."""
    from vitdsi.terminal import problems

    for line in problems(skipped):
        say(line)
    raise VitdsiError(f"unreadable files: {len(skipped)}; repair or remove them, or leave out --strict")
