"""`vitdsi push`: share an index on the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, say


@click.command("push", short_help="Share an index on the Hugging Face hub.")
@INDEX_ARGUMENT
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Let everybody see the repository [only you can].")
@click.option(
    "--include",
    multiple=True,
    type=click.Choice(["features", "keypoints", "thumbnails", "metadata", "hashes"]),
    help="Share this as well; may be repeated [nothing of it].",
)
@click.option("--no-names", is_flag=True, help="Number images and classes, instead of sharing their names.")
@click.option("--license", metavar="ID", help="Licence of the index, such as cc-by-4.0.")
@debug_option
def push_verb(
    index: Path, repo: str, public: bool, include: tuple[str, ...], no_names: bool, license: str | None
) -> None:
    """Share INDEX.dsi as the repository OWNER/NAME of the Hugging Face hub, with a model card.

    The image files are never shared. What is, and what is left out, is listed on stderr. The repository is private
    unless --public is given. Log in with `hf auth login`, or set HF_TOKEN.

    Prints one JSON line with the address of the commit.

    \b
    Examples:
      vitdsi push photos.dsi me/photos
      vitdsi push photos.dsi me/photos --public --no-names --license cc-by-4.0
    """
    from vitdsi.export.sharable import Sharing
    from vitdsi.index import ImageIndex

    opened = ImageIndex.load(index)
    sharing = Sharing(include, not no_names)
    for line in sharing.shared():
        say(f"shared: {line}")
    for line in sharing.left_out():
        say(f"left out: {line}")
    address = opened.push_to_hub(
        repo, private=not public, include=include, names=not no_names, license=license
    )
    click.echo(
        json.dumps({"index": str(index), "repository": repo, "private": not public, "commit": address})
    )
