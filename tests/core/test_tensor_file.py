"""Weights written piece by piece are what the library reads, with the right checksum."""

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from seriatim.core import tensor_file
from seriatim.core.tensor_file import write_tensors


@pytest.mark.parametrize("piece", [7, 1 << 24])
def test_tensors_are_read_back_by_the_library(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_file, "_PIECE", piece)
    tensors = {
        "a": torch.arange(5, dtype=torch.uint8),
        "b": torch.randn(3, 4),
        "c": torch.zeros(0, 7, dtype=torch.int64),
        "d": torch.tensor(2.5, dtype=torch.float64),
        "e": torch.randn(9).to(torch.bfloat16),
        "f": torch.tensor([True, False]),
    }
    checksum = write_tensors(tmp_path / "w", tensors)
    found = safetensors.torch.load_file(tmp_path / "w")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    content = (tmp_path / "w").read_bytes()
    assert checksum == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_a_parameter_is_written_without_its_gradient(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    write_tensors(tmp_path / "w", {"weight": weight})
    assert torch.equal(safetensors.torch.load_file(tmp_path / "w")["weight"], torch.ones(2))
