"""The .tsf files of the Monash forecasting archive (Godahewa et al. 2021): a series in each line.

    @attribute series_name string
    @attribute start_timestamp date
    @frequency hourly
    @data
    T1:2015-01-01 00-00-00:1.5,?,2

Knows lines; what they mean is in `listed`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.data.files import read_blocks, split_lines
from seriatim.data.series.frequency import Frequency
from seriatim.data.series.listed import read_listed
from seriatim.data.series.raw_table import RawTable
from seriatim.errors import DataError

_UNITS = {"minutes": "min", "minute": "min", "seconds": "s", "second": "s", "hours": "h"}
_FREQUENCIES = {
    "yearly": "YS",
    "quarterly": "QS",
    "monthly": "MS",
    "weekly": "W",
    "daily": "D",
    "hourly": "h",
    "half_hourly": "30min",
    "minutely": "min",
    "secondly": "s",
}
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d)-(\d\d)-(\d\d)", re.ASCII)


def read_tsf(path: Path, encoding: str, freq: str | int | Frequency | None) -> RawTable:
    """The long table of a .tsf file.

    Args:
        path: the file.
        encoding: how it is written.
        freq: the step between moments; None: as its header says.

    Raises:
        DataError: if it is broken; the message names the line.
    """
    return read_listed(_records(path, encoding), str(path), freq, is_file=True)


def _records(path: Path, encoding: str) -> Iterator[tuple[str, dict[str, Any]]]:
    attributes: list[tuple[str, str]] = []
    step: str | None = None
    is_data = False
    for number, line in enumerate(split_lines(read_blocks(path, encoding)), 1):
        text, place = line.strip(), f"line {number:,}"
        if not text or text.startswith("#"):
            continue
        if is_data:
            yield place, _series(text, attributes, step, f"{path}, {place}")
            continue
        word, *rest = text.split()
        if word == "@attribute" and len(rest) == 2:
            attributes.append((rest[0], rest[1].lower()))
        elif word == "@frequency" and rest:
            step = _frequency(rest[0].lower())
        elif word == "@data":
            is_data = True
        elif not word.startswith("@"):
            raise DataError(f"{path}, {place}: {text[:40]!r} is before @data: give a .tsf file")
    if not is_data:
        raise DataError(f"{path} has no line @data: give a .tsf file of the Monash archive")


def _frequency(word: str) -> str:
    count, _, unit = word.partition("_")
    return f"{count}{_UNITS[unit]}" if unit in _UNITS else _FREQUENCIES.get(word, word)


def _series(
    text: str, attributes: list[tuple[str, str]], step: str | None, place: str
) -> dict[str, Any]:
    *cells, values = text.split(":")
    if len(cells) != len(attributes):
        raise DataError(
            f"{place}: {len(cells)} attributes before the values, and the header has "
            f"{len(attributes)}: correct it"
        )
    record: dict[str, Any] = {"freq": step}
    for (name, kind), cell in zip(attributes, cells, strict=True):
        if kind == "date":
            record["start"] = _CLOCK.sub(r"\1 \2:\3:\4", cell.strip())
        elif kind in ("numeric", "integer", "real"):
            record[name] = np.nan if cell.strip() == "?" else float(cell)
        else:
            record[name] = cell.strip()
    record["target"] = [None if v.strip() in ("?", "") else v for v in values.split(",")]
    return record
