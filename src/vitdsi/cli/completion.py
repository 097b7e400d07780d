"""`vitdsi completion`: print the script that completes commands in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vitdsi.cli.common import debug_option


@click.command("completion", short_help="Print the script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def completion_verb(ctx: click.Context, shell: str) -> None:
    """Print the script that completes verbs, options and files in SHELL: bash, zsh or fish.

    \b
    Examples:
      vitdsi completion bash > ~/.local/share/bash-completion/completions/vitdsi
      vitdsi completion zsh > ~/.zfunc/_vitdsi
      vitdsi completion fish > ~/.config/fish/completions/vitdsi.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    # The variable that click looks for when the shell asks for completions of `vitdsi`.
    click.echo(made(ctx.find_root().command, {}, "vitdsi", "_VITDSI_COMPLETE").source())
