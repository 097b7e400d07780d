"""`vitdsi info`: summarise an index."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, say


@click.command("info", short_help="Summarise an index.")
@INDEX_ARGUMENT
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of readable text.")
@click.option("--verify", is_flag=True, help="First compare all bytes of the index with their checksums.")
@debug_option
def info_verb(index: Path, as_json: bool, verify: bool) -> None:
    """Summarise INDEX.dsi: its size, ids, settings, last changes and the report of its build.

    \b
    Examples:
      vitdsi info photos.dsi
      vitdsi info photos.dsi --json | jq .bytes
      vitdsi info photos.dsi --verify
    """
    from vitdsi.cli.terminal import plain_facts
    from vitdsi.index import ImageIndex

    if verify:
        _verify(index)
    facts = ImageIndex.load(index).info()
    click.echo(json.dumps(facts, indent=2) if as_json else plain_facts(facts))


def _verify(index: Path) -> None:
    from vitdsi.collection.storage import check_files

    if unknown := check_files(index):
        say(f"note: an earlier version wrote {len(unknown)} of the files, which have no checksums")
    else:
        say("every byte is as it was written")
