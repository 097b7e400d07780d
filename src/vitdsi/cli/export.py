"""`vitdsi export`: an index as ONNX graphs and flat arrays, which are searched without torch."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import BACKBONE_OPTION, FILE, INDEX_ARGUMENT, debug_option
from vitdsi.errors import UsageError


@click.command("export", short_help="Write an index for searches without torch.")
@INDEX_ARGUMENT
@click.option(
    "-o", "--out", type=FILE, metavar="DIR", help="The folder to write [onnx, inside of the index]."
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    help="How weights are stored [float32; with --web: float16]. int8 needs --images.",
)
@click.option(
    "--web", is_flag=True, help="Write a page as well, which searches in a browser without a server."
)
@click.option(
    "--images",
    type=FILE,
    metavar="DIR",
    help="The folder that was indexed: to show its photos with --web, and to calibrate int8.",
)
@click.option(
    "--onnxruntime-web",
    "runtime",
    type=FILE,
    metavar="DIR",
    help="With --web: the npm package onnxruntime-web, unpacked [downloaded].",
)
@BACKBONE_OPTION
@debug_option
def export_verb(
    index: Path,
    out: Path | None,
    precision: str | None,
    web: bool,
    images: Path | None,
    runtime: Path | None,
    backbone: str | None,
) -> None:
    """Write INDEX.dsi as ONNX graphs, flat arrays and a manifest, which are searched without torch.

    Without -o the export is a part of the index, and `vitdsi search` answers with it several times sooner, as long as
    the index is not changed. With -o it can be carried elsewhere: it needs neither the index nor torch.

    With --web it has a page as well. Put the folder on any host of static files, and whoever opens it searches in the
    browser; photos that are searched for are not sent anywhere.

    Prints one JSON line with the folder, the number of images, and the size in bytes.

    \b
    Examples:
      vitdsi export photos.dsi
      vitdsi export photos.dsi -o photos.web
      vitdsi export photos.dsi -o photos.web --web --images photos/
      vitdsi export photos.dsi -o photos.web --web --images photos/ --precision int8
    """
    if web and out is None:
        raise UsageError("--web needs a folder to write; give -o DIR")
    if not web and runtime:
        raise UsageError("--onnxruntime-web is for the page; give --web as well")
    if not web and images and precision != "int8":
        raise UsageError("--images is for the page and for int8; give --web or --precision int8 as well")
    from vitdsi.exported.manifest import read_manifest
    from vitdsi.index import ImageIndex

    opened = ImageIndex.load(index, device="cpu", backbone=backbone)
    if web and out is not None:
        folder = opened.export_web(out, images=images, onnxruntime=runtime, precision=precision or "float16")
    else:
        folder = opened.export_onnx(out, precision=precision or "float32", images=images)
    manifest = read_manifest(folder)
    click.echo(
        json.dumps(
            {
                "index": str(index),
                "export": str(folder),
                "images": manifest["images"],
                "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            }
        )
    )
