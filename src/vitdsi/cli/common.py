"""Shared parts of all verbs: exit codes, `--debug`, `--version`, and checks of output paths."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from vitdsi.errors import UnreadableImagesError, UsageError, VitdsiError

__all__ = [
    "BACKBONE_OPTION",
    "FILE",
    "INDEX_ARGUMENT",
    "INTERRUPTED",
    "WORKERS_OPTION",
    "Verbs",
    "again",
    "check_output",
    "check_writable",
    "debug_option",
    "listing_unreadable",
    "named_lines",
    "print_version",
    "say",
]


def _workers(_: click.Context, option: click.Parameter, value: str) -> int | None:
    """Turn the value of `--workers` into a number, None for auto."""
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither auto nor a number of at least 1", param=option)
    return int(value)


INTERRUPTED = 130  # the exit code after Ctrl-C
FILE = click.Path(path_type=Path)
INDEX_ARGUMENT = click.argument("index", type=FILE, metavar="INDEX.dsi")
BACKBONE_OPTION = click.option(
    "--backbone",
    metavar="NAME|DIR",
    help="Where the weights of the index's backbone are now, if not where they were at the build.",
)
WORKERS_OPTION = click.option(
    "--workers",
    callback=_workers,
    metavar="N|auto",
    default="auto",
    help="Processes that read photos, which meet in the feature cache; auto is one a GPU or one a core, for a thousand"
    " photos or more [auto].",
)
_FORMER_OPTIONS = {"--keep-tokens": "--keep-features", "--drop-tokens": "--drop-features"}
_DEBUG = "vitdsi.debug"
_ARGUMENTS = "vitdsi.arguments"
_Verb = TypeVar("_Verb", bound=Callable[..., Any])


class Verbs(click.Group):
    """A group of verbs that turns exceptions into one line on stderr and an exit code.

    `--debug` also prints the traceback.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Translate former names of options, and remember the arguments for `again`."""
        for former in [text for text in args if text in _FORMER_OPTIONS]:
            say(f"note: {former} is now called {_FORMER_OPTIONS[former]}")
        args = [_FORMER_OPTIONS.get(text, text) for text in args]
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are used, instead of alphabetically."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Exit codes: the error's own, 130 after Ctrl-C, 1 for anything unexpected.

        A FutureWarning, for example about a renamed setting, becomes a note on stderr.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", FutureWarning)
                warnings.showwarning = _noting(warnings.showwarning)
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise  # click handles these, and ends quietly on a closed pipe
        except KeyboardInterrupt:
            say("stopped")
            ctx.exit(INTERRUPTED)
        except VitdsiError as error:
            _fail(ctx, _one_line(error), error.exit_code)
        except Exception as error:
            _fail(ctx, f"{type(error).__name__}: {_one_line(error)}; run again with --debug", 1)


def _noting(show: Callable[..., None]) -> Callable[..., None]:
    """Return a `warnings.showwarning` that prints a FutureWarning as a note, and leaves other warnings to `show`."""

    def note(message: Warning | str, category: type[Warning], *position: Any, **more: Any) -> None:
        if issubclass(category, FutureWarning):
            say(f"note: {message}")
        else:
            show(message, category, *position, **more)

    return note


def _fail(ctx: click.Context, message: str, code: int) -> None:
    if ctx.meta.get(_DEBUG):
        traceback.print_exc()
    say(f"error: {message}")
    ctx.exit(code)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


def again(ctx: click.Context, *, extra: str) -> list[str]:
    """Return the arguments of this command, with `extra` at the end."""
    return [text for text in ctx.meta[_ARGUMENTS] if text != extra] + [extra]


def say(text: str) -> None:
    """Print a line on stderr, with replacement characters for bytes that are not UTF-8."""
    click.echo(click.format_filename(text), err=True)


def debug_option(verb: _Verb) -> _Verb:
    """Add `--debug`, which may be given before or after the verb."""

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
    """Check that an index can be written to `out`, before any work is done.

    Raises:
        UsageError: `out` cannot be created, exists and is not an index, or exists and `replace` is false.
    """
    if out.suffix != ".dsi":
        say(f"note: the name of an index usually ends with .dsi; this one is {out}")
    if out.exists() or out.is_symlink():
        if not (out / "index.json").is_file():
            raise UsageError(f"{out}: exists and is not an index, so it is not replaced; choose another name")
        if not replace:
            raise UsageError(f"{out}: exists; --force replaces it, or choose another name")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be created ({error.strerror}); choose another place") from error
    check_writable(out.parent / f"{out.name}.json")


def check_writable(path: Path) -> None:
    """Raise UsageError if no file can be written at `path`."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; create it, or choose another place")
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise UsageError(f"{path}: cannot be written; choose another place")


def named_lines(file: str) -> list[str]:
    """Read the lines of a text file that are not empty; `-` reads stdin.

    The encoding is UTF-8 with an optional byte order mark. Other bytes become surrogates, as in file names. Raises
    UsageError if the file cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}); give a text file, or - for stdin"
        ) from error
    lines = content.decode("utf-8-sig", "surrogateescape").split("\n")
    return [line.rstrip("\r") for line in lines if line.strip()]


@contextlib.contextmanager
def listing_unreadable() -> Iterator[None]:
    """List the unreadable files on stderr if `--strict` makes them an error."""
    from vitdsi.cli.terminal import problems

    try:
        yield
    except UnreadableImagesError as error:
        for line in problems(error.errors):
            say(line)
        raise
