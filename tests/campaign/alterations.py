"""Random damage: to bytes, to JSON values, to files of tensors."""

import json
import random
import struct
from pathlib import Path
from typing import Any

_TOKENS = [
    b"\r", b"\n", b"\r\n", b"\0", b'"', b"'", b",", b";", b"\t", b"|", b"\\", b"{", b"}", b"[",
    b"]",
    b"\xff", b"\xef\xbb\xbf", b"\xfe\xff", "\u2028".encode(), "\u0085".encode(), b"\x1a", b"NaN",
    b"1e999", b"-1", b"null", b"# ", b"-DOCSTART-", b"\\data\\", b"ngram 9=9", b"<s>", b"</s>",
    b"<unk>", "\U0001f4a9".encode(), "e\u0301".encode(), b"\xed\xa0\x80", b" ", b"-99", b"0", b"''",
]  # fmt: skip
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, 1e308, 10**30, 2**31, 2**63, 10**9, "", "x",
    "lstm",
    "\ud83d", [], {}, [1], ["a"], {"a": 1}, [[[]]], "1", [None], {"": None},
]  # fmt: skip


def damage(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some of them changed, inserted, removed, repeated or cut off."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        elif kind in (1, 2, 3):
            data = data[:at] + rng.choice(_TOKENS) * rng.choice((1, 1, 1, 3)) + data[at:]
        elif kind == 4:
            data = data[:at] + data[at + rng.randrange(1, 40) :]
        elif kind == 5:
            piece = data[at : at + rng.randrange(1, 60)]
            data = data[:at] + piece * rng.choice((2, 3, 50)) + data[at:]
        elif kind == 6:
            data = data[:at]
        else:
            data = data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at + rng.randrange(9) :]
    return data


def alter_json(file: Path, rng: random.Random) -> None:
    """Replace or remove a value somewhere in a JSON file, or nest it deeply."""
    content = json.loads(file.read_text(encoding="utf-8"))
    places = list(_places(content))
    parent, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        depth = rng.choice((50, 900, 1100, 100_000))
        parent[key] = "DEEP"
        text = json.dumps(content).replace('"DEEP"', "[" * depth + "]" * depth)
        file.write_text(text, encoding="utf-8")
        return
    elif kind == 2 and isinstance(parent[key], int | float):
        parent[key] = parent[key] * rng.choice((0, -1, 2, 10, 1000, 0.5)) + rng.choice((0, 1))
    else:
        parent[key] = rng.choice(_VALUES)
    file.write_text(json.dumps(content), encoding="utf-8")


def _places(value: Any) -> "list[tuple[Any, Any]]":
    """(parent, key) of every value inside, with few of long lists."""
    places: list[tuple[Any, Any]] = []
    keys: Any = list(value) if isinstance(value, dict) else range(min(len(value), 12))
    for key in keys:
        places.append((value, key))
        if isinstance(value[key], dict | list):
            places += _places(value[key])
    return places


def alter_tensors(file: Path, rng: random.Random) -> None:
    """Change the header of a safetensors file: types, shapes, offsets, names, its length."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = rng.choice([key for key in head if key != "__metadata__"] or [""])
    kind = rng.randrange(7)
    if kind == 0:
        length = rng.choice((0, 1, 2**31, 2**40, 2**63, length - 1, length + 1))
        file.write_bytes(struct.pack("<Q", length) + data[8:])
        return
    if name and kind == 1:
        head[name]["dtype"] = rng.choice(("F64", "I8", "BF16", "U8", "BOOL", "X", 3))
    elif name and kind == 2:
        head[name]["shape"] = rng.choice(([], [2**40, 2**20], [0], [-1], [1], "x", None))
    elif name and kind == 3:
        head[name]["data_offsets"] = rng.choice(([0, 0], [0, 2**40], [4, 0], [-1, 4], None))
    elif name and kind == 4:
        head[name + "x"] = head.pop(name)
    elif name and kind == 5:
        del head[name]
    else:  # valid to safetensors: values that no training writes
        rest = rng.choice((b"\xff", b"\x00", b"\x7f")) * len(rest)
    text = json.dumps(head).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + rest)
