"""`vitdsi info`: summarise an index."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import INDEX_ARGUMENT, debug_option


@click.command("info", short_help="Summarise an index.")
@INDEX_ARGUMENT
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of readable text.")
@debug_option
def info_verb(index: Path, as_json: bool) -> None:
    """Summarise INDEX.dsi: its size, ids, settings, last changes and the report of its build.

    \b
    Examples:
      vitdsi info photos.dsi
      vitdsi info photos.dsi --json | jq .bytes
    """
    from vitdsi.cli.terminal import plain_facts
    from vitdsi.index import ImageIndex

    facts = ImageIndex.load(index).info()
    click.echo(json.dumps(facts, indent=2) if as_json else plain_facts(facts))
