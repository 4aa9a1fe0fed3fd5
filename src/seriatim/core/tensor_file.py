"""Writing a safetensors file piece by piece, with its checksum.

The library copies every tensor before it writes any, which doubles the memory of a large model, and
the checksum would need the file read again. The format: the length of the header (8 bytes, little-
endian), the header as JSON, and the tensors end to end, those of wide elements first, so that all
are aligned.

Knows tensors and files; no models.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

_PIECE = 1 << 24  # bytes
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write contiguous tensors of the CPU to the disk.

    Returns:
        The BLAKE2b checksum (16 bytes) of the file, in hex.

    Raises:
        OSError: the disk does not take it.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        shape, dtype = list(tensors[name].shape), _DTYPES[tensors[name].dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.blake2b(digest_size=16)
    with path.open("wb") as file, ThreadPoolExecutor(1) as thread:

        def put(piece: bytes | memoryview) -> None:
            thread.submit(digest.update, piece)  # while the disk is written, which is faster
            file.write(piece)

        put(len(text).to_bytes(8, "little") + text)
        for name in names:
            data = _bytes(tensors[name])
            for begin in range(0, len(data), _PIECE):
                put(data[begin : begin + _PIECE])
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    if tensor.numel() == 0:
        return memoryview(b"")
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data
