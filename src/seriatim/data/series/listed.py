"""Series that stand in a record each, as a start and a list of values: JSON lines, Monash's .tsf.

    {"item_id": "a", "start": "2015-01-01 00:00:00", "freq": "h", "target": [1.5, null, 2],
     "feat_dynamic_real": [[..]], "feat_static_cat": [0], "feat_static_real": [1.2]}

as GluonTS writes them. They become one long table. Knows records and times; no files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.frequency import Frequency, parse_frequency
from seriatim.data.series.raw_table import Cells, Instants, RawTable, TableRoles
from seriatim.errors import ConfigError, DataError

_IDS = ("item_id", "unique_id", "series_id", "id", "series_name")
_DYNAMIC = ("feat_dynamic_real", "feat_dynamic_cat")
_STATIC = ("feat_static_cat", "feat_static_real")
_USED = {*_IDS, *_DYNAMIC, *_STATIC, "start", "freq", "target"}
_FIRST, _LAST = datetime(1678, 1, 1), datetime(2262, 1, 1)


def is_listed(record: object) -> bool:
    """Whether a record holds a series: a list of values, with a start or a name."""
    if not isinstance(record, Mapping) or not isinstance(record.get("target"), (list, np.ndarray)):
        return False
    return "start" in record or not {*_IDS, *_DYNAMIC, *_STATIC}.isdisjoint(record)


@dataclass
class _Parts:
    """What was read of each series, in order."""

    ids: list[str] = field(default_factory=list)
    starts: list[datetime | None] = field(default_factory=list)
    targets: list[NDArray[np.float64]] = field(default_factory=list)  # (T, D)
    known: list[NDArray[np.float64]] = field(default_factory=list)  # (T or more, K)
    static: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    freqs: set[str] = field(default_factory=set)
    unused: dict[str, None] = field(default_factory=dict)


def read_listed(
    records: Iterable[tuple[str, Mapping[str, Any]]],
    name: str,
    freq: str | int | Frequency | None,
    *,
    is_file: bool,
) -> RawTable:
    """The long table of records that hold a series each.

    Args:
        records: the place of each, for messages, and its fields.
        name: what they are, for messages.
        freq: the step between moments; None: as the records say.
        is_file: whether the name is that of a file.

    Raises:
        DataError: if a record is broken, or nothing says the step; it names the record.
    """
    parts = _Parts()
    for place, record in records:
        _read_record(parts, record, f"{name}, {place}")
        parts.places.append(place)
    if not parts.ids:
        raise DataError(f"{name} has no series: give records with a start and a target")
    _check_alike(parts, name)
    lengths = np.array(
        [max(len(t), len(k)) for t, k in zip(parts.targets, parts.known, strict=True)]
    )
    series = np.repeat(np.arange(len(lengths)), lengths)
    number = np.arange(len(series)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    times, chosen = _times(parts, name, freq, series, number)
    columns: dict[str, Cells] = {
        "unique_id": np.repeat(np.array(parts.ids, object), lengths).tolist(),
        "ds": times,
    }
    channels, inputs = parts.targets[0].shape[1], parts.known[0].shape[1]
    targets = ("target",) if channels == 1 else tuple(f"target {i}" for i in range(channels))
    numbers = _padded(parts.targets, lengths)
    columns |= {column: numbers[:, i] for i, column in enumerate(targets)}
    known = tuple(f"dynamic {i}" for i in range(inputs))
    inside = _padded(parts.known, lengths) if inputs else np.zeros((len(series), 0))
    columns |= {column: inside[:, i] for i, column in enumerate(known)}
    static, notes = _static(parts, series, columns)
    if parts.unused:
        notes.append(f"fields that are not used: {', '.join(parts.unused)}")
    ends = np.array([len(t) for t in parts.targets])
    ahead = number >= ends[series]
    return RawTable(
        name,
        columns,
        lambda row: f"{parts.places[series[row]]}, value {int(number[row]) + 1:,}",
        is_file=is_file,
        roles=TableRoles(targets, known, static, ahead if ahead.any() else None, chosen),
        notes=tuple(notes),
    )


def _read_record(parts: _Parts, record: Mapping[str, Any], place: str) -> None:
    target = _matrix(record.get("target"), f"{place}: target")
    if not len(target):
        raise DataError(f"{place}: the target has no values: give some, or leave the series out")
    blocks = [_matrix(record[n], f"{place}: {n}") for n in _DYNAMIC if _is_there(record, n)]
    for block in blocks:
        if len(block) < len(target):
            raise DataError(
                f"{place}: a dynamic feature has {len(block):,} values and the target "
                f"{len(target):,}: give one for each moment, or more, of those to come"
            )
    least = min((len(b) for b in blocks), default=0)
    known = np.concatenate([b[:least] for b in blocks], 1) if blocks else np.zeros((0, 0))
    names = [str(record[n]) for n in _IDS if record.get(n) is not None]
    number = len(parts.ids)
    parts.ids.append(names[0] if names else str(number))
    parts.starts.append(_start(record.get("start"), place))
    parts.targets.append(target)
    parts.known.append(known)
    own: dict[str, Any] = {}
    for field_name in _STATIC:
        if _is_there(record, field_name):
            given = record[field_name]
            for i, value in enumerate(
                given if isinstance(given, (list, tuple, np.ndarray)) else [given]
            ):
                is_word = field_name.endswith("cat")
                own[f"{field_name[5:]} {i}"] = f"c{value}" if is_word else value
    for other, value in record.items():
        is_plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if other not in _USED and is_plain:
            own[other] = value
        elif other not in _USED:
            parts.unused[other] = None
    parts.static.append(own)
    freq = record.get("freq") or getattr(record.get("start"), "freqstr", None)  # of a period
    if freq is not None:
        parts.freqs.add(str(freq))


def _is_there(record: Mapping[str, Any], name: str) -> bool:
    value = record.get(name)
    return value is not None and len(np.atleast_1d(np.asarray(value, dtype=object))) > 0


def _matrix(given: Any, place: str) -> NDArray[np.float64]:
    """(T, D) numbers of a list (T,) or of lists (D, T)."""
    if not isinstance(given, (list, tuple, np.ndarray)):
        raise DataError(f"{place} is no list of numbers: give one")
    rows = given if len(given) and isinstance(given[0], (list, tuple, np.ndarray)) else [given]
    if len({len(row) for row in rows}) != 1:
        raise DataError(f"{place} has lists of several lengths: give as many values in each")
    numbers = [[_number(value, place) for value in row] for row in rows]
    return np.array(numbers, np.float64).reshape(len(rows), -1).T


def _number(value: Any, place: str) -> float:
    try:
        return np.nan if value is None else float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"{place} has {str(value)[:40]!r}, which is no number: correct it, or give null for a "
            "gap"
        ) from None


def _start(given: Any, place: str) -> datetime | None:
    if given is None:
        return None
    try:
        text = str(given)
        if len(text) < 8:  # 2024-01, as periods of months are written
            start = datetime.fromisoformat(str(np.datetime64(text, "D")))
        else:
            start = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"{place}: {str(given)[:40]!r} is no start: give one such as 2015-01-01 00:00:00"
        ) from None
    if not _FIRST <= start.replace(tzinfo=None) < _LAST:
        raise DataError(f"{place}: the start {start} is before 1678 or after 2261: correct it")
    return start


def _check_alike(parts: _Parts, name: str) -> None:
    for what, blocks in (("channels", parts.targets), ("dynamic features", parts.known)):
        widths = [block.shape[1] for block in blocks]
        if len(set(widths)) > 1:
            odd = next(i for i, w in enumerate(widths) if w != widths[0])
            raise DataError(
                f"{name}, {parts.places[odd]}: {widths[odd]} {what}, and the first series has "
                f"{widths[0]}: give as many in each"
            )
    if len(set(parts.ids)) < len(parts.ids):
        double = next(i for i in parts.ids if parts.ids.count(i) > 1)
        raise DataError(f"{name}: two series are called {double!r}: give each a name of its own")
    if len({start is None for start in parts.starts}) > 1:
        raise DataError(f"{name}: some series have a start and others none: give all of them one")
    zones = {None if s is None or s.tzinfo is None else str(s.tzinfo) for s in parts.starts}
    if len(zones) > 1:
        raise DataError(f"{name}: starts are in several time zones: convert them to one")


def _times(
    parts: _Parts,
    name: str,
    freq: str | int | Frequency | None,
    series: NDArray[np.int64],
    number: NDArray[np.int64],
) -> tuple[Cells, str | int | Frequency | None]:
    """The time of each row, and the step."""
    if parts.starts[0] is None:
        return number, 1
    if freq is None:
        if len(parts.freqs) > 1:
            raise DataError(
                f"{name} has series of several steps ({', '.join(sorted(parts.freqs))}): "
                "give one file for each"
            )
        if not parts.freqs:
            raise ConfigError(
                f"{name} gives the start of each series and not the step between its values: "
                "give freq='h' or the like"
            )
        freq = next(iter(parts.freqs))
    starts = [s.replace(tzinfo=None) for s in parts.starts if s is not None]
    offsets = [s.utcoffset() for s in parts.starts if s is not None]
    local = np.array(starts, "datetime64[us]").astype("datetime64[ns]")
    zone = None
    if offsets[0] is not None:
        local = local - np.array(offsets, "timedelta64[us]")
        zone = "UTC"
    step = freq if isinstance(freq, Frequency) else parse_frequency(freq, local)
    if step.unit == "number":
        raise ConfigError(
            f"freq={step.name} is of whole numbers, and {name} has dates: give freq='h' or the like"
        )
    return Instants(np.asarray(step.after(local[series], number)), zone), step


def _padded(
    blocks: Sequence[NDArray[np.float64]], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N, D) blocks end to end, each filled up to its length by NaN."""
    whole = np.full((int(lengths.sum()), blocks[0].shape[1]), np.nan)
    at = 0
    for block, length in zip(blocks, lengths.tolist(), strict=True):
        whole[at : at + len(block)] = block[:length]
        at += length
    return whole


def _static(
    parts: _Parts, series: NDArray[np.int64], columns: dict[str, Cells]
) -> tuple[tuple[str, ...], list[str]]:
    """Adds the columns of static inputs; those that differ in every series only name it."""
    names = list(dict.fromkeys(n for own in parts.static for n in own))
    kept, left = [], []
    for name in names:
        cells = [own.get(name) for own in parts.static]
        is_word = any(isinstance(c, str) for c in cells)
        if any(c is None for c in cells) or (is_word and len(set(cells)) in (1, len(cells))):
            left.append(name)
            continue
        array = (
            np.array([str(c) for c in cells], object) if is_word else np.array(cells, np.float64)
        )
        spread = array[series]
        columns[name] = spread.tolist() if is_word else spread
        kept.append(name)
    notes = []
    if left and len(series):
        notes.append(
            f"not used, as they differ for every series, for none, or are missing for some: "
            f"{', '.join(left)}"
        )
    return tuple(kept), notes
