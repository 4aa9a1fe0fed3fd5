"""`open_series`: series from a file, a data frame, an array, a list or a mapping.

Knows all of this package; no models.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data import tables
from seriatim.data.encodings import guess_encoding, unmarked_utf16
from seriatim.data.files import (
    check_encoding,
    open_bytes,
    path_suffix,
    read_blocks,
    refuse_binary,
    split_lines,
)
from seriatim.data.frames import is_frame
from seriatim.data.series.cells import Decimals, to_numbers
from seriatim.data.series.collection import Origin, SeriesCollection
from seriatim.data.series.column_roles import ColumnRoles, Names, as_names, find_roles
from seriatim.data.series.date_parts import join_date_parts
from seriatim.data.series.frequency import Frequency
from seriatim.data.series.grid import Grid, Rows, localize, put_on_grid
from seriatim.data.series.listed import is_listed, read_listed
from seriatim.data.series.raw_table import (
    Instants,
    RawTable,
    read_arrays,
    read_file,
    read_frame,
    read_mapping,
)
from seriatim.data.series.statics import read_static
from seriatim.data.series.time_zones import check_time_zone
from seriatim.data.series.times import TimeColumn, check_time_format, to_times
from seriatim.data.series.tsf import read_tsf
from seriatim.data.series.turned import turn_rows
from seriatim.errors import ConfigError, DataError

SUFFIXES = {".tsf": "tsf"}  # of formats that only hold series
_SAMPLE_BYTES = 1 << 16


def open_series(
    data: Any,
    *,
    id_column: Names | None = None,
    time_column: str | None = None,
    target: Names | None = None,
    known: Names = (),
    static: Names = (),
    freq: str | int | Frequency | None = None,
    time_zone: str | None = None,
    time_format: str | None = None,
    multivariate: bool | None = None,
    decimal: Decimals | None = None,
    format: str | None = None,
    encoding: str | None = None,
) -> SeriesCollection:
    """Series of numbers in time, from whatever holds them.

    A long table has one row for each series and moment, a wide one a column for each series.
    Columns are found by their names: `unique_id`, `item_id`, `series_id`, `id`; `ds`, `timestamp`,
    `date`, `time`; `y`, `target`, `value`; without these, every column of numbers is a series.

    Args:
        data: a path to CSV, TSV, JSONL, Parquet or .tsf; a pandas, polars or pyarrow table; an
            array (T,), (T, S) or (S, T, D); a list of numbers, of series or of records; a mapping
            of names to columns or series; JSON lines, or a list, of records with a start and a
            target, as GluonTS has them; or a `SeriesCollection`, which is returned.
        id_column: the column that names the series of a row, or several that do together.
        time_column: the column of times.
        target: the column of values, or several: of a long table the channels of each series, of
            a wide one a series each.
        known: columns of inputs that are known ahead, such as prices.
        static: columns that are the same in all rows of a series, numbers or words.
        freq: the step between moments, such as h, 15min, D, W, B, MS, QS, YS or 1; None: inferred.
        time_zone: the zone, such as Europe/Berlin, on whose clock times without a zone are, and
            days begin; None: that of the data.
        time_format: how times are written, for `strptime`; None: as they look.
        multivariate: True if the columns of a wide table are the channels of one series.
        decimal: the sign before the fraction in text; None: as the numbers show it.
        format: csv, tsv, jsonl, parquet or tsf; None: by the name of the file.
        encoding: the encoding of a file; None: detected.

    Raises:
        ConfigError: if a column or an option does not exist or suit.
        DataError: if the data cannot be used; the message names the series and the line.
    """
    if isinstance(data, SeriesCollection):
        return data
    if decimal not in (None, ".", ","):
        raise ConfigError(f"decimal {decimal!r} is neither '.' nor ','")
    if time_zone is not None:
        check_time_zone(time_zone)
    check_time_format(time_format)
    table = read_table(data, format, encoding, freq)
    if id_column is None and time_column is None and target is None:
        table = turn_rows(table)
    table = join_date_parts(table, time_column)
    table, freq = _up_to_end(table, target, freq)
    roles = find_roles(
        table,
        id_column=id_column,
        time_column=time_column,
        target=target,
        known=known,
        static=static,
        multivariate=multivariate,
    )
    return _Opening(table, roles, decimal).open(freq, time_zone, time_format)


def _up_to_end(
    table: RawTable, target: Names | None, freq: str | int | Frequency | None
) -> tuple[RawTable, str | int | Frequency | None]:
    """The table without rows after the ends of its series, unless they are what is asked for."""
    sure = table.roles
    if sure is None:
        return table, freq
    if sure.ahead is not None and {*as_names(target)} <= {*sure.targets}:
        most = int(np.bincount(np.cumsum(~sure.ahead))[1:].max()) - 1
        table = replace(table.rows(np.flatnonzero(~sure.ahead)), roles=replace(sure, ahead=None))
        note = (
            f"dynamic features reach up to {most:,} moments beyond the values: for these, give the "
            "same data as known inputs of a forecast"
        )
        table = replace(table, notes=(*table.notes, note))
    return table, sure.freq if freq is None else freq


def read_table(
    data: Any,
    format: str | None = None,
    encoding: str | None = None,
    freq: str | int | Frequency | None = None,
) -> RawTable:
    """The columns of whatever `open_series` takes, as they are.

    Args:
        data, format, encoding: as of `open_series`.
        freq: the step between moments, of data that give the start of each series alone.
    """
    if isinstance(data, (str, Path)):
        path = Path(data)
        if encoding is not None:
            check_encoding(encoding)
        if path.is_dir():
            raise DataError(f"{path} is a folder: give one file of series")
        format = format or format_by_name(path)
        encoding = encoding or encoding_of(path)
        if format == "tsf":
            return read_tsf(path, encoding, freq)
        if format in (None, "jsonl") and begins_listed(path, encoding):
            return read_listed(_json_lines(path, encoding), str(path), freq, is_file=True)
        return read_file(path, format, encoding)
    if isinstance(data, Mapping):
        return read_mapping(data)
    if is_frame(data) or hasattr(data, "to_frame"):
        return read_frame(data)
    if data is None or isinstance(data, (bytes, int, float)) or not hasattr(data, "__len__"):
        raise DataError(
            f"a {type(data).__name__} holds no series: give a file, a data frame, an array, a list "
            "or a mapping"
        )
    if isinstance(data, (list, tuple)) and data and all(map(is_listed, data)):
        numbered = ((f"record {i:,}", record) for i, record in enumerate(data, 1))
        return read_listed(numbered, "the list", freq, is_file=False)
    return read_arrays(data)


def format_by_name(path: Path) -> str | None:
    """The format that the name of a file says, of series or of tables; None: it says none."""
    suffix = path_suffix(path)
    return SUFFIXES.get(suffix) or tables.SUFFIXES.get(suffix)


def begins_listed(path: Path, encoding: str) -> bool:
    """Whether the first line of a file is a record that holds a series; see `listed`."""
    first = next((x for x in split_lines(read_blocks(path, encoding)) if x.strip()), "")
    if not first.lstrip("\ufeff ").startswith("{"):
        return False
    try:
        return is_listed(json.loads(first.lstrip("\ufeff ")))
    except ValueError:
        return False


def _json_lines(path: Path, encoding: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(split_lines(read_blocks(path, encoding)), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.lstrip("\ufeff"))
        except ValueError as error:
            raise DataError(f"{path}, line {number:,} is not JSON ({error}): correct it") from None
        if not is_listed(record):
            raise DataError(
                f"{path}, line {number:,} holds no series as the first line does: give each a "
                "target, and a start"
            )
        yield f"line {number:,}", record


def encoding_of(path: Path) -> str:
    """The encoding of a file, by its first bytes: UTF-8 unless they are not.

    Raises:
        DecodingError: if it is no text; Parquet, which has no encoding, counts as UTF-8.
    """
    with open_bytes(path) as file:
        head = file.read(_SAMPLE_BYTES)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        is_cut = len(head) == _SAMPLE_BYTES and error.start >= len(head) - 4
        if not is_cut and not head.startswith(b"PAR1"):
            if unmarked_utf16(head) is None:
                refuse_binary(head, path)
            return guess_encoding(head)
    return "utf-8"


@dataclass
class _Opening:
    """The steps from a table to a collection.

    Attributes:
        table: the table.
        roles: which column is which.
        decimal: the sign before the fraction.
    """

    table: RawTable
    roles: ColumnRoles
    decimal: Decimals | None

    def open(
        self, freq: str | int | Frequency | None, time_zone: str | None, time_format: str | None
    ) -> SeriesCollection:
        """The collection."""
        table, roles = self.table, self.roles
        is_counted = str(freq.name if isinstance(freq, Frequency) else freq).isdecimal()
        column = self._times(time_format, is_counted=is_counted)
        ids, series, has_integers = self._ids()
        rows = Rows(ids, series, column.times, None, table.name, table.place, self._hint(time_zone))
        rows = self._in_zone(rows, column.time_zone, time_zone)
        if roles.time is None and freq is None:
            freq = 1
        grid = put_on_grid(rows, freq)
        numbers = np.full((int(grid.offsets[-1]), len(roles.targets)), np.nan)
        for channel, name in enumerate(roles.targets):
            cells = to_numbers(table, name, self.decimal)
            self._refuse_infinite(cells, rows, name)
            numbers[grid.positions, channel] = cells
        known = self._known(rows, grid)
        opened = SeriesCollection(
            tuple(ids),
            numbers,
            grid.offsets,
            grid.times,
            grid.freq,
            roles.targets,
            rows.time_zone,
            known,
            roles.known,
            origin=Origin(
                table.name, table.backend, has_integers, roles.time is not None, table.is_file
            ),
            notes=(*table.notes, *roles.notes, *column.notes, *grid.notes),
        )
        if roles.static:
            opened = replace(opened, **read_static(table, roles.static, ids, series))
        return check_values(_in_columns(opened) if roles.is_wide else opened)

    def _times(self, time_format: str | None, *, is_counted: bool) -> TimeColumn:
        if self.roles.time is not None:
            return to_times(self.table, self.roles.time, time_format, is_counted=is_counted)
        return TimeColumn(np.arange(self.table.num_rows, dtype=np.int64))

    def _ids(self) -> tuple[list[str], NDArray[np.int64], bool]:
        """The names of the series in the order of their first rows, and the series of each row."""
        columns = [self.table.columns[name] for name in self.roles.ids]
        if not columns:
            one = self.roles.targets[0] if len(self.roles.targets) == 1 else "series"
            return [one], np.zeros(self.table.num_rows, np.int64), False
        has_integers = len(columns) == 1 and _are_integers(columns[0])
        numbers: dict[str, int] = {}
        series = np.empty(self.table.num_rows, np.int64)
        cells = [c.times if isinstance(c, Instants) else c for c in columns]
        seen: dict[tuple[object, ...], int] = {}
        for row, parts in enumerate(zip(*cells, strict=True)):
            try:
                known = seen.get(parts)
            except TypeError:  # a list, in .jsonl
                parts = tuple(map(str, parts))
                known = seen.get(parts)
            if known is not None:
                series[row] = known
                continue
            names = [_id_text(part) for part in parts]
            if "" in names:
                empty = self.roles.ids[names.index("")]
                raise DataError(
                    f"{self.table.at(row)}: the id in the column {empty!r} is empty: fill it or "
                    "remove the row"
                )
            series[row] = seen[parts] = numbers.setdefault("/".join(names), len(numbers))
        if self.roles.time is None and len(numbers) > 1:
            raise DataError(
                f"{self.table.name} has {len(numbers):,} series and no column of times "
                f"({', '.join(self.table.columns)}): name it, as time_column='ds'"
            )
        return list(numbers), series, has_integers

    def _in_zone(self, rows: Rows, of_data: str | None, chosen: str | None) -> Rows:
        if chosen is None:
            return replace(rows, time_zone=of_data)
        if rows.times.dtype.kind != "M":
            raise ConfigError(
                f"time_zone {chosen!r} does not suit {rows.name}, whose times are whole numbers: "
                "leave it out"
            )
        return localize(rows, chosen) if of_data is None else replace(rows, time_zone=chosen)

    def _hint(self, time_zone: str | None) -> str:
        """What to do if a series has two rows of one time."""
        taken = {*self.roles.ids, *self.roles.targets, *self.roles.known, self.roles.time}
        free = [n for n, c in self.table.columns.items() if n not in taken and _names_series(c)]
        if not self.roles.ids and free:
            return f"if the column {free[0]!r} names the series, give id_column={free[0]!r}"
        has_zone = time_zone is not None or self.roles.time is None
        zone = "" if has_zone else ", or give time_zone if it is the hour of a clock set back"
        return f"remove or add up one of them{zone}"

    def _refuse_infinite(self, cells: NDArray[np.float64], rows: Rows, name: str) -> None:
        infinite = np.flatnonzero(np.isinf(cells))
        if len(infinite):
            row = int(infinite[0])
            series = name if self.roles.is_wide else rows.ids[rows.series[row]]
            raise DataError(
                f"{self.table.at(row)}: series {series!r} has an infinite value at "
                f"{rows.show(row)}: correct it, or leave the cell empty if it is missing"
            )

    def _known(self, rows: Rows, grid: Grid) -> NDArray[np.float64] | None:
        """(N, K) the known inputs; a moment without a row has those of the moment before."""
        names = self.roles.known
        if not names:
            return None
        filled = np.zeros(int(grid.offsets[-1]), np.int64)
        filled[grid.positions] = grid.positions
        filled = np.maximum.accumulate(filled)  # each series begins with a row
        known = np.empty((len(filled), len(names)))
        for k, name in enumerate(names):
            cells = to_numbers(self.table, name, self.decimal, what="known input")
            broken = np.flatnonzero(~np.isfinite(cells))
            if len(broken):
                row = int(broken[0])
                raise DataError(
                    f"{self.table.at(row)}: the known input {name!r} of series "
                    f"{rows.ids[rows.series[row]]!r} is missing or infinite: fill it"
                )
            known[grid.positions, k] = cells
        return known[filled]


def _id_text(cell: object) -> str:
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        cell = int(cell)
    return str(cell).strip()


def _are_integers(cells: Any) -> bool:
    return isinstance(cells, np.ndarray) and cells.dtype.kind == "i"


def _names_series(cells: Any) -> bool:
    """Whether values recur, as the names of series do."""
    if isinstance(cells, (np.ndarray, Instants)):
        return False
    return len(set(map(str, cells))) * 2 <= len(cells)


def _in_columns(one: SeriesCollection) -> SeriesCollection:
    """Each channel of one series as a series of its own."""
    length, width = one.numbers.shape
    return replace(
        one,
        ids=one.channel_names,
        numbers=np.ascontiguousarray(one.numbers.T).reshape(-1, 1),
        offsets=np.arange(width + 1, dtype=np.int64) * length,
        times=np.tile(one.times, width),
        channel_names=("y",),
        known=None if one.known is None else np.tile(one.known, (width, 1)),
        static=None if one.static is None else np.repeat(one.static, width, axis=0),
    )


def check_values(series: SeriesCollection) -> SeriesCollection:
    """The series, with notes on what is unusual about their values.

    Raises:
        DataError: if a series has no value.
    """
    starts = series.offsets[:-1]
    observed = ~np.isnan(series.numbers)
    counts = np.add.reduceat(observed.astype(np.int64), starts, axis=0)
    empty = np.argwhere(counts == 0)
    if len(empty):
        row, channel = empty[0]
        where = f", channel {series.channel_names[channel]!r}," if series.num_channels > 1 else ""
        raise DataError(
            f"{series.origin.name}: series {series.ids[row]!r}{where} has no value in "
            f"{int(series.lengths[row]):,} rows: remove it"
        )
    low = np.minimum.reduceat(np.where(observed, series.numbers, np.inf), starts, axis=0)
    high = np.maximum.reduceat(np.where(observed, series.numbers, -np.inf), starts, axis=0)
    notes = list(series.notes)
    single = np.flatnonzero(counts.max(1) == 1)
    constant = np.flatnonzero((low == high).all(1) & (counts.max(1) > 1))
    if len(single):
        notes.append(f"{_some(series, single)} one value only")
    if len(constant):
        notes.append(f"{_some(series, constant)} the same value throughout")
    return replace(series, notes=tuple(notes))


def _some(series: SeriesCollection, which: NDArray[np.int64]) -> str:
    name = repr(series.ids[int(which[0])])
    if len(which) == 1:
        return f"series {name} has"
    return f"{len(which):,} series, such as {name}, have"
