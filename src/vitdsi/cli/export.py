"""`vitdsi export`: an index as ONNX graphs and flat arrays, which are searched without torch."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import BACKBONE_OPTION, FILE, INDEX_ARGUMENT, debug_option


@click.command("export", short_help="Write an index for searches without torch.")
@INDEX_ARGUMENT
@click.option(
    "-o", "--out", type=FILE, metavar="DIR", help="The folder to write [onnx, inside of the index]."
)
@BACKBONE_OPTION
@debug_option
def export_verb(index: Path, out: Path | None, backbone: str | None) -> None:
    """Write INDEX.dsi as ONNX graphs, flat arrays and a manifest, which are searched without torch.

    Without -o the export is a part of the index, and `vitdsi search` answers with it several times sooner, as long as
    the index is not changed. With -o it can be carried elsewhere: it needs neither the index nor torch.

    Prints one JSON line with the folder, the number of images, and the size in bytes.

    \b
    Examples:
      vitdsi export photos.dsi
      vitdsi export photos.dsi -o photos.web
    """
    from vitdsi.exported.manifest import read_manifest
    from vitdsi.index import ImageIndex

    folder = ImageIndex.load(index, device="cpu", backbone=backbone).export_onnx(out)
    manifest = read_manifest(folder)
    click.echo(
        json.dumps(
            {
                "index": str(index),
                "export": str(folder),
                "images": manifest["images"],
                "bytes": sum(about["bytes"] for about in manifest["files"].values()),
            }
        )
    )
