"""`save_pretrained` and `push_to_hub`: from an object to a folder, and from there to a repository on the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from notebook_kit.errors import HubError, HubUnreachableError, InputError, RepoNotFoundError
from notebook_kit.files import as_path
from notebook_kit.hub.client import Client, Token
from notebook_kit.keywords import switch

__all__ = ["PushToHub", "folder_to_save", "push_folder"]


class PushToHub:
    """Adds `push_to_hub` to a class with `save_pretrained(folder, push_to_hub=False, **push_options)`.

    `save_pretrained` writes its files within `with folder_to_save(...)`.
    """

    def push_to_hub(self, repo_id: str, **options: Any) -> Any:
        """Save to a temporary folder and upload it to a repository on the Hub.

        Args:
            repo_id: "owner/name", or "name" for a repository of your account. It is created if it does not exist.
            **options: Further arguments of `notebook_kit.hub.push_folder`: `token`, `private`, `commit_message`, ...

        Returns:
            The commit, as `push_folder` returns it.
        """
        import tempfile  # loads several modules that loading a checkpoint does not need

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)  # type: ignore[attr-defined]
            return push_folder(folder, repo_id, **options)


@contextmanager
def folder_to_save(
    folder: str | os.PathLike[str], push_to_hub: bool = False, push_options: Mapping[str, Any] | None = None
) -> Iterator[Path]:
    """Create the folder before the block, and optionally upload it after the block unless the block raised.

    Args:
        folder: Where the block writes its files.
        push_to_hub: Whether to upload the folder.
        push_options: Arguments of `push_folder`; `repo_id` defaults to the folder's name.

    Raises:
        InputError: If `folder` is a file.

    Example:
        >>> import tempfile
        >>> with folder_to_save(tempfile.mkdtemp() + "/new") as folder:
        ...     _ = (folder / "config.json").write_text("{}")
    """
    pushes = switch("push_to_hub", push_to_hub)
    folder = as_path(folder, "folder").expanduser()
    if folder.is_file():
        raise InputError(f"{folder} is a file.", next_step="Pass a folder; it is created if it does not exist.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if pushes:
        push_folder(folder, **{"repo_id": folder.name, **(push_options or {})})


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    token: Token = None,
    private: bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    ignore_patterns: str | Sequence[str] = (),
) -> Any:
    """Upload a folder to the Hub. The repository is created if it does not exist.

    Args:
        folder: The folder; all its files except hidden ones are uploaded.
        repo_id: "owner/name", or "name" for a repository of your account.
        token: A Hub token with write access; None for the saved one or `HF_TOKEN`.
        private: Whether a new repository is private; None for your account's default.
        commit_message: A summary of the change in one line.
        revision: The branch to commit to; "main" if None.
        create_pr: Open a pull request instead of committing to the branch.
        ignore_patterns: Files to leave out, one pattern or several, such as `["checkpoint-*/*", "*.pt"]`.

    Returns:
        `huggingface_hub`'s `CommitInfo`: a string with the commit's address, and its parts as attributes.

    Raises:
        InputError: If the folder does not exist or is empty, or `repo_id` cannot be a name.
        HubError: If there is no token, or it does not allow writing to the repository.
        HubUnreachableError: If the Hub does not answer, or `HF_HUB_OFFLINE` is set.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InputError(f"There is nothing to upload at {folder}.", next_step="Pass the folder of a saved checkpoint.")
    client = Client(repo_id, token)
    if isinstance(ignore_patterns, str):
        ignore_patterns = [ignore_patterns]

    def upload() -> Any:
        api = client.api()
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
        return client.call(upload, revision)
    except RepoNotFoundError as error:
        why = "the token in use does not allow it" if client.has_token else "no token is in use"
        raise HubError(
            f"{folder} was not uploaded to {repo_id!r} at {client.address}: {why}.",
            next_step="Log in with `hf auth login`, set HF_TOKEN, or pass token= with a token that has write access.",
        ) from error
    except HubUnreachableError as error:
        raise HubUnreachableError(
            f"{folder} was not uploaded to {repo_id!r}: {error.what}",
            next_step="Run it again once the Hub can be reached; files that have arrived are not sent again.",
        ) from error
