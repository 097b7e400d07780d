from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers_cli import COUNT, lines, one_error_line, run
from PIL import Image

from vitdsi import ImageIndex


class TestSearch:
    def test_results_are_json_lines_with_descending_scores(self, dsi: Path, photos: Path) -> None:
        query = photos / "round" / "03.png"
        result = run("search", dsi, query, "-k", 4)
        assert (result.exit_code, result.stderr) == (0, "")
        found = lines(result)
        assert [list(line) for line in found] == [
            [
                "query",
                "rank",
                "image_id",
                "score",
                "log_prob",
                "proven",
                "id",
                "region",
                "inliers",
                "certain",
                "outline",
            ]
        ] * 4
        assert [line["rank"] for line in found] == [1, 2, 3, 4]
        assert {line["query"] for line in found} == {str(query)}
        assert found[0]["image_id"] == "round/03.png"
        scores = [float(str(line["score"])) for line in found]
        assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.0001

    def test_k_above_the_size_gives_every_image_once(self, dsi: Path, photos: Path) -> None:
        found = lines(run("search", dsi, photos / "round" / "03.png", "-k", 100))
        assert len(found) == COUNT
        assert sorted(str(line["id"]) for line in found) == sorted(str(i) for i in range(COUNT))

    def test_files_and_folders_are_named_as_given(
        self, dsi: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(photos.parent)
        result = run("search", dsi, "./photos/round/", "photos/square/02.png", "-k", 1)
        wanted = [f"./photos/round/{i:02}.png" for i in range(1, COUNT, 2)] + ["photos/square/02.png"]
        assert [line["query"] for line in lines(result)] == wanted

    def test_image_on_stdin_gives_the_results_of_its_file(self, dsi: Path, photos: Path) -> None:
        path = photos / "square" / "04.png"
        piped = lines(run("search", dsi, "-", "-k", 3, stdin=path.read_bytes()))
        named = lines(run("search", dsi, path, "-k", 3))
        assert {line["query"] for line in piped} == {"-"}
        assert [line["score"] for line in piped] == [line["score"] for line in named]
        assert piped[0]["image_id"] == "square/04.png"

    def test_empty_stdin_is_reported_as_skipped(self, dsi: Path) -> None:
        result = run("search", dsi, "-", stdin=b"")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("skipped -: the file is empty")

    def test_unreadable_queries_are_skipped_with_exit_code_1(
        self, dsi: Path, photos: Path, tmp_path: Path
    ) -> None:
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"no image")
        good = [photos / "round" / "01.png", photos / "round" / "03.png"]
        result = run("search", dsi, good[0], bad, good[1], "-k", 1)
        assert result.exit_code == 1
        assert [line["query"] for line in lines(result)] == [str(path) for path in good]
        assert f"skipped {bad}: not an image" in result.stderr
        assert result.stderr.endswith("skipped 1 of 3 images\n")

    def test_strict_stops_at_an_unreadable_query(self, dsi: Path, tmp_path: Path) -> None:
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"no image")
        one_error_line(run("search", dsi, bad, "--strict"), 1, str(bad), "not an image")

    def test_plain_results_are_aligned_columns(self, dsi: Path, photos: Path) -> None:
        first, second = photos / "round" / "01.png", photos / "round" / "03.png"
        result = run("search", dsi, first, second, "-k", 10, "--plain")
        one, two = result.stdout.split("\n\n")
        assert one.splitlines()[0] == str(first) and two.splitlines()[0] == str(second)
        rows = one.splitlines()[1:]
        assert len(rows) == 10 and rows[0].startswith("   1  ") and rows[0].endswith("  round/01.png")
        assert len({row.index(row.split()[2]) for row in rows}) == 1

    def test_sheet_shows_all_queries(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        sheet = tmp_path / "sheet.html"
        result = run("search", dsi, photos / "round", "-k", 2, "--sheet", sheet, "--images", photos)
        assert result.exit_code == 0, result.stderr
        assert len(lines(result)) == COUNT
        html = sheet.read_text("utf-8")
        assert all(f"round/{i:02}.png" in html for i in range(1, COUNT, 2))

    def test_texts_are_searched_beside_images_and_in_place_of_them(
        self, colour_index: Path, tmp_path: Path
    ) -> None:
        photos = colour_index.parent / "photos"
        texts = ["--text", "a photo of red", "--text", "a photo of blue"]
        alone = run("search", colour_index, *texts, "-k", 2)
        assert (alone.exit_code, alone.stderr) == (0, "")
        names = [(line["query"], line["image_id"].split("/")[0]) for line in lines(alone)]
        assert names == [("a photo of red", "red")] * 2 + [("a photo of blue", "blue")] * 2
        sheet = tmp_path / "sheet.html"
        image = photos / "green" / "0.png"
        beside = run("search", colour_index, image, *texts, "-k", 2, "--sheet", sheet, "--images", photos)
        assert lines(beside)[2:] == lines(alone)
        assert {line["query"] for line in lines(beside)[:2]} == {str(image)}
        assert "a photo of blue" in sheet.read_text("utf-8")

    def test_texts_are_refused_where_nothing_reads_them(self, dsi: Path, photos: Path) -> None:
        one_error_line(run("search", dsi, "--text", "red"), 2, "this index reads no text")
        one_error_line(run("search", dsi), 2, "give an IMAGE, --text TEXT")
        one_error_line(run("search", dsi, "--text", "red", "--min-score", 0.5), 2, "no meaning for --text")

    def test_wrong_arguments_are_refused(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        query, empty, sheet = photos / "round" / "01.png", tmp_path / "empty", tmp_path / "sheet.html"
        empty.mkdir()
        one_error_line(run("search", dsi, tmp_path / "none.jpg"), 2, "none.jpg", "no such file")
        one_error_line(run("search", dsi, empty), 2, str(empty), "no images")
        one_error_line(run("search", tmp_path / "none.dsi", query), 2, "none.dsi")
        one_error_line(run("search", dsi, query, "-k", 5, "--beam-size", 2), 2, "beam_size", "2", "5")
        one_error_line(run("search", dsi, query, "--sheet", sheet), 2, "--images")
        one_error_line(
            run("search", dsi, query, "--sheet", sheet, "--images", empty / "no"), 2, "no such folder"
        )
        one_error_line(run("search", dsi, "-", "--sheet", sheet, "--images", photos), 2, "stdin")
        elsewhere = tmp_path / "nowhere" / "sheet.html"
        one_error_line(
            run("search", dsi, query, "--sheet", elsewhere, "--images", photos), 2, "no such folder"
        )
        assert run("search", dsi, query, "-k", 0).exit_code == 2
        assert run("search", dsi).exit_code == 2
        assert run("search", dsi, query, "--nonsense").exit_code == 2

    def test_min_score_leaves_out_lower_scores(self, dsi: Path, photos: Path) -> None:
        query = photos / "round" / "01.png"
        everything = lines(run("search", dsi, query, "-k", COUNT))
        limit = everything[0]["score"]  # low scores may be equal
        kept = lines(run("search", dsi, query, "-k", COUNT, "--min-score", limit))
        assert kept == [result for result in everything if result["score"] >= limit]
        assert 1 <= len(kept) < COUNT

    def test_automatic_min_score_is_the_one_that_the_build_measured(self, dsi: Path, photos: Path) -> None:
        query = photos / "round" / "01.png"
        measured = ImageIndex.load(dsi).report_.calibration.min_score
        automatic = lines(run("search", dsi, query, "-k", COUNT, "--min-score", "auto"))
        assert automatic == lines(run("search", dsi, query, "-k", COUNT, "--min-score", measured))

    def test_score_that_nothing_reaches_is_noted(self, dsi: Path, tmp_path: Path) -> None:
        Image.new("RGB", (32, 32), "grey").save(tmp_path / "grey.png")
        assert lines(run("search", dsi, tmp_path / "grey.png", "-k", 1))[0]["score"] < 1
        result = run("search", dsi, tmp_path / "grey.png", "--min-score", 1)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.endswith("no result has a score of 1.0000 (--min-score)\n")

    @pytest.mark.parametrize("given", ["1.5", "-0.1", "much", "nan"])
    def test_min_score_that_is_no_probability_is_refused(self, dsi: Path, photos: Path, given: str) -> None:
        result = run("search", dsi, photos / "round" / "01.png", f"--min-score={given}")
        one_error_line(result, 2, f"--min-score {given}", "between 0 and 1, or auto")


class TestFilters:
    @pytest.mark.parametrize(
        ("condition", "wanted"),
        [
            ("width > 64", "3 4 5"),
            ("height = 80 and not width >= 64", "0 1"),
            ("width > height", "5"),
            ('camera = "Acme Box 1" and year = 2019 and taken >= "2019-07"', "4"),
            ("album = 'sea'", "0 1"),
            ('ALBUM like "%hills"', "2"),
            ("stars >= 3", "0 2"),
            ("stars is null", "1 3 4 5"),
            ('format = "JPEG" and bytes > 0', "0 1 2 3 4 5"),
        ],
    )
    def test_where_restricts_the_results(self, described: Path, condition: str, wanted: str) -> None:
        query = described.parent / "photos" / "5.jpg"
        result = run("search", described, query, "-k", 100, "--where", condition)
        assert (result.exit_code, result.stderr) == (0, "")
        found = lines(result)
        assert sorted(line["image_id"] for line in found) == [f"{i}.jpg" for i in wanted.split()]
        assert [line["rank"] for line in found] == list(range(1, len(found) + 1))
        scores = [line["score"] for line in found]
        assert scores == sorted(scores, reverse=True)

    def test_allowed_images_keep_the_order_of_a_search_without_a_filter(
        self, dsi: Path, photos: Path
    ) -> None:
        query = photos / "round" / "03.png"
        order = [line["image_id"] for line in lines(run("search", dsi, query, "-k", COUNT))]
        allowed = set(order[3::2])
        result = run("search", dsi, query, "-k", 3, "--allow-ids", "-", stdin="\n".join(allowed).encode())
        assert [line["image_id"] for line in lines(result)] == [name for name in order if name in allowed][:3]

    def test_fewer_allowed_images_than_k_give_fewer_results(
        self, dsi: Path, photos: Path, tmp_path: Path
    ) -> None:
        names = tmp_path / "names.txt"
        names.write_bytes(b"round/01.png\r\nsquare/04.png\r\n\r\nround/01.png\r\n")
        found = lines(run("search", dsi, photos / "round", "-k", 5, "--allow-ids", names))
        assert len(found) == COUNT // 2 * 2
        for query in {line["query"] for line in found}:
            answer = [line["image_id"] for line in found if line["query"] == query]
            assert sorted(answer) == ["round/01.png", "square/04.png"]

    def test_where_and_allow_ids_hold_together(self, described: Path, tmp_path: Path) -> None:
        names = tmp_path / "names.txt"
        names.write_text("1.jpg\n2.jpg\n", "utf-8")
        query = described.parent / "photos" / "5.jpg"
        found = lines(run("search", described, query, "--where", 'album = "sea"', "--allow-ids", names))
        assert [line["image_id"] for line in found] == ["1.jpg"]

    @pytest.mark.parametrize("plain", [True, False])
    def test_filter_that_allows_nothing_is_noted(self, described: Path, plain: bool) -> None:
        query = described.parent / "photos" / "5.jpg"
        result = run("search", described, query, "--where", "width > 1000", *["--plain"] * plain)
        assert (result.exit_code, result.stdout) == (0, f"{query}\n" if plain else "")
        assert result.stderr == f"note: nothing can be found in {described}: no image passes the filter\n"
        assert run("search", described, query, "--allow-ids", "-", stdin=b"").stderr == result.stderr

    def test_mistake_in_a_condition_is_one_error_line(self, described: Path, dsi: Path) -> None:
        query = described.parent / "photos" / "5.jpg"

        def refused(condition: str, *parts: str) -> None:
            one_error_line(run("search", described, query, "--where", condition), 2, "condition", *parts)

        refused("widht > 3", "character 1", "unknown column widht", "did you mean width?")
        refused("width > 3 and albun = 'sea'", "character 15", "did you mean album?")
        refused("album = sea", "character 9", "quotes")
        refused("width = 'wide'", "numbers")
        refused("width >", "the condition ends")
        refused("", "the condition ends")
        refused("width > 1; drop table facts", "found ;")

    def test_wrong_allow_lists_are_refused(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        query, names = photos / "round" / "03.png", tmp_path / "names.txt"
        names.write_text("round/01.png\nnobody.png\n", "utf-8")
        one_error_line(run("search", dsi, query, "--allow-ids", names), 2, "'nobody.png'", "not in the index")
        one_error_line(run("search", dsi, query, "--allow-ids", tmp_path), 2, "cannot be read")
        one_error_line(run("search", dsi, query, "--allow-ids", "none.txt"), 2, "none.txt", "No such file")
        one_error_line(run("search", dsi, "-", "--allow-ids", "-"), 2, "stdin cannot be both")


class TestCollapse:
    def test_collapse_returns_the_best_of_each_group(self, copies: Path) -> None:
        folder = copies.parent / "photos"
        everything = lines(run("search", copies, folder / "2.png", "-k", 100))
        found = lines(run("search", copies, folder / "2.png", "-k", 100, "--collapse"))
        assert (len(everything), len(found)) == (12, 8)
        assert len({line["image_id"][0] for line in found}) == 8
        best = {line["image_id"][0]: line["image_id"] for line in reversed(everything)}
        assert {line["image_id"] for line in found} == set(best.values())
        assert [line["rank"] for line in found] == list(range(1, 9))

    def test_collapse_finds_k_distinct_images_among_the_allowed(self, copies: Path, tmp_path: Path) -> None:
        names = tmp_path / "names.txt"
        names.write_text("2.png\n2 again.png\n2 and again.png\n5.png\n6.png\n", "utf-8")
        query = copies.parent / "photos" / "2.png"
        found = lines(run("search", copies, query, "-k", 2, "--collapse", "--allow-ids", names))
        assert (
            len(found) == 2
            and found[0]["image_id"].startswith("2")
            and found[1]["image_id"] in ("5.png", "6.png")
        )

    def test_collapse_without_stored_features_is_refused(self, copies: Path, tmp_path: Path) -> None:
        dsi = shutil.copytree(copies, tmp_path / "copied.dsi")
        query = copies.parent / "photos" / "2.png"
        assert run("compact", dsi, "--drop-features", "--no-retrain").exit_code == 0
        one_error_line(run("search", dsi, query, "--collapse"), 2, "keeps no features")
        assert len(lines(run("search", dsi, query))) == 10

    def test_collapse_with_a_beam_as_wide_as_k_finds_k_distinct_images(self, copies: Path) -> None:
        query = copies.parent / "photos" / "2.png"
        assert len(lines(run("search", copies, query, "-k", 4, "--beam-size", 4, "--collapse"))) == 4


class TestPages:
    def test_offset_goes_on_where_the_page_before_ended_and_says_the_total(
        self, dsi: Path, photos: Path
    ) -> None:
        query = photos / "round" / "03.png"
        everything = lines(run("search", dsi, query, "-k", COUNT))
        result = run("search", dsi, query, "-k", 5, "--offset", 10)
        assert lines(result) == everything[10:]
        assert result.stderr == f"results 11 to 12 of the {COUNT} images that are searched\n"

    def test_offset_beyond_the_end_says_so(self, described: Path, photos: Path) -> None:
        query = photos / "round" / "03.png"
        result = run("search", described, query, "--offset", 5, "--where", 'album = "sea"')
        assert result.stdout == ""
        assert "no results after the first 5: 2 images are searched" in result.stderr


class TestAnyRotation:
    def test_turned_photo_is_found_first(self, dsi: Path, photos: Path, tmp_path: Path) -> None:
        turned = tmp_path / "turned.png"
        with Image.open(photos / "square" / "04.png") as image:
            image.rotate(90, expand=True).save(turned)
        found = lines(run("search", dsi, turned, "-k", 1, "--any-rotation"))
        assert [line["image_id"] for line in found] == ["square/04.png"]
        with Image.open(photos / "square" / "04.png") as image:
            image.crop((4, 0, 44, 40)).save(turned)
        upright = lines(run("search", dsi, turned, "-k", 1))
        assert found[0]["log_prob"] == pytest.approx(upright[0]["log_prob"], abs=0.05)
