"""A model on disk: written whole or not at all, and checked when it is read."""

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import atomic
from seriatim.core.tensor_file import write_tensors
from seriatim.errors import ModelError, OutputError
from seriatim.tasks import storage


@dataclass(frozen=True)
class Saved:
    """What a task would write to config.json."""

    kind: str


def _module(value: float = 1.0) -> nn.Module:
    module = nn.Linear(3, 2)
    nn.init.constant_(module.weight, value)
    return module


def _save(path: Path, value: float = 1.0, *, overwrite: bool = False) -> None:
    storage.save(
        path,
        task="test",
        config=Saved("a"),
        documents={"symbols": {"a": 1}},
        modules={"model": _module(value)},
        overwrite=overwrite,
    )


def _weight(path: Path) -> float:
    module = _module(0.0)
    storage.read_weights(path, {"model": module})
    return float(module.get_parameter("weight").detach()[0, 0])


def test_a_saved_model_is_loaded_unchanged(tmp_path: Path) -> None:
    _save(tmp_path / "m", 3.0)
    assert storage.read_header(tmp_path / "m").task == "test"
    assert storage.read_config(Saved, tmp_path / "m") == Saved("a")
    assert storage.read_document(tmp_path / "m", "symbols") == {"a": 1}
    assert _weight(tmp_path / "m") == 3.0
    storage.verify(tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"], "no temporary folder is left"


def test_a_model_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    _save(tmp_path / "m", 1.0)
    with pytest.raises(OutputError, match="--overwrite"):
        _save(tmp_path / "m", 2.0)
    assert _weight(tmp_path / "m") == 1.0
    _save(tmp_path / "m", 2.0, overwrite=True)
    assert _weight(tmp_path / "m") == 2.0
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path / "m", 1.0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module, name in ((atomic, "flush"), (storage, "_put")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OutputError, match="No space left on device; nothing was changed"):
                _save(tmp_path / "m", 2.0, overwrite=True)
        assert _weight(tmp_path / "m") == 1.0
        assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_really_full_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_full(path: Path, tensors: Mapping[str, Tensor]) -> str:
        return write_tensors(Path("/dev/full"), tensors)

    monkeypatch.setattr(storage, "write_tensors", to_full)
    with pytest.raises(OutputError, match="No space left"):
        _save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_truncated_file_is_noticed_at_opening(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ModelError, match=r"damaged: weights.safetensors has \d+ bytes where \d+"):
        storage.read_header(tmp_path / "m")
    weights.unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors is missing"):
        storage.read_header(tmp_path / "m")


@pytest.mark.parametrize("name", ["weights.safetensors", "symbols.json", "config.json"])
def test_an_altered_file_of_the_same_size_is_named(tmp_path: Path, name: str) -> None:
    _save(tmp_path / "m")
    file = tmp_path / "m" / name
    data = bytearray(file.read_bytes())
    data[-1 if name.startswith("w") else data.index(b"a" if name == "config.json" else b"1")] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}.*(was altered|is not the configuration)"):
        storage.verify(tmp_path / "m")


def test_at_loading_small_files_are_compared_and_large_ones_are_not(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    header = storage.read_header(tmp_path / "m")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    storage.check_contents(tmp_path / "m", header, most=len(data) - 1)
    with pytest.raises(ModelError, match=r"weights.safetensors was altered .* verify=False"):
        storage.check_contents(tmp_path / "m", header, most=2 * len(data))


def test_a_value_of_the_configuration_that_was_altered_is_noticed(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content))  # white space is no content
    storage.verify(tmp_path / "m")
    file.write_text(json.dumps({**content, "kind": "b"}))
    with pytest.raises(ModelError, match=r"config.json was altered"):
        storage.verify(tmp_path / "m")
    del content["checksum"]  # of folders that were written before there was one
    file.write_text(json.dumps({**content, "kind": "b"}))
    storage.verify(tmp_path / "m")


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(ModelError, match=r"has format 99 .* update seriatim"):
        storage.read_header(tmp_path / "m")
    file.write_text('{"format": 1}')
    with pytest.raises(ModelError, match="is not the configuration"):
        storage.read_header(tmp_path / "m")
    file.write_text("{half")
    with pytest.raises(ModelError, match="cannot be read"):
        storage.read_header(tmp_path / "m")


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    with pytest.raises(ModelError, match="does not fit"):
        storage.read_weights(tmp_path / "m", {"model": nn.Linear(4, 2)})
    with pytest.raises(ModelError, match="does not fit"):
        storage.read_weights(tmp_path / "m", {"model": nn.Sequential(nn.Linear(3, 2))})


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            self.head.weight = self.embed.weight

    old = Tied()
    storage.save(
        tmp_path / "m", task="test", config=Saved("a"), documents={}, modules={"model": old}
    )
    assert (tmp_path / "m" / "weights.safetensors").stat().st_size < 5 * 4 * 4 + 200
    storage.read_weights(tmp_path / "m", {"model": (new := Tied())})
    assert new.head.weight is new.embed.weight
    assert torch.equal(new.head.weight, old.head.weight)


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_the_umask_decides_who_may_read_a_model(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        for overwrite in (False, True):
            _save(tmp_path / "m", overwrite=overwrite)
            modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "m").iterdir()}
            assert set(modes.values()) == {0o666 & ~mask}, modes
            assert (tmp_path / "m").stat().st_mode & 0o777 == 0o777 & ~mask
    finally:
        os.umask(before)
