"""Models go to a hub and come back; the hub here is a folder."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.tasks import hub as hub_module
from seriatim.tasks.hub import fetch_folder, push_folder

TEXTS = [f"{i} the quick brown fox jumps over the lazy dog" for i in range(40)]


class FolderHub:
    """A hub that is a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root, self.private = root, dict[str, bool]()

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if repo_id in self.private and not exist_ok:
            raise FileExistsError(repo_id)
        self.private.setdefault(repo_id, private)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        assert commit_message
        if repo_id.startswith("nobody/"):
            raise PermissionError("403 Forbidden\nmore")
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)

    def snapshot_download(self, repo_id: str, *, revision: str | None) -> str:
        if not (self.root / repo_id).exists():
            raise FileNotFoundError("404 Not Found\nmore")
        return str(self.root / repo_id)


@pytest.fixture
def hub(tmp_path: Path) -> FolderHub:
    return FolderHub(tmp_path / "hub")


def test_a_model_that_was_pushed_comes_back(hub: FolderHub) -> None:
    lm = st.LanguageModel(st.GRU(hidden_size=16), symbols="char").fit(TEXTS, steps=5)
    assert lm.push("me/tiny-gru", hub=hub) == "me/tiny-gru"
    again = st.from_pretrained("me/tiny-gru", hub=hub)
    assert again.surprisal("the fox").bits == lm.surprisal("the fox").bits
    card = (hub.root / "me/tiny-gru/README.md").read_text("utf-8")
    assert 'st.from_pretrained("me/tiny-gru")' in card
    assert "library_name: seriatim" in card
    assert hub.private == {"me/tiny-gru": True}
    lm.push("me/open", private=False, hub=hub)
    assert not hub.private["me/open"]
    assert st.from_pretrained(hub.root / "me/open").surprisal("a").bits == lm.surprisal("a").bits


def test_what_the_hub_refuses_is_said_in_a_sentence(hub: FolderHub, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"did not take nobody/x \(403 Forbidden\): log in"):
        push_folder(tmp_path, "nobody/x", message="x", hub=hub)
    with pytest.raises(DataError, match=r"did not give me/nothing \(404 Not Found\)"):
        st.from_pretrained("me/nothing", hub=hub)
    for name in ("nothing", "a/b/c", "../x", ""):
        with pytest.raises(ConfigError, match="OWNER/NAME"):
            fetch_folder(name, hub=hub)
    with pytest.raises(ConfigError, match="names no repository"):
        push_folder(tmp_path, "no slash", message="x", hub=hub)


def test_the_real_hub_has_these_methods() -> None:
    library: Any = pytest.importorskip("huggingface_hub")
    api = library.HfApi
    calls = {
        "create_repo": inspect.signature(api.create_repo).bind(
            None, "a/b", private=True, exist_ok=True
        ),
        "upload_folder": inspect.signature(api.upload_folder).bind(
            None, repo_id="a/b", folder_path=".", commit_message="x"
        ),
        "snapshot_download": inspect.signature(api.snapshot_download).bind(
            None, "a/b", revision=None
        ),
    }
    assert all(calls.values())


@pytest.mark.slow
def test_the_commands_push_and_import_a_folder_of_transformers(
    hub: FolderHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(hub_module, "_hub", lambda: hub)
    small = st.Transformer(model_size=32, num_layers=2, num_heads=2, context=8)
    lm = st.LanguageModel(small, symbols="word").fit(TEXTS, steps=5)
    lm.save(tmp_path / "model")
    folder, again = str(tmp_path / "folder"), str(tmp_path / "again")
    export = ["export", str(tmp_path / "model"), "--to", "huggingface", "--out", folder]
    assert main([*export, "--push", "me/tiny"]) == 0
    assert "pushed to me/tiny" in capsys.readouterr().out
    assert main(["import", "me/tiny", "--out", again]) == 0
    assert f"saved to {again}" in capsys.readouterr().out
    bits = lm.surprisal("the fox").bits
    assert st.load(again).surprisal("the fox").bits == pytest.approx(bits, abs=1e-4)
    assert st.from_pretrained("me/tiny").surprisal("the fox").bits == pytest.approx(bits, abs=1e-4)
