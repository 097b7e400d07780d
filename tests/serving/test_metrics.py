"""Metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from helpers_serving import client
from prometheus_client.parser import text_string_to_metric_families

from vitdsi.serving.metrics import resident_bytes


def test_requests_are_counted_by_route_and_not_by_path(dsi: Path) -> None:
    with client(dsi) as opened:
        for path in ("/v1/images/0", "/v1/images/1", "/v1/images/nothing", "/wrong", "/thumb/0"):
            opened.get(path)
        text = opened.get("/metrics").text
    samples = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "vitdsi_requests_total"
    }
    assert samples == {
        ("/v1/images/{image_id:path}", "200"): 2,
        ("/v1/images/{image_id:path}", "404"): 1,
        ("other", "404"): 1,
        ("/thumb/{number}", "200"): 1,
    }


def test_gauges_describe_the_server(dsi: Path, photo: bytes) -> None:
    with client(dsi) as opened:
        opened.post("/v1/search", content=photo, headers={"content-type": "image/png"})
        text = opened.get("/metrics").text
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["vitdsi_images"] == 12
    assert values["vitdsi_generation"] == 1
    assert values["vitdsi_searches"] == values["vitdsi_queue_length"] == 0
    assert values["vitdsi_batch_size_count"] == 1
    assert values["vitdsi_memory_bytes"] > 1e7


def test_memory_is_that_of_the_process() -> None:
    assert resident_bytes() > 1e7
