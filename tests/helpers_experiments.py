"""Tiny data sets and short training, shared by the tests of the experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitdsi.paper.cells import CellStore
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.samples import read_dataset

SIZE = 40
SHORT = (
    "model.embed_dim=16",
    "model.mlp_dim=16",
    "model.depth=1",
    "model.decoder_depth=1",
    "model.num_heads=2",
    "training.max_epochs=20",
    "training.paper.retrieval_epochs=1",
    "training.evaluate_every=10",
    "ours.training.evaluate_every=10",
)


def mosaic(seed: int, side: int = 32) -> Image.Image:
    """Blocks of random colours, with enough corners for SIFT."""
    blocks = np.random.default_rng(seed).integers(0, 256, size=(side // 4, side // 4, 3), dtype=np.uint8)
    return Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), dtype=np.uint8)))


OPTIONS = Options(
    sizes=(SIZE,),
    schemes=("random",),
    methods=("zero-shot", "fine-tuned", "ours", "chance"),
    image_size=32,
    bovw_size=32,
    overrides=SHORT,
)


def runner(photos: Path, out: Path, options: Options = OPTIONS, say: Any = lambda line: None) -> Runner:
    return Runner(read_dataset(photos), options, CellStore(out), say=say)


def class_folders(root: Path, classes: str = "ab", each: int = SIZE // 2) -> Path:
    """Write `each` photos to a folder for each class."""
    for place, label in enumerate(classes):
        (root / label).mkdir(parents=True)
        for i in range(each):
            mosaic(1000 * place + i).save(root / label / f"{i:02}.png")
    return root


def coco(root: Path, objects: list[dict[str, float]]) -> tuple[Path, Path]:
    """Write photos with these objects (category -> area); return their folder and the instances file."""
    (root / "images").mkdir(parents=True)
    names = sorted({name for shown in objects for name in shown})
    annotations: list[dict[str, Any]] = []
    for i, shown in enumerate(objects):
        mosaic(i, 8).save(root / "images" / f"{i:02}.png")
        for name, area in shown.items():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": names.index(name),
                    "area": area,
                    "bbox": [0, 0, 1, area],
                    "iscrowd": 0,
                }
            )
    content = {
        "images": [{"id": i, "file_name": f"{i:02}.png"} for i in range(len(objects))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": annotations,
    }
    (root / "instances.json").write_text(json.dumps(content))
    return root / "images", root / "instances.json"
