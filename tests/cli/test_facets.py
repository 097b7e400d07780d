from __future__ import annotations

from pathlib import Path

from helpers_cli import lines, one_error_line, run


def test_values_are_json_lines_with_counts(described: Path) -> None:
    result = run("facets", described, "--by", "album, stars")
    assert lines(result) == [
        {"column": "album", "values": [["sea", 2], ["the, hills", 1]], "distinct": 2, "missing": 3},
        {"column": "stars", "values": [[3, 1], [5, 1]], "distinct": 2, "missing": 4},
    ]
    assert result.stderr == "images: 6\n"


def test_filter_and_limit_restrict_what_is_counted_and_shown(described: Path) -> None:
    result = run("facets", described, "--by", "album", "--where", "width < 80", "--limit", 1, "--plain")
    assert result.stdout.splitlines() == [
        "album",
        "        2  sea",
        "           and 1 more values",
        "        1  (no value)",
    ]
    assert result.stderr == "images: 4\n"


def test_all_columns_are_counted_by_default(described: Path) -> None:
    columns = [line["column"] for line in lines(run("facets", described))]
    assert {"width", "format", "camera", "year", "album", "stars"} <= set(columns)


def test_unknown_column_is_an_error(described: Path) -> None:
    one_error_line(run("facets", described, "--by", "lens"), 2, "unknown column 'lens'", "album")
