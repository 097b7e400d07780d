"""A page that searches a folder of photos without a server.

    python examples/web_demo.py [OUT] [PHOTOS]
    python -m http.server -d OUT/web

Indexes PHOTOS, or the crops of demo_collection.py if none are given, and writes the page to OUT/web (OUT is
demo-output by default). ONNX Runtime for browsers is downloaded from the npm registry.
"""

from __future__ import annotations

import sys
from pathlib import Path

from demo_collection import build_collection

from vitdsi import ImageIndex
from vitdsi.exported.manifest import read_manifest


def main(out: Path, photos: Path | None = None, onnxruntime: Path | None = None) -> None:
    """Index the photos if that was not done before, and write the page."""
    photos = photos or build_collection(out / "photos").images
    saved = out / "photos.dsi"
    if not saved.exists():
        ImageIndex().fit(photos).save(saved)
    index = ImageIndex.load(saved, device="cpu")
    page = index.export_web(out / "web", images=photos, onnxruntime=onnxruntime)
    loaded = sum(about["bytes"] for about in read_manifest(page)["files"].values())
    print(f"{len(index.image_ids_)} photos; a browser loads {loaded / 1e6:.0f} MB before its first search")
    print(f"try it: python -m http.server -d {page}")


if __name__ == "__main__":
    main(*(Path(argument) for argument in (sys.argv[1:] or ["demo-output"])[:2]))
