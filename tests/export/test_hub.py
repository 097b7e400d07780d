"""Sharing through the real client of the hub, with a stand-in for the hub itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_hub import Hub, Repository
from helpers_stored import stored

from vitdsi import ImageIndex
from vitdsi.collection.storage import write_index
from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank

pytest.importorskip("huggingface_hub")
# The client of the hub uploads files in a way that its HTTP library no longer wants.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def dsi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "photos.dsi"
    write_index(path, stored())
    return path


def test_an_index_that_was_shared_answers_as_before(hub: Hub, dsi: Path) -> None:
    address = ImageIndex.load(dsi).push_to_hub("someone/photos")
    repository = hub.repositories["someone/photos"]
    assert repository.private and address.endswith(repository.sha(1))
    files = repository.commits[-1]
    assert {"README.md", "index.json", "model-000001.safetensors"} <= set(files)
    assert files["README.md"].decode().count("# photos")
    opened = ImageIndex.from_pretrained("someone/photos")
    assert opened.image_ids_ == stored().image_ids and opened.features_ is None
    features = stored().features
    assert features is not None
    one, other = (rank(state, features[:4], SearchOptions(k=3)) for state in (stored(), opened.state_))
    assert (one.ids == other.ids).all() and (one.scores == other.scores).all()


def test_nothing_private_is_in_the_files_by_default(hub: Hub, dsi: Path) -> None:
    ImageIndex.load(dsi).push_to_hub("someone/photos", names=False)
    everything = b"".join(hub.repositories["someone/photos"].commits[-1].values())
    for private in (*stored().image_ids[:3], *stored().hashes[:3], "album"):
        assert private.encode() not in everything


def test_an_older_revision_can_be_opened(hub: Hub, dsi: Path) -> None:
    index = ImageIndex.load(dsi)
    index.push_to_hub("someone/photos")
    index.push_to_hub("someone/photos", include=["features"])
    first = hub.repositories["someone/photos"].sha(1)
    assert ImageIndex.from_pretrained("someone/photos").features_ is not None
    assert ImageIndex.from_pretrained("someone/photos", revision=first).features_ is None
    with pytest.raises(UsageError, match="someone/photos: there is no such revision"):
        ImageIndex.from_pretrained("someone/photos", revision="v9")


def test_files_are_downloaded_once(hub: Hub, dsi: Path) -> None:
    ImageIndex.load(dsi).push_to_hub("someone/photos")
    ImageIndex.from_pretrained("someone/photos")
    hub.requests.clear()
    ImageIndex.from_pretrained("someone/photos")
    assert not [line for line in hub.requests if "/resolve/" in line and line.startswith("GET")]


def test_the_cache_of_the_client_is_not_changed(hub: Hub, dsi: Path, tmp_path: Path) -> None:
    ImageIndex.load(dsi).push_to_hub("someone/photos")
    opened = ImageIndex.from_pretrained("someone/photos")
    opened.remove([0])
    opened.save(tmp_path / "own.dsi")
    assert len(ImageIndex.load(tmp_path / "own.dsi").trie_.live_ids()) == len(stored().image_ids) - 1
    again = ImageIndex.from_pretrained("someone/photos")
    assert len(again.trie_.live_ids()) == len(stored().image_ids)


def test_a_public_repository_is_used_only_if_that_is_allowed(hub: Hub, dsi: Path) -> None:
    hub.repositories["someone/photos"] = Repository(private=False)
    index = ImageIndex.load(dsi)
    with pytest.raises(UsageError, match=r"someone/photos is public; allow that \(--public"):
        index.push_to_hub("someone/photos")
    assert len(hub.repositories["someone/photos"].commits) == 1
    index.push_to_hub("someone/photos", private=False)
    assert len(hub.repositories["someone/photos"].commits) == 2


def test_refusals_are_one_line_with_advice(hub: Hub, dsi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ImageIndex.load(dsi)
    with pytest.raises(UsageError, match="someone/photos: there is no such repository, or the token may not"):
        index.push_to_hub("someone/photos", token="hf_wrong")
    with pytest.raises(UsageError, match="someone/none: there is no such repository"):
        ImageIndex.from_pretrained("someone/none")
    with pytest.raises(UsageError, match="the name of a repository is OWNER/NAME"):
        ImageIndex.from_pretrained("not//valid")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(UsageError, match=r"someone/photos: the hub cannot be used \(.+\); try again later"):
        ImageIndex.from_pretrained("someone/photos")


def test_a_repository_that_is_no_index_is_refused(hub: Hub) -> None:
    hub.repositories["someone/text"] = Repository(False, [{"config.json": b"{}"}])
    with pytest.raises(IndexFormatError, match="is not an index"):
        ImageIndex.from_pretrained("someone/text")


def test_a_missing_library_is_an_error_that_says_what_to_install(
    dsi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'vitdsi\[hub\]'"):
        ImageIndex.load(dsi).push_to_hub("someone/photos")
