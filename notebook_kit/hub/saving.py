"""From an object to a folder, and from a folder to a repository on the Hub: `save_pretrained` and `push_to_hub`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from notebook_kit.errors import HubError, HubUnreachableError, InputError, RepoNotFoundError
from notebook_kit.hub.cache import is_offline
from notebook_kit.hub.client import Client, Token

__all__ = ["PushToHub", "folder_to_save", "push_folder"]


class PushToHub:
    """What everything with a `save_pretrained` has: `push_to_hub`.

    A class defines `save_pretrained(folder, push_to_hub=False, **push_options)` and writes its files in the block of
    `folder_to_save`.
    """

    def push_to_hub(self, repo_id: str, **options: Any) -> Any:
        """Save to a temporary folder and upload that to a repository on the Hub.

        Args:
            repo_id: "owner/name", or "name" for a repository of your account. It is created if there is none.
            **options: `token`, `private`, `commit_message`, `revision`, ..., as `notebook_kit.hub.push_folder` takes them.

        Returns:
            What `push_folder` returns: the commit.
        """
        import tempfile  # loads half a dozen modules that loading a checkpoint does not need

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)  # type: ignore[attr-defined]
            return push_folder(folder, repo_id, **options)


@contextmanager
def folder_to_save(
    folder: str | os.PathLike[str], push_to_hub: bool = False, push_options: Mapping[str, Any] | None = None
) -> Iterator[Path]:
    """The folder for the files of a `save_pretrained`: created before the block and, if asked for, uploaded after it.

    Args:
        folder: Where the files go.
        push_to_hub: Whether to upload the folder.
        push_options: For `push_folder`; without a `repo_id`, the folder's name is the repository's.

    Raises:
        InputError: `folder` is a file.

    Example:
        >>> import tempfile
        >>> with folder_to_save(tempfile.mkdtemp() + "/new") as folder:
        ...     _ = (folder / "config.json").write_text("{}")
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        raise InputError(f"{folder} is a file.", next_step="Pass a folder; it is created if it does not exist.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if push_to_hub:
        push_folder(folder, **{"repo_id": folder.name, **(push_options or {})})


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    token: Token = None,
    private: bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    ignore_patterns: Sequence[str] = (),
) -> Any:
    """Upload a folder to the Hub, creating the repository if there is none. Every `push_to_hub` ends here.

    Args:
        folder: What to upload; all its files but hidden ones.
        repo_id: "owner/name", or "name" for one of your own.
        token: A Hub token with write access; None for the saved one or `HF_TOKEN`.
        private: Whether a new repository is private; None for your account's default.
        commit_message: One line that says what changed.
        revision: The branch to commit to; "main" if None.
        create_pr: Propose the change rather than commit it.
        ignore_patterns: Files to leave out, such as `["checkpoint-*/*", "*.pt"]`.

    Returns:
        `huggingface_hub`'s `CommitInfo`: a string with the commit's address, and its parts as attributes.

    Raises:
        InputError: The folder does not exist or is empty.
        HubError: The token is missing or may not write there.
        HubUnreachableError: The Hub did not answer.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InputError(f"There is nothing to upload at {folder}.", next_step="Pass the folder of a saved checkpoint.")
    if is_offline():
        raise HubUnreachableError(
            f"{folder} was not uploaded: HF_HUB_OFFLINE forbids asking the Hub.",
            next_step="Unset HF_HUB_OFFLINE and try again.",
        )
    client = Client(repo_id, token)
    api = client.api()

    def upload() -> Any:
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr/"):
            api.create_branch(repo, branch=revision, exist_ok=True)
        return api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=commit_message or "Upload with notebook_kit",
            revision=revision,
            create_pr=create_pr,
            ignore_patterns=[".*", "**/.*", *ignore_patterns],
        )

    try:
        return client.call(upload, revision=revision)
    except RepoNotFoundError as error:
        why = "the token in use may not write there" if client.has_token else "no token is in use"
        raise HubError(
            f"{folder} was not uploaded to {repo_id!r} at {client.address}: {why}.",
            next_step="Log in with `hf auth login`, set HF_TOKEN, or pass token= with a token that may write there.",
        ) from error
    except HubUnreachableError as error:
        raise HubUnreachableError(
            f"{folder} was not uploaded to {repo_id!r}: {error.what}",
            next_step="Run it again; what has arrived is not sent twice.",
        ) from error
