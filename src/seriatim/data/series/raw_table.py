"""Tables of any kind as named columns of cells: files, data frames, lists, arrays.

Data frames go through narwhals, so neither pandas nor polars is needed. Knows formats, columns and
rows; no series, and not which column is which.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core.extras import import_extra
from seriatim.data import tables
from seriatim.data.files import path_suffix, read_blocks, split_lines
from seriatim.data.frames import is_frame
from seriatim.errors import ConfigError, DataError

Backend: TypeAlias = Literal["pandas", "polars", "pyarrow", "own"]
_INDEX_NAMES = ("", "Unnamed: 0")  # of the numbers of rows that pandas writes
_ARROW_INDEX = "__index_level_0__"


@dataclass(frozen=True)
class Instants:
    """Times that are not text any more.

    Attributes:
        times: (rows,) datetime64[ns], UTC if there is a time zone; NaT where there is none.
        time_zone: the name of their time zone; None: they have none.
    """

    times: NDArray[np.datetime64]
    time_zone: str | None

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class TableRoles:
    """Which columns are what, where the format of a file says so.

    Attributes:
        targets: the columns of values.
        known: the columns of inputs that are known ahead.
        static: the columns that are constant in a series.
        ahead: (rows,) which rows lie after the end of their series, and hold known inputs alone;
            None: no row does.
        freq: the step between moments, which the format says; None: it does not.
    """

    targets: tuple[str, ...]
    known: tuple[str, ...]
    static: tuple[str, ...]
    ahead: NDArray[np.bool_] | None = None
    freq: Any = None


# The cells of a column: numbers with NaN as gaps, times, or whatever the file holds.
Cells: TypeAlias = NDArray[np.float64] | NDArray[np.int64] | Instants | list[Any]


def _row(row: int) -> str:
    return f"row {row + 1:,}"


@dataclass(frozen=True)
class RawTable:
    """Columns of equal length.

    Attributes:
        name: what it is, for messages: the file, or "the data frame".
        columns: the cells of each column, by name.
        place: the place of a row in the data, for messages.
        backend: the kind of data frame, in which results are given back.
        arrays: whether the columns are series without names of their own.
        is_file: whether it is a file.
        roles: which columns are what, where that is sure; None: it is found by names.
        notes: what was taken, as sentences for people.
    """

    name: str
    columns: Mapping[str, Cells]
    place: Callable[[int], str] = field(default=_row)
    backend: Backend = "own"
    arrays: bool = False
    is_file: bool = False
    roles: TableRoles | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def at(self, row: int) -> str:
        """The place of a row, with the name of the table."""
        return f"{self.name}, {self.place(row)}"

    def rows(self, which: NDArray[np.int64]) -> "RawTable":
        """Some of the rows."""
        columns: dict[str, Cells] = {}
        for name, cells in self.columns.items():
            if isinstance(cells, Instants):
                columns[name] = Instants(cells.times[which], cells.time_zone)
            elif isinstance(cells, np.ndarray):
                columns[name] = cells[which]
            else:
                columns[name] = [cells[row] for row in which.tolist()]
        return replace(self, columns=columns, place=lambda row: self.place(int(which[row])))


# ---- files --------------------------------------------------------------------------------------


def read_file(path: Path, format: str | None, encoding: str) -> RawTable:
    """A file: CSV, TSV, JSONL, Parquet, or numbers, one in each line.

    Raises:
        DataError: if it cannot be read so; the message names the line.
    """
    format = format or tables.SUFFIXES.get(path_suffix(path), "text")
    if format == "parquet":
        return _read_parquet(path)
    if format == "text":
        format = _format_of_text(path, encoding)
    if format not in ("csv", "tsv", "jsonl"):
        raise ConfigError(
            f"{path}: series are read from csv, tsv, jsonl, parquet and tsf, not from {format}"
        )
    names = tables.known_columns(path, format, encoding)
    if not names:
        raise DataError(f"{path} is empty or has no columns: give a table with times and values")
    wanted: list[str | int | None] = [*names]
    if format != "jsonl" and _are_numbers(names):  # no header
        names = ["value"] if len(names) == 1 else [f"column {i + 1}" for i in range(len(names))]
        wanted = [*range(1, len(names) + 1)]
    rows: list[list[Any]] = []
    places: list[str] = []
    blank: list[int] = []
    lines = None
    if len(names) == 1 and format in ("csv", "tsv"):
        lines = _with_gaps(split_lines(read_blocks(path, encoding)), blank)
    for place, row in tables.records(path, format, wanted, encoding, lines):
        places.append(place)
        rows.append(row)
    columns = {
        name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=False)
    }
    notes = (_blank_note(path, blank),) if blank else ()
    return _checked(RawTable(str(path), columns, places.__getitem__, is_file=True, notes=notes))


def _with_gaps(lines: Iterable[str], blank: list[int]) -> Iterator[str]:
    """Lines of one column, in which a blank line between others is an empty cell and no separator.

    Args:
        lines: the lines.
        blank: receives the numbers, from 1, of blank lines between others.
    """
    waiting: list[int] = []
    has_begun = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            waiting.append(number)
            continue
        if has_begun:
            blank += waiting
        # A space is a cell of its own for every format; of an empty line, none would be left.
        yield from [" " if has_begun else ""] * len(waiting)
        waiting = []
        has_begun = True
        yield line


def _blank_note(path: Path, blank: list[int]) -> str:
    if len(blank) == 1:
        return f"{path}: line {blank[0]:,} is blank and read as a gap; remove it if it is none"
    return (
        f"{path}: {len(blank):,} blank lines between values, the first of them line {blank[0]:,}, "
        "are read as gaps; remove them if they are none"
    )


def _format_of_text(path: Path, encoding: str) -> str:
    """The format of a file whose name does not say it, by its first line."""
    first = next((x for x in split_lines(read_blocks(path, encoding)) if x.strip()), "")
    if first.lstrip().startswith("{"):
        return "jsonl"
    return "tsv" if "\t" in first else "csv"


def _are_numbers(names: Sequence[str]) -> bool:
    try:
        return all(np.isfinite(float(name)) for name in names)
    except ValueError:
        return False


def _read_parquet(path: Path) -> RawTable:
    message = (
        f"{path} is a parquet file, and reading it needs pyarrow: pip install 'seriatim[data]'"
    )
    arrow = import_extra("pyarrow", message)
    parquet = import_extra("pyarrow.parquet", message)
    try:
        table = parquet.read_table(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {str(path)!r}") from None
    except (arrow.ArrowException, OSError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path} cannot be read as parquet ({reason}): fetch or write it again"
        ) from None
    read = read_frame(table, str(path))
    return replace(read, backend="own", is_file=True)


# ---- frames -------------------------------------------------------------------------------------


def read_frame(frame: Any, name: str = "the data frame") -> RawTable:
    """A pandas, polars or pyarrow table, or whatever else narwhals knows.

    The index of a pandas frame counts as columns, unless it only numbers the rows.

    Raises:
        DataError: if it is not a table whose rows are in memory.
        MissingExtraError: if narwhals is not installed.
    """
    narwhals = import_extra(
        "narwhals", "series in data frames need narwhals: pip install 'seriatim[data]'"
    )
    if hasattr(frame, "reset_index"):
        frame = _with_index(frame)
    try:
        table = narwhals.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"{name} is a {type(frame).__name__} that cannot be read ({str(error)[:80]}): give "
            "a pandas, polars or pyarrow table that is in memory"
        ) from None
    except (ValueError, narwhals.exceptions.NarwhalsError) as error:
        raise DataError(f"{name} cannot be read ({str(error).splitlines()[0]})") from None
    backend = str(table.implementation).rpartition(".")[2].lower()
    columns = {c: _frame_cells(table[c], narwhals, name) for c in table.columns}
    known: Backend = backend if backend in ("pandas", "polars", "pyarrow") else "own"  # type: ignore[assignment]
    return _checked(RawTable(name, {str(c): v for c, v in columns.items()}, backend=known))


def _with_index(frame: Any) -> Any:
    """A pandas frame whose index became columns, unless it only numbers the rows."""
    index = frame.index
    if getattr(frame, "ndim", 2) == 1:
        frame = frame.to_frame("y" if frame.name is None else frame.name)
    is_numbering = type(index).__name__ == "RangeIndex" or (
        index.nlevels == 1 and index.name is None and not hasattr(index, "year")
    )
    if is_numbering:
        return frame
    names = [n if n is not None else f"ds{i or ''}" for i, n in enumerate(index.names)]
    if any(n in frame.columns for n in names):
        return frame.reset_index(drop=True)
    return frame.rename_axis(index=names if len(names) > 1 else names[0]).reset_index()


def _frame_cells(column: Any, narwhals: Any, table: str) -> Cells:
    kind = column.dtype
    if isinstance(kind, narwhals.Date):
        column = column.cast(narwhals.Datetime("us"))
        kind = column.dtype
    if isinstance(kind, narwhals.Datetime):
        return _instants(column, kind, table)
    if kind.is_integer() or kind == narwhals.Boolean:
        if column.null_count() == 0:
            return np.asarray(column.cast(narwhals.Int64).to_numpy(), dtype=np.int64)
        column = column.cast(narwhals.Float64)
        return _floats(column)
    if kind.is_float():
        return _floats(column)
    if kind.is_decimal():
        return _floats(column.cast(narwhals.Float64))
    cells = column.to_list()
    missing = [str(c) in ("NaT", "<NA>") or (isinstance(c, float) and c != c) for c in cells]
    return [None if gone else c for c, gone in zip(cells, missing, strict=True)]


def _floats(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.array(
        [np.nan if v is None else v for v in column.to_list()]
        if column.null_count()
        else column.to_numpy(),
        dtype=np.float64,
    )
    return values


def _instants(column: Any, kind: Any, table: str) -> Instants:
    gone = column.is_null().to_numpy()
    try:
        stamps = column.dt.timestamp("us" if kind.time_unit != "ns" else "ns").to_list()
        unit = "us" if kind.time_unit != "ns" else "ns"
        counts = np.array([0 if g else s for s, g in zip(stamps, gone, strict=True)], np.int64)
        times = to_nanoseconds(counts.astype(f"datetime64[{unit}]"))
    except OverflowError:
        raise DataError(
            f"{table} has times before 1678 or after 2262, which nanoseconds cannot hold: give "
            "whole numbers as times"
        ) from None
    times[np.asarray(gone, dtype=bool)] = np.datetime64("NaT")
    return Instants(times, kind.time_zone)


def to_nanoseconds(times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """datetime64 of any unit as datetime64[ns].

    Raises:
        OverflowError: if a time is before 1678 or after 2262.
    """
    converted = times.astype("datetime64[ns]")
    back = converted.astype(times.dtype)
    if bool(((back != times) & ~np.isnat(times)).any()) or bool(
        (np.isnat(converted) != np.isnat(times)).any()
    ):
        raise OverflowError("datetime64[ns] holds 1678 to 2262")
    return converted


# ---- lists, arrays, mappings --------------------------------------------------------------------


def read_mapping(data: Mapping[Any, Any]) -> RawTable:
    """Columns of equal length, or series of any lengths."""
    columns = {str(name): _array_cells(values, str(name)) for name, values in data.items()}
    if len({len(c) for c in columns.values()}) <= 1:
        return _checked(RawTable("the table", columns))
    longest = max(map(len, columns.values()))
    short = next(name for name, c in columns.items() if len(c) < longest)
    if not all(isinstance(c, np.ndarray) for c in columns.values()):
        raise DataError(
            f"the column {short!r} has {len(columns[short]):,} cells and others have {longest:,}: "
            "give columns of equal length, or series of numbers"
        )
    return stack_series({n: np.asarray(c, np.float64)[:, None] for n, c in columns.items()})


def read_arrays(data: Any) -> RawTable:
    """One series, as a list of numbers or an array (T,); or several, as a list or array of them."""
    if isinstance(data, (list, tuple)) and data and all(isinstance(r, Mapping) for r in data):
        names = list(dict.fromkeys(str(name) for record in data for name in record))
        return _checked(RawTable("the list", {n: [r.get(n) for r in data] for n in names}))
    if isinstance(data, (list, tuple)) and data and all(_is_array(item) for item in data):
        several = {str(i): _matrix(item, f"series {i}") for i, item in enumerate(data)}
        if len({m.shape[1] for m in several.values()}) > 1:
            raise DataError("the series have different numbers of channels: give each as many")
        return stack_series(several)
    array = _numeric(data, "the series")
    if not array.size:
        raise DataError("the series has no values: give numbers")
    if array.ndim == 1:
        return RawTable("the series", {"y": array}, arrays=True)
    if array.ndim == 2:
        return RawTable(
            "the array", {str(i): array[:, i] for i in range(array.shape[1])}, arrays=True
        )
    if array.ndim == 3:
        return stack_series({str(i): series for i, series in enumerate(array)})
    raise DataError(f"an array of shape {array.shape} is no series: give (T,), (T, D) or (S, T, D)")


def stack_series(series: Mapping[str, NDArray[np.float64]]) -> RawTable:
    """A long table of series (T, D), with whole numbers as times."""
    ids = [name for name, values in series.items() for _ in range(len(values))]
    blocks = [*series.values()]
    for name, block in series.items():
        if not block.size:
            raise DataError(f"series {name!r} has no values: give numbers, or leave it out")
    stacked = np.concatenate(blocks)
    times = np.concatenate([np.arange(len(b)) for b in blocks])
    width = stacked.shape[1]
    names = ["y"] if width == 1 else [f"y{i}" for i in range(width)]
    columns: dict[str, Cells] = {"unique_id": ids, "ds": times.astype(np.int64)}
    columns |= {name: stacked[:, i] for i, name in enumerate(names)}
    return RawTable("the data", columns, arrays=True)


def _is_array(item: object) -> bool:
    return isinstance(item, (list, tuple)) or (hasattr(item, "__array__") and np.ndim(item) > 0)


def _matrix(item: Any, name: str) -> NDArray[np.float64]:
    array = _numeric(item, name)
    if array.ndim not in (1, 2):
        raise DataError(f"{name} has the shape {array.shape}: give (T,) or (T, D)")
    return array[:, None] if array.ndim == 1 else array


def _numeric(item: Any, name: str) -> NDArray[np.float64]:
    try:
        return np.array(item, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise DataError(f"{name} is not made of numbers ({str(error)[:80]}): correct it") from None


def _array_cells(values: Any, name: str) -> Cells:
    if is_frame(values) or isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise DataError(f"the column {name!r} is a {type(values).__name__}: give a list or array")
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise DataError(f"the column {name!r} has the shape {values.shape}: give one axis")
        if values.dtype.kind == "M":
            try:
                return Instants(to_nanoseconds(values), None)
            except OverflowError as error:
                raise DataError(f"the column {name!r}: {error}") from None
        if values.dtype.kind in "iub":
            return values.astype(np.int64)
        if values.dtype.kind == "f":
            return values.astype(np.float64)
    cells = values.tolist() if hasattr(values, "tolist") else list(values)
    kinds = {type(cell) for cell in cells}
    if kinds <= {int, bool}:
        with_numbers = np.array(cells, dtype=object)
        if all(abs(int(cell)) < 2**53 for cell in cells):
            return with_numbers.astype(np.int64)
    if kinds <= {int, float, bool, type(None)}:
        try:
            return np.array([np.nan if c is None else c for c in cells], dtype=np.float64)
        except OverflowError:
            raise DataError(f"the column {name!r} has a number that is too large") from None
    return cells


def _checked(table: RawTable) -> RawTable:
    """The table without the column in which pandas numbers the rows.

    Raises:
        DataError: if there are no rows.
    """
    if table.num_rows == 0:
        raise DataError(f"{table.name} has no rows: give a table with times and values")
    names = [n for n in table.columns if not (n in _INDEX_NAMES and _counts(table.columns[n]))]
    names = [n for n in names if n != _ARROW_INDEX]
    columns = {name: table.columns[name] for name in names or table.columns}
    return replace(table, columns=columns)


def _counts(cells: Cells) -> bool:
    """Whether cells are 0, 1, 2 ..."""
    if isinstance(cells, Instants):
        return False
    return all(str(cell) == str(row) for row, cell in enumerate(cells))
