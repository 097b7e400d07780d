from __future__ import annotations

from pathlib import Path

from helpers_cli import lines, one_error_line, run


def test_image_ids_are_lines_and_the_total_is_said(described: Path) -> None:
    result = run("list", described, "--offset", 1, "--limit", 2)
    assert (result.exit_code, result.stdout) == (0, "1.jpg\n2.jpg\n")
    assert result.stderr == "images: 2 to 3 of 6\n"


def test_filter_and_json_show_the_facts(described: Path) -> None:
    result = run("list", described, "--where", 'album = "sea"', "--json")
    found = lines(result)
    assert [line["image_id"] for line in found] == ["0.jpg", "1.jpg"]
    assert found[0]["facts"]["stars"] == 3 and found[0]["label"] is None
    assert result.stderr == "images: 1 to 2 of 2\n"


def test_page_after_the_end_is_empty_but_says_the_total(described: Path) -> None:
    result = run("list", described, "--offset", 6)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "images: none of 6\n")


def test_wrong_condition_is_an_error(described: Path) -> None:
    one_error_line(run("list", described, "--where", "album = 3"), 2, "the column holds text")
