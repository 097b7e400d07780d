"""One state: its images by name and by number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitdsi.collection.remove import remove
from vitdsi.serving.errors import ApiError
from vitdsi.serving.served import Served


def test_an_image_is_found_by_name_and_by_number(served: Served) -> None:
    number = served.number("round/01.png")
    assert served.number(str(number)) == number
    described = served.image(number)
    assert described["image_id"] == "round/01.png"
    assert described["thumb"] == f"/thumb/{number}?v={served.state.hashes[number][:12]}"
    assert described["metadata"]["album"] == "sea"


def test_an_image_that_was_not_a_file_has_no_version(served: Served) -> None:
    without = replace(served, state=replace(served.state, hashes=[""] * len(served.state.hashes)))
    assert without.version(0) == ""
    assert without.image(0)["thumb"] == "/thumb/0"


@pytest.mark.parametrize(
    "name", ["", "12", "-1", "99999999999999999999", "round", "../round/01.png", "\u0663"]
)
def test_what_is_no_live_image_is_not_found(served: Served, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        served.number(name)
    assert caught.value.status_code == 404


def test_a_removed_image_is_not_found(served: Served) -> None:
    after = Served(remove(served.state, [0]), served.reader, served.stamp)
    assert not after.has(0)
    assert len(after.live) == len(served.live) - 1
    with pytest.raises(ApiError):
        after.number(served.state.image_ids[0])
