"""add, remove, compact and duplicates: what they print, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from helpers_cli import COUNT, index, lines, one_error_line, run
from helpers_images import photo

from vitdsi.index import ImageIndex

New = Callable[..., Path]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of an index but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def live(dsi: Path) -> list[str]:
    opened = ImageIndex.load(dsi)
    return [opened.image_ids_[i] for i in opened.trie_.live_ids().tolist()]


@pytest.fixture
def new(tmp_path: Path) -> New:
    """Write photos that the index does not hold: `new("a.png", "b/c.png")`."""

    def write(*names: str, folder: str = "new", seed: int = 100) -> Path:
        for i, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            photo(seed=seed + i).save(path, "PNG")
        return tmp_path / folder

    return write


class TestAdd:
    def test_prints_one_json_line(self, copied: Path, new: New) -> None:
        before = json.loads(run("info", copied, "--json").stdout)
        folder = new("a.png", "b/c.png")
        result = run("add", copied, folder)
        assert result.exit_code == 0, result.stderr
        (summary,) = lines(result)
        assert list(summary) == ["index", "added", "replaced", "unchanged", "skipped", "images", "seconds"]
        assert (summary["index"], summary["added"], summary["images"]) == (str(copied), 2, COUNT + 2)
        assert (summary["replaced"], summary["unchanged"], summary["skipped"]) == (0, 0, 0)
        assert summary["seconds"] > 0
        assert result.stderr.splitlines()[-1] == f"added 2 images to the {COUNT} of {copied}"
        after = json.loads(run("info", copied, "--json").stdout)
        assert after["images"] == COUNT + 2
        assert after["capacity_left"] == before["capacity_left"] - 2
        assert [(change["verb"], change["images"]) for change in after["changes"]] == [("add", 2)]
        plain = run("info", copied).stdout
        assert "changes.1" in plain and "verb add, images 2, time 20" in plain

    def test_new_images_are_found_and_old_ones_keep_their_ids(
        self, copied: Path, photos: Path, new: New
    ) -> None:
        query = photos / "round" / "03.png"
        before = lines(run("search", copied, query, "-k", COUNT))
        assert run("add", copied, new("a.png", "b/c.png")).exit_code == 0
        after = lines(run("search", copied, query, "-k", 100))
        assert len(after) == COUNT + 2
        numbers = {line["image_id"]: line["id"] for line in after}
        assert {line["image_id"]: line["id"] for line in before}.items() <= numbers.items()
        assert (numbers["a.png"], numbers["b/c.png"]) == (COUNT, COUNT + 1)

    def test_a_folder_that_has_grown(self, copied: Path, photos: Path, tmp_path: Path) -> None:
        grown = Path(shutil.copytree(photos, tmp_path / "grown"))
        photo(seed=100).save(grown / "round" / "new.png")
        result = run("add", copied, grown)
        (summary,) = lines(result)
        assert (summary["added"], summary["unchanged"], summary["images"]) == (1, COUNT, COUNT + 1)
        assert result.stderr.splitlines()[-1].endswith(f"; {COUNT} were there already")
        assert live(copied)[COUNT:] == ["round/new.png"]
        (again,) = lines(run("add", copied, grown))
        assert (again["added"], again["unchanged"], again["images"]) == (0, COUNT + 1, COUNT + 1)

    def test_prefix(self, copied: Path, photos: Path) -> None:
        (summary,) = lines(run("add", copied, photos / "round", "--prefix", "2024/é "))
        assert (summary["added"], summary["images"]) == (COUNT // 2, COUNT + COUNT // 2)
        assert live(copied)[COUNT] == "2024/é 01.png"

    def test_other_content_needs_replace(self, copied: Path, photos: Path, new: New) -> None:
        folder = new("round/01.png", "round/fresh.png")
        before = content(copied)
        refused = run("add", copied, folder)
        assert (refused.exit_code, refused.stdout) == (2, "")
        error = refused.stderr.splitlines()[-1]
        assert error.startswith(
            "error: in the index with another content: 1 image_ids, such as 'round/01.png'"
        )
        assert "--replace" in error and "--prefix" in error
        assert content(copied) == before

        (summary,) = lines(run("add", copied, folder, "--replace"))
        assert (summary["added"], summary["replaced"], summary["images"]) == (2, 1, COUNT + 1)
        found = lines(run("search", copied, folder / "round" / "01.png", "-k", 100))
        assert [line["image_id"] for line in found].count("round/01.png") == 1
        assert {line["id"] for line in found if line["image_id"] == "round/01.png"} == {COUNT}

    def test_bad_files_are_skipped_or_refused(self, copied: Path, new: New) -> None:
        folder = new("a.png", "b.png")
        (folder / "bad.jpg").write_bytes(b"no image")
        before = content(copied)
        strict = run("add", copied, folder, "--strict")
        assert (strict.exit_code, strict.stdout) == (1, "")
        assert "bad.jpg: not an image" in strict.stderr
        assert strict.stderr.splitlines()[-1].startswith("error: unreadable files: 1;")
        assert "loss" not in strict.stderr, "it trained before it refused"
        assert content(copied) == before
        result = run("add", copied, folder)
        (summary,) = lines(result)
        assert (summary["added"], summary["skipped"], summary["unchanged"]) == (2, 1, 0)
        assert "unreadable and skipped: 1\n" in result.stderr

    def test_copies_among_the_new_are_named(self, copied: Path, new: New) -> None:
        folder = new("a.png", "b.png")
        shutil.copy(folder / "a.png", folder / "a again.png")
        result = run("add", copied, folder)
        assert "with the same content as another: 1\n  a again.png = a.png\n" in result.stderr

    def test_metadata(self, copied: Path, new: New, tmp_path: Path) -> None:
        table = tmp_path / "new.csv"
        table.write_text("file,album\na.png,sea\nnowhere.png,hills\n", "utf-8")
        folder = new("a.png", "b.png")
        result = run("add", copied, folder, "--metadata", table)
        assert "in the metadata, but no such image: 1\n  nowhere.png\n" in result.stderr
        found = lines(run("search", copied, folder / "b.png", "--where", 'album = "sea"'))
        assert [line["image_id"] for line in found] == ["a.png"]

    def test_usage_errors(self, copied: Path, photos: Path, new: New, tmp_path: Path) -> None:
        folder, empty, table = new("a.png"), tmp_path / "empty", tmp_path / "odd.csv"
        empty.mkdir()
        table.write_text("colour\nred\n", "utf-8")
        before = content(copied)
        one_error_line(run("add", copied, tmp_path / "none"), 2, "none", "no such file or folder")
        one_error_line(run("add", copied, empty), 2, str(empty), "no images")
        one_error_line(run("add", copied, folder, "--labels", "folder"), 2, "--labels none")
        one_error_line(
            run("add", copied, folder, "--metadata", tmp_path / "none.csv"), 2, "none.csv", "no such file"
        )
        one_error_line(run("add", copied, folder, "--metadata", table), 2, "odd.csv", "colour")
        one_error_line(run("add", copied, folder, "--metadata", folder / "a.png"), 2, "a.png", ".csv")
        assert content(copied) == before
        assert run("add", copied, folder, "--labels", "none").exit_code == 0

    def test_classes_must_fit(self, photos: Path, new: New, tmp_path: Path) -> None:
        dsi = tmp_path / "classes.dsi"
        assert index(photos, dsi, "--labels", "folder", "--epochs", 2).exit_code == 0
        flat = new("a.png", folder="flat")
        before = content(dsi)
        one_error_line(run("add", dsi, flat), 2, "a.png", "class folder")
        one_error_line(run("add", dsi, photos, "--labels", "none"), 2, "--labels folder")
        assert content(dsi) == before
        assert lines(run("add", dsi, new("round/a.png", "oval/b.png"), "--labels", "folder"))[0]["added"] == 2
        assert ImageIndex.load(dsi).labels_ == ["round"] * 6 + ["square"] * 6 + ["oval", "round"]

    @pytest.mark.parametrize("phase", ["reading", "joint"])
    def test_ctrl_c_leaves_the_index_as_it_was(
        self, copied: Path, new: New, interrupt_at: Callable[..., None], phase: str
    ) -> None:
        before = content(copied)
        interrupt_at(lambda now, done: now == phase or (phase == "joint" and now == "cooldown"))
        stopped = run("add", copied, new("a.png", "b.png"))
        assert (stopped.exit_code, stopped.stdout) == (130, "")
        assert stopped.stderr.splitlines()[-1] == "stopped"
        assert content(copied) == before
        interrupt_at(lambda now, done: False)
        assert lines(run("add", copied, new("a.png", "b.png")))[0]["added"] == 2

    def test_without_tokens(self, copied: Path, new: New) -> None:
        assert run("compact", copied, "--drop-tokens").exit_code == 0
        (summary,) = lines(run("add", copied, new("a.png", "b.png")))
        assert (summary["added"], summary["images"]) == (2, COUNT + 2)


class TestRemove:
    def test_by_image_id_and_by_number(self, copied: Path, photos: Path) -> None:
        names = ImageIndex.load(copied).image_ids_
        result = run("remove", copied, names[3], 5, names[3])
        assert result.exit_code == 0
        assert lines(result) == [{"index": str(copied), "removed": 2, "images": COUNT - 2}]
        assert result.stderr == f"removed 2 of {COUNT} images from {copied}\n"
        found = lines(run("search", copied, photos, "-k", 100))
        assert {line["image_id"] for line in found} == set(names) - {names[3], names[5]}
        assert len(found) == COUNT * (COUNT - 2)

    def test_from_a_file_and_from_stdin(self, copied: Path, tmp_path: Path) -> None:
        gone = tmp_path / "gone.txt"
        gone.write_bytes(b"round/01.png\r\n\r\n6")
        assert lines(run("remove", copied, "--from-file", gone))[0]["removed"] == 2
        piped = run(
            "remove", copied, "round/05.png", "--from-file", "-", stdin=b"round/03.png\nround/07.png\n"
        )
        assert lines(piped)[0] == {"index": str(copied), "removed": 3, "images": COUNT - 5}
        assert not {"round/01.png", "round/03.png", "round/05.png", "round/07.png", "square/00.png"} & set(
            live(copied)
        )

    @pytest.mark.parametrize("name", ["two words .png", " für 子.png", "-k.png", "a\nb.png", "end.png\n"])
    def test_any_name(self, copied: Path, new: New, name: str) -> None:
        folder = new(name)
        assert lines(run("add", copied, folder / name))[0]["added"] == 1
        assert lines(run("remove", copied, "--", name))[0] == {
            "index": str(copied),
            "removed": 1,
            "images": COUNT,
        }
        assert name not in live(copied)

    def test_names_in_a_file_keep_their_spaces(self, copied: Path, new: New, tmp_path: Path) -> None:
        assert lines(run("add", copied, new(" für 子.png", "a .png")))[0]["added"] == 2
        gone = tmp_path / "gone.txt"
        gone.write_text("\ufeff für 子.png\n", "utf-8")
        assert lines(run("remove", copied, "--from-file", gone))[0]["removed"] == 1
        assert live(copied)[COUNT:] == ["a .png"]

    def test_an_image_id_comes_before_the_number_that_it_looks_like(self, copied: Path, new: New) -> None:
        folder = new("7")
        assert lines(run("add", copied, folder / "7"))[0]["added"] == 1
        kept = ImageIndex.load(copied).image_ids_[7]
        assert lines(run("remove", copied, "7"))[0]["removed"] == 1
        assert live(copied)[7] == kept and "7" not in live(copied)
        assert lines(run("remove", copied, "7"))[0]["removed"] == 1  # nobody is called so now: the number
        assert kept not in live(copied)

    def test_usage_errors_change_nothing(self, copied: Path, tmp_path: Path) -> None:
        before = content(copied)
        one_error_line(
            run("remove", copied, "round/01.png", "nobody.png"),
            2,
            "'nobody.png'",
            "give image_ids or ids that it has",
        )
        one_error_line(run("remove", copied, COUNT), 2, f"'{COUNT}'", f"holds {COUNT} images")
        one_error_line(run("remove", copied, "--", "-1"), 2, "'-1'")
        one_error_line(run("remove", copied), 2, "no image was named", "--from-file")
        one_error_line(run("remove", copied, "--from-file", "-", stdin=b"\n"), 2, "no image was named")
        one_error_line(
            run("remove", copied, "--from-file", tmp_path / "none.txt"), 2, "none.txt", "cannot be read"
        )
        assert content(copied) == before

    def test_removed_is_removed_only_once(self, copied: Path) -> None:
        assert run("remove", copied, "round/01.png").exit_code == 0
        one_error_line(run("remove", copied, "round/01.png"), 2, "round/01.png", f"holds {COUNT - 1} images")

    def test_the_last_image(self, copied: Path, photos: Path, new: New) -> None:
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


class TestCompact:
    def test_drops_what_was_removed(self, copied: Path, photos: Path) -> None:
        query = photos / "round" / "05.png"
        assert run("remove", copied, "round/01.png", "round/03.png").exit_code == 0
        before, size = lines(run("search", copied, query, "-k", 100)), part_sizes(copied)
        result = run("compact", copied, "--no-retrain")
        assert result.exit_code == 0, result.stderr
        (summary,) = lines(result)
        assert list(summary) == ["index", "images", "dropped", "retrained", "bytes_before", "bytes"]
        assert (summary["index"], summary["images"], summary["dropped"]) == (str(copied), COUNT - 2, 2)
        assert summary["retrained"] is False
        assert summary["bytes_before"] == size > summary["bytes"] == part_sizes(copied)
        assert result.stderr.startswith(
            f"dropped 2 removed images of {copied}; nothing was learned again; 0."
        )
        after = lines(run("search", copied, query, "-k", 100))
        assert [line["image_id"] for line in after] == [line["image_id"] for line in before]
        assert [line["score"] for line in after] == pytest.approx(
            [line["score"] for line in before], abs=1e-5
        )
        assert sorted(line["id"] for line in after) == list(range(COUNT - 2))
        facts = json.loads(run("info", copied, "--json").stdout)
        assert (facts["images"], facts["removed"]) == (COUNT - 2, 0)

    def test_retrain(self, copied: Path, photos: Path) -> None:
        assert run("remove", copied, "round/01.png").exit_code == 0
        result = run("compact", copied, "--retrain")
        (summary,) = lines(result)
        assert (summary["images"], summary["retrained"]) == (COUNT - 1, True)
        assert "indexing accuracy" in result.stderr and "everything was learned again" in result.stderr
        found = lines(run("search", copied, photos / "round" / "05.png", "-k", 100))
        assert found[0]["image_id"] == "round/05.png" and len(found) == COUNT - 1

    def test_by_itself_it_learns_again_when_much_has_changed(self, copied: Path) -> None:
        assert lines(run("compact", copied))[0]["retrained"] is False
        assert run("remove", copied, *range(COUNT // 2)).exit_code == 0
        assert lines(run("compact", copied))[0]["retrained"] is True

    def test_without_tokens(self, copied: Path) -> None:
        (summary,) = lines(run("compact", copied, "--drop-tokens"))
        assert summary["bytes_before"] - summary["bytes"] > COUNT * 3 * 32 * 32
        one_error_line(run("compact", copied, "--retrain"), 2, "tokens were dropped")
        one_error_line(run("duplicates", copied), 2, "keeps no tokens")
        assert lines(run("compact", copied))[0]["retrained"] is False


class TestDuplicates:
    def test_json_lines(self, copies: Path) -> None:
        result = run("duplicates", copies)
        assert result.exit_code == 0
        assert lines(result) == [
            {"group": 1, "image_ids": ["2 again.png", "2 and again.png", "2.png"]},
            {"group": 2, "image_ids": ["0 mirrored.png", "0.png"]},
            {"group": 3, "image_ids": ["1 small.jpg", "1.png"]},
        ]
        assert result.stderr == "groups of near-identical images: 3; images beyond the first of each: 4\n"

    def test_plain(self, copies: Path) -> None:
        shown = run("duplicates", copies, "--plain").stdout
        assert shown.splitlines()[:4] == ["group 1", "  2 again.png", "  2 and again.png", "  2.png"]
        assert shown.splitlines()[4] == "group 2"

    def test_threshold(self, copies: Path) -> None:
        strict = lines(run("duplicates", copies, "--threshold", 1.1999))
        assert [line["image_ids"] for line in strict] == [
            ["2 again.png", "2 and again.png", "2.png"],
            ["0 mirrored.png", "0.png"],
        ]
        everything = lines(run("duplicates", copies, "--threshold", 0))
        assert [len(line["image_ids"]) for line in everything] == [12]
        assert run("duplicates", copies, "--threshold", 1.3).exit_code == 2

    def test_none(self, dsi: Path) -> None:
        result = run("duplicates", dsi, "--threshold", 1.19)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "groups of near-identical images: 0; images beyond the first of each: 0\n"

    def test_removed_ones_are_in_no_group(self, copies: Path, tmp_path: Path) -> None:
        dsi = shutil.copytree(copies, tmp_path / "copied.dsi")
        extra = [name for line in lines(run("duplicates", dsi)) for name in line["image_ids"][1:]]
        assert run("remove", dsi, "--from-file", "-", stdin="\n".join(extra).encode()).exit_code == 0
        assert lines(run("duplicates", dsi)) == []


class TestLock:
    @pytest.mark.parametrize("verb", ["add", "remove", "compact"])
    def test_two_writers(self, copied: Path, new: New, photos: Path, verb: str) -> None:
        arguments = {"add": [new("a.png")], "remove": ["round/01.png"], "compact": []}[verb]
        before = content(copied)
        with FileLock(copied / "lock"):
            one_error_line(
                run(verb, copied, *arguments), 1, str(copied), "is being changed by another process"
            )
            assert (
                len(lines(run("search", copied, photos / "round" / "01.png", "-k", 3))) == 3
            )  # readers go on
        assert content(copied) == before
        assert run(verb, copied, *arguments).exit_code == 0

    @pytest.mark.parametrize("verb", ["add", "remove", "compact"])
    def test_broken_index(self, copied: Path, new: New, verb: str) -> None:
        arguments = {"add": [new("a.png")], "remove": ["round/01.png"], "compact": []}[verb]
        (copied / "trie-000001.safetensors").write_bytes(b"")
        before = content(copied)
        one_error_line(run(verb, copied, *arguments), 1, str(copied), "broken")
        assert content(copied) == before

    def test_relative_and_linked_paths_are_one_index(
        self, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("link.dsi").symlink_to(copied.name)
        for number, path in enumerate([f"./{copied.name}", "link.dsi", copied], start=1):
            assert lines(run("remove", path, number))[0]["images"] == COUNT - number


def part_sizes(dsi: Path) -> int:
    return sum(path.stat().st_size for path in dsi.iterdir() if path.name not in ("lock", "index.json"))
