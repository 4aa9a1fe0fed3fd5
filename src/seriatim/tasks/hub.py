"""Folders to and from the Hugging Face Hub, or anything with its three methods.

Knows folders and huggingface-hub; no model.
"""

import re
import tempfile
from pathlib import Path
from typing import Any, Protocol, cast

from seriatim.core.extras import import_extra
from seriatim.errors import ConfigError, DataError, OutputError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Hub(Protocol):
    """The part of `huggingface_hub.HfApi` that is used."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository unless it is there."""

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
        """Upload a folder as one commit."""

    def snapshot_download(self, repo_id: str, *, revision: str | None) -> str:
        """Download a repository; the path of the folder."""


def is_name(text: str) -> bool:
    """Whether a text is the name of a repository, OWNER/NAME."""
    return _NAME.fullmatch(text) is not None


class Saved(Protocol):
    """What has to be known of a model to be pushed."""

    def save(self, path: str, *, overwrite: bool = False) -> None:
        """Write the model as a folder."""

    def headline(self) -> str:
        """The kind and the size of the model, in a line."""

    def describe(self) -> list[tuple[str, str]]:
        """The rows of a table for people."""


def push_model(model: Saved, repo: str, *, private: bool = True, hub: Hub | None = None) -> str:
    """Upload a model with a card that describes it; see `push_folder`."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        model.save(str(folder))
        card = model_card(model.headline(), model.describe(), repo)
        (folder / "README.md").write_text(card, "utf-8")
        return push_folder(folder, repo, message=model.headline(), private=private, hub=hub)


def push_folder(
    folder: Path, repo: str, *, message: str, private: bool = True, hub: Hub | None = None
) -> str:
    """Upload a folder to a repository, which is made if it is not there.

    Args:
        folder: the folder.
        repo: the name of the repository, OWNER/NAME.
        message: what the commit says.
        private: whether a new repository is seen by its owner alone.
        hub: where to; None: huggingface.co, as who is logged in.

    Returns:
        The name of the repository.

    Raises:
        ConfigError: the name is not OWNER/NAME.
        OutputError: the hub does not take it.
        MissingExtraError: huggingface-hub is not installed.
    """
    if not is_name(repo):
        raise ConfigError(f"{repo!r} names no repository: give OWNER/NAME")
    hub = hub or _hub()
    try:
        hub.create_repo(repo, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repo, folder_path=str(folder), commit_message=message)
    except Exception as error:  # errors of many libraries, of the network below them too
        raise OutputError(
            f"the hub did not take {repo} ({_first_line(error)}): log in with `hf auth login`, and "
            "check the name and the connection"
        ) from error
    return repo


def fetch_folder(repo: str, *, revision: str | None = None, hub: Hub | None = None) -> Path:
    """Download a repository, or find it among those downloaded before.

    Raises:
        ConfigError: the name is not OWNER/NAME.
        DataError: the hub does not give it.
        MissingExtraError: huggingface-hub is not installed.
    """
    if not is_name(repo):
        raise ConfigError(f"{repo!r} is neither a folder nor a repository OWNER/NAME")
    hub = hub or _hub()
    try:
        return Path(hub.snapshot_download(repo, revision=revision))
    except Exception as error:  # errors of many libraries, of the network below them too
        raise DataError(
            f"the hub did not give {repo} ({_first_line(error)}): check the name, the connection, "
            "and `hf auth login` if it is private"
        ) from error


def _hub() -> Hub:
    package = import_extra(
        "huggingface_hub",
        "the hub needs huggingface-hub, which is not installed: pip install 'seriatim[hub]'",
    )
    return cast("Hub", package.HfApi())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def model_card(title: str, rows: list[tuple[str, str]], repo: str) -> str:
    """The README of a repository with a model of seriatim, from the rows of its description."""
    facts = "\n".join(f"- {name}: {value}" for name, value in rows)
    return (
        f"---\nlibrary_name: seriatim\ntags:\n- seriatim\n---\n\n# {title}\n\n{facts}\n\n"
        f'```python\nimport seriatim as st\n\nmodel = st.from_pretrained("{repo}")\n```\n'
    )
