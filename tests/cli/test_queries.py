from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers_cli import lines, one_error_line, run


class TestMoreLike:
    def test_id_finds_others_without_a_file(self, dsi: Path, photos: Path) -> None:
        result = run("search", dsi, "--id", "round/03.png", "--id", "square/04.png", "-k", 3)
        assert (result.exit_code, result.stderr) == (0, "")
        found = lines(result)
        assert [line["query"] for line in found] == ["round/03.png"] * 3 + ["square/04.png"] * 3
        of_file = lines(run("search", dsi, photos / "round" / "03.png", "-k", 4))
        assert [line["image_id"] for line in found[:3]] == [line["image_id"] for line in of_file[1:]]

    def test_ids_come_before_files_and_can_be_shown_on_a_sheet(
        self, dsi: Path, photos: Path, tmp_path: Path
    ) -> None:
        query, sheet = photos / "round" / "01.png", tmp_path / "sheet.html"
        result = run(
            "search", dsi, query, "--id", "round/03.png", "-k", 1, "--sheet", sheet, "--images", photos
        )
        assert [line["query"] for line in lines(result)] == ["round/03.png", str(query)]
        assert sheet.read_text("utf-8").count("<img") == 4

    def test_unknown_id_is_an_error(self, dsi: Path) -> None:
        one_error_line(run("search", dsi, "--id", "nowhere.png"), 2, "'nowhere.png' is not in the index")

    def test_nothing_to_search_for_is_an_error(self, dsi: Path) -> None:
        one_error_line(run("search", dsi), 2, "--id IMAGE_ID or --watch DIR")


class TestWatch:
    def test_each_photo_that_appears_is_searched_until_ctrl_c(
        self, dsi: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "scans"
        folder.mkdir()
        shutil.copy(photos / "round" / "01.png", folder / "there before.png")
        steps = iter(
            [
                lambda: shutil.copy(photos / "square" / "04.png", folder / "new.png"),
                lambda: (folder / "bad.png").write_bytes(b"no image"),
                lambda: None,
            ]
        )

        def sleep(_: float) -> None:
            step = next(steps, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        monkeypatch.setattr("vitdsi.photos.watch.arriving.__kwdefaults__", {"sleep": sleep})
        result = run("search", dsi, "--watch", folder, "-k", 1)
        assert [line["image_id"] for line in lines(result)] == ["square/04.png"]
        assert lines(result)[0]["query"] == str(folder / "new.png")
        skipped, stopped = result.stderr.splitlines()
        assert skipped.startswith(f"skipped {folder / 'bad.png'}: not an image")
        assert (stopped, result.exit_code) == ("stopped", 130)

    def test_watch_with_a_sheet_or_without_its_folder_is_an_error(self, dsi: Path, tmp_path: Path) -> None:
        sheet = run("search", dsi, "--watch", tmp_path, "--sheet", tmp_path / "a.html", "--images", tmp_path)
        one_error_line(sheet, 2, "--watch has none")
        one_error_line(run("search", dsi, "--watch", tmp_path / "nowhere"), 2, "no such folder")
