"""FASTA: a line that begins with > names a sequence, and the lines after it spell it.

    >P01013 GENE X PROTEIN
    QIKDLLVSSSTDLDTTLVLVNAIYFKGMWKTAFNAEDTREMPFHVTKQESKPVQMMCMNNSFNVATLPAE
    KMKILELPFASGDLSMLVLLPDEVSDLERIEKTINFEKLTEWTNPNTMEKRRVKVYLPQMKIEEKYNLTS

A record has three columns: the id (the first word of its line), the description (the rest) and the
sequence, without line ends and spaces; letters keep their case. Lines that begin with ; are
comments. Knows lines; no symbols and no tables.
"""

from collections.abc import Iterator
from pathlib import Path

from seriatim.data.files import read_blocks, split_lines
from seriatim.errors import DataError

SUFFIXES = (".fasta", ".fa", ".fas", ".fna", ".faa", ".ffn", ".frn")
COLUMNS = ("id", "description", "sequence")


def read_fasta(path: Path, encoding: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """(the place for messages, the values of `COLUMNS`) of every record.

    Raises:
        DataError: if a sequence has no line that names it, or a name has no sequence.
    """
    name: str | None = None
    place, parts = "", list[str]()
    for number, line in enumerate(split_lines(read_blocks(path, encoding)), 1):
        if not line.strip() or line.startswith(";"):
            continue
        if line.startswith(">"):
            if name is not None:
                yield place, _record(path, place, name, parts)
            name, place, parts = line[1:].strip(), f"line {number:,}", []
        elif name is None:
            raise DataError(
                f"{path}, line {number:,}, is not FASTA ({line[:40]!r} comes before any line that "
                "begins with >): name the sequence in such a line, or give --format text"
            )
        else:
            parts.append("".join(line.split()))
    if name is not None:
        yield place, _record(path, place, name, parts)


def _record(path: Path, place: str, name: str, parts: list[str]) -> tuple[str, str, str]:
    if not parts:
        raise DataError(
            f"{path}, {place}: >{name[:40]} has no sequence after it: add one, or remove the line"
        )
    id_, _, description = name.partition(" ")
    return id_, description.strip(), "".join(parts)


def looks_like_fasta(lines: list[str]) -> bool:
    """Whether the first lines of a file are FASTA: letters after a line that begins with >."""
    full = [line.strip() for line in lines if line.strip() and not line.startswith(";")]
    if len(full) < 2 or not full[0].startswith(">"):
        return False
    spelled = [line for line in full if not line.startswith(">")]
    return bool(spelled) and all(line.strip("*.-").isalpha() for line in spelled)
