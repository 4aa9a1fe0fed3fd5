"""Files that are no text, by their first bytes.

Knows bytes; no files and no encodings.
"""

# The first bytes of a file, what it is, and what to do.
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip file", "name it .gz, and it is unpacked"),
    (b"BZh", "a bzip2 file", "unpack it"),
    (b"\xfd7zXZ", "an xz file", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it"),
    (b"PK\x03\x04", "a zip file or an office document", "extract the text"),
    (b"PAR1", "a parquet file", "name it .parquet, or pass --format parquet"),
    (b"%PDF", "a PDF", "extract the text"),
    (b"\x89PNG", "a PNG image", "pass text"),
    (b"\xff\xd8\xff", "a JPEG image", "pass text"),
    (b"GIF8", "a GIF image", "pass text"),
    (b"SQLite format 3", "an SQLite database", "export a table as .csv"),
    (b"\x93NUMPY", "a numpy array", "export it as .csv"),
    (b"\x89HDF", "an HDF5 file", "export a table as .csv"),
    (b"\x80\x04", "a pickle", "export its content as .jsonl"),
    (b"\x80\x05", "a pickle", "export its content as .jsonl"),
    (b"\x7fELF", "a program", "pass text"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


def signature(data: bytes) -> tuple[str, str] | None:
    """(what it is, what to do) of a file that begins as a known format does; otherwise None."""
    if data[8:10] == b'{"' and data[5:8] == bytes(3):
        return "weights of a model (safetensors)", "pass text or a table"
    return next(
        ((kind, action) for prefix, kind, action in _BINARY if data.startswith(prefix)), None
    )


def no_text(data: bytes) -> tuple[str, str] | None:
    """(what it is, what to do) of bytes of which many are no text in any encoding of one byte.

    UTF-16 and UTF-32 are among them: they are to be ruled out first.
    """
    zeros = data.count(0)
    if zeros * 100 > len(data):
        kind = f"binary: {zeros:,} of its first {len(data):,} bytes are NUL"
        return kind, "pass text or a table"
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls * 20 > len(data) and len(data) > 100:
        kind = f"binary: {controls:,} of its first {len(data):,} bytes are control characters"
        return kind, "pass text or a table"
    return None
