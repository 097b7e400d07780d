from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_cli import COUNT, content, lines, live, one_error_line, run

from vitdsi.index import ImageIndex

New = Callable[..., Path]


def test_images_are_removed_by_image_id_and_by_number(copied: Path, photos: Path) -> None:
    names = ImageIndex.load(copied).image_ids_
    result = run("remove", copied, names[3], 5, names[3])
    assert result.exit_code == 0
    assert lines(result) == [{"index": str(copied), "removed": 2, "images": COUNT - 2}]
    assert result.stderr == f"removed 2 of {COUNT} images from {copied}\n"
    found = lines(run("search", copied, photos, "-k", 100))
    assert {line["image_id"] for line in found} == set(names) - {names[3], names[5]}
    assert len(found) == COUNT * (COUNT - 2)


def test_names_are_read_from_a_file_and_from_stdin(copied: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.txt"
    gone.write_bytes(b"round/01.png\r\n\r\n6")
    assert lines(run("remove", copied, "--from-file", gone))[0]["removed"] == 2
    piped = run("remove", copied, "round/05.png", "--from-file", "-", stdin=b"round/03.png\nround/07.png\n")
    assert lines(piped)[0] == {"index": str(copied), "removed": 3, "images": COUNT - 5}
    assert not {"round/01.png", "round/03.png", "round/05.png", "round/07.png", "square/00.png"} & set(
        live(copied)
    )


@pytest.mark.parametrize("name", ["two words .png", " für 子.png", "-k.png", "a\nb.png", "end.png\n"])
def test_image_of_any_file_name_can_be_removed(copied: Path, new: New, name: str) -> None:
    folder = new(name)
    assert lines(run("add", copied, folder / name))[0]["added"] == 1
    assert lines(run("remove", copied, "--", name))[0] == {
        "index": str(copied),
        "removed": 1,
        "images": COUNT,
    }
    assert name not in live(copied)


def test_names_in_a_file_keep_their_spaces(copied: Path, new: New, tmp_path: Path) -> None:
    assert lines(run("add", copied, new(" für 子.png", "a .png")))[0]["added"] == 2
    gone = tmp_path / "gone.txt"
    gone.write_text("\ufeff für 子.png\n", "utf-8")
    assert lines(run("remove", copied, "--from-file", gone))[0]["removed"] == 1
    assert live(copied)[COUNT:] == ["a .png"]


def test_number_is_read_as_an_image_id_if_there_is_one(copied: Path, new: New) -> None:
    folder = new("7")
    assert lines(run("add", copied, folder / "7"))[0]["added"] == 1
    kept = ImageIndex.load(copied).image_ids_[7]
    assert lines(run("remove", copied, "7"))[0]["removed"] == 1
    assert live(copied)[7] == kept and "7" not in live(copied)
    assert (
        lines(run("remove", copied, "7"))[0]["removed"] == 1
    )  # no image has this image_id any more, so it is the number
    assert kept not in live(copied)


def test_wrong_arguments_are_refused_and_change_nothing(copied: Path, tmp_path: Path) -> None:
    before = content(copied)
    one_error_line(
        run("remove", copied, "round/01.png", "nobody.png"),
        2,
        "'nobody.png'",
        "give image_ids or ids of these",
    )
    one_error_line(run("remove", copied, COUNT), 2, f"'{COUNT}'", f"has {COUNT} images")
    one_error_line(run("remove", copied, "--", "-1"), 2, "'-1'")
    one_error_line(run("remove", copied), 2, "no image was named", "--from-file")
    one_error_line(run("remove", copied, "--from-file", "-", stdin=b"\n"), 2, "no image was named")
    one_error_line(
        run("remove", copied, "--from-file", tmp_path / "none.txt"), 2, "none.txt", "cannot be read"
    )
    assert content(copied) == before


def test_removing_a_removed_image_is_refused(copied: Path) -> None:
    assert run("remove", copied, "round/01.png").exit_code == 0
    one_error_line(run("remove", copied, "round/01.png"), 2, "round/01.png", f"has {COUNT - 1} images")


def test_index_whose_images_were_all_removed_can_be_searched_and_grown(
    copied: Path, photos: Path, new: New
) -> None:
    query = photos / "round" / "01.png"
    assert lines(run("remove", copied, *range(COUNT)))[0]["images"] == 0
    result = run("search", copied, query)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"note: nothing can be found in {copied}: its images were all removed\n"
    assert lines(run("duplicates", copied)) == []
    assert json.loads(run("info", copied, "--json").stdout)["images"] == 0
    one_error_line(run("compact", copied), 2, "every image was removed")
    assert lines(run("add", copied, new("a.png", "b.png")))[0]["images"] == 2
    assert [line["image_id"] for line in lines(run("search", copied, query))] in (
        ["a.png", "b.png"],
        ["b.png", "a.png"],
    )
