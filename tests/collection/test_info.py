from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers_stored import stored

from vitdsi.collection.info import info
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import write_index
from vitdsi.state import BuildReport


def test_info_counts_live_and_removed_images_and_the_free_codes(tmp_path: Path) -> None:
    index = remove(stored(), [4, 9])
    path = tmp_path / "photos.dsi"
    write_index(path, index)
    facts = info(replace(index, report=BuildReport(60, history=({"step": 1.0},))), path)
    assert (facts["images"], facts["removed"]) == (58, 2)
    assert facts["capacity_left"] == 8**index.trie.max_length - sum(
        8 ** int((code == index.trie.vocabulary.pad).sum())
        for code in index.trie.codes[index.trie.live_ids()]
    )
    assert set(facts["report"]) == {"images", "calibration"}
    assert facts["report"]["calibration"]["images"] == 0
    assert "inside_scores" not in facts["report"]["calibration"]
    assert facts["changes"][-1]["verb"] == "remove"
    assert facts["bytes"]["model"] > 1000
    assert facts["keypoints"]["per_image"] == 2.0 and facts["keypoints"]["bytes_per_image"] > 2 * 20


def test_info_of_an_index_without_keypoints_says_so() -> None:
    assert info(replace(stored(), keypoints=None), None)["keypoints"] is None


def test_info_of_an_index_that_was_never_saved_has_no_bytes() -> None:
    assert "bytes" not in info(stored(), None)
