from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers_images import encoded, photo
from helpers_ray import three_nodes

from vitdsi import ImageIndex, load_config
from vitdsi.collection.shards import write_shards

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
_PORT = 18411


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    """An index of forty photos, whose pixels the model reads."""
    settings = [
        "model.stem=pixels",
        "model.paper.image_size=16",
        "model.paper.patch_size=8",
        "model.embed_dim=32",
        "ids.scheme=random",
        "ids.base=8",
        "training.max_epochs=10",
        "training.batch_size=16",
        "device=cpu",
        "keypoints=20",
    ]
    photos = [photo(48, 40, seed) for seed in range(40)]
    return ImageIndex(load_config(overrides=settings)).fit(photos)


def _ask(image: bytes, seconds: float = 240, **options: Any) -> httpx.Response:
    """Search, again while the server starts or a part of it does."""
    end = time.monotonic() + seconds
    while True:
        try:
            response = httpx.post(
                f"http://127.0.0.1:{_PORT}/v1/search",
                params=options,
                content=image,
                headers={"Authorization": "Bearer secret"},
                timeout=120,
            )
            if response.status_code < 500 or time.monotonic() > end:
                return response
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
        time.sleep(0.5)


def test_shards_answer_as_the_whole_index_also_after_a_node_ended(index: ImageIndex, tmp_path: Path) -> None:
    write_shards(index.state_, tmp_path / "shards", 2)
    images = [encoded(photo(48, 40, seed), "PNG") for seed in (3, 17, 30)]
    expected = [[result.image_id for result in index.search(image, 5)] for image in images]
    with three_nodes() as cluster:
        from ray import serve

        from vitdsi.serving.ray_app import sharded_app

        serve.start(http_options={"host": "127.0.0.1", "port": _PORT})
        serve.run(sharded_app(tmp_path / "shards", token="secret"), name="vitdsi")
        before = [_ask(image, k=5).json() for image in images]
        for node in list(cluster.worker_nodes)[:1]:
            cluster.remove_node(node, allow_graceful=False)
        after = [_ask(image, k=5).json() for image in images]
        broken = _ask(b"no image")
        refused = httpx.post(f"http://127.0.0.1:{_PORT}/v1/search", content=images[0], timeout=60)
        serve.shutdown()
    for answers in (before, after):
        assert [[result["image_id"] for result in answer["results"]] for answer in answers] == expected
    for one, two in zip(before, after, strict=True):
        assert one["results"] == two["results"]
    assert (broken.status_code, refused.status_code) == (422, 401)
