"""The Hugging Face hub: sharing an index as a repository, and opening one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitdsi.collection.storage import sizes, write_index
from vitdsi.errors import UsageError, VitdsiError
from vitdsi.export.card import model_card
from vitdsi.export.sharable import Sharing, sharable
from vitdsi.state import IndexState

__all__ = ["pull", "push"]

_FILES = ("*.json", "*.safetensors", "*.sqlite")


def push(
    state: IndexState,
    repo_id: str,
    sharing: Sharing,
    *,
    private: bool = True,
    token: str | None = None,
    license: str | None = None,
) -> str:
    """Share an index as a repository of models, with a model card; return the address of the commit.

    Args:
        repo_id: the name of the repository, which is made if it does not exist.
        sharing: what of the index is shared.
        private: nobody else can see the repository. A public one of this name is then refused.
        token: the user's token for the hub; None takes that of `hf auth login`, or $HF_TOKEN.
        license: the licence of the index, as an identifier of the hub.

    Raises:
        UsageError: huggingface-hub is not installed, or the hub cannot be reached, refuses the token or the name, or
            has a public repository of this name.
    """
    shared = sharable(state, sharing)
    with tempfile.TemporaryDirectory() as temporary, _explained(repo_id):
        api = _api(token)
        folder = Path(temporary) / "index"
        write_index(folder, shared)
        card = model_card(shared, repo_id, sharing, sizes(folder), license)
        (folder / "README.md").write_text(card, "utf-8")
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise UsageError(
                f"{repo_id} is public; allow that (--public, or private=False), or choose another name"
            )
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=f"Index of {len(shared.image_ids)} images",
        )
        return str(commit.commit_url)


def pull(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Download an index from the hub into the cache of its client; return its folder, in which nothing may be changed.

    Args:
        repo_id: the name of the repository.
        revision: a branch, a tag or a commit; None is the main branch.
        token: as for `push`.

    Raises:
        UsageError: huggingface-hub is not installed, the hub cannot be reached, or it has no such repository or
            revision, or it is private.
    """
    with _explained(repo_id):
        return Path(_api(token).snapshot_download(repo_id, revision=revision, allow_patterns=list(_FILES)))


def _api(token: str | None) -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UsageError("sharing needs huggingface-hub; pip install 'vitdsi[hub]'") from error
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token, library_name="vitdsi")


@contextlib.contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """Turn the exceptions of the hub's client into one line that says what to do."""
    try:
        yield
    except VitdsiError:
        raise
    except Exception as error:  # they have no common base class
        reason = " ".join(str(error).split())
        kind = type(error).__name__
        status = getattr(getattr(error, "response", None), "status_code", None)
        if kind == "RevisionNotFoundError":
            advice = "there is no such revision; check its name"
        elif status in (401, 403, 404) or kind in ("RepositoryNotFoundError", "LocalTokenNotFoundError"):
            advice = "there is no such repository, or the token may not use it; check the name, and `hf auth login`"
        elif kind == "HFValidationError":
            advice = "the name of a repository is OWNER/NAME"
        else:
            advice = f"the hub cannot be used ({reason}); try again later"
        raise UsageError(f"{repo_id}: {advice}") from error
