"""What `seriatim look` says of series: as text, as a page, as JSON.

Knows the profile of series; reads no data.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.core.records import Json
from seriatim.data.series.calendar import CYCLES, usual_cycles
from seriatim.data.series.opening import open_series
from seriatim.data.series.output import time_texts
from seriatim.data_profile.findings import LEVELS, Finding
from seriatim.data_profile.series_advice import SeriesAdvice, advise_series, series_findings
from seriatim.data_profile.series_profile import SeriesProfile, profile_series
from seriatim.data_profile.series_season import autocorrelation, fill_gaps
from seriatim.report.charts import LineSeries, line_plot
from seriatim.report.document import Item, Report, Section
from seriatim.report.plots import Plot
from seriatim.report.series_plots import SeriesCurve, series_plot
from seriatim.report.tables import Table
from seriatim.report.terminal import count_noun

_WIDTH = 96
_DRAWN = 6  # series
_POINTS = 400  # of a drawn series
_LAGS = 3  # seasons of autocorrelation
_LISTED = 12  # series in the table


@dataclass(frozen=True)
class SeriesReport:
    """What `look` found in series; print it, or use `to_json()` or `page()`.

    Attributes:
        profile: the figures.
        options: the options with which the series were read, by their names on the command line.
    """

    profile: SeriesProfile
    options: dict[str, str]

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before fitting, the most serious first."""
        return series_findings(self.profile)

    @cached_property
    def advice(self) -> SeriesAdvice:
        """What to run first, and why."""
        return advise_series(self.profile, self.options)

    @property
    def command(self) -> str:
        """The command to run next."""
        return self.advice.commands[0]

    def to_json(self) -> Json:
        """Everything as JSON values."""
        profile, series = self.profile, self.profile.series
        return {
            "format": 2,
            "data": series.origin.name,
            "kind": {"name": "numbers", "description": "series in time", "task": "forecast"},
            "series": {
                "number": len(series),
                "ids": list(series.ids[:_LISTED]),
                "channels": list(series.channel_names),
                "known": list(series.known_names),
                "static": list(series.static_names),
                "moments": len(series.numbers),
                "lengths": asdict(profile.lengths),
                "begin": profile.begin,
                "end": profile.end,
                "freq": series.freq.name,
                "time_zone": series.time_zone,
                "fingerprint": series.fingerprint(),
            },
            "gaps": asdict(profile.gaps),
            "values": asdict(profile.values),
            "season": {**asdict(profile.seasons), "length": profile.seasons.length},
            "naive": asdict(profile.naive),
            "findings": [asdict(finding) for finding in self.findings],
            "advice": asdict(self.advice),
        }

    def __repr__(self) -> str:
        series = self.profile.series
        return f"SeriesReport({series.origin.name}: {_kinds(self.profile)}; print it)"

    def __str__(self) -> str:
        facts, found = _facts(self.profile), self.findings
        sections = [
            Section(
                "Findings",
                items=[f"{f.level.upper()}: {f.message} {f.action}".rstrip() for f in found],
            ),
            *(Section(t.title, tables=[t]) for t in (series_table(self.profile), facts) if t.rows),
            Section("Advice", items=self.advice.reasons),
            Section("Run next", commands=self.advice.commands),
        ]
        title = f"{self.profile.series.origin.name}: {_kinds(self.profile)}"
        filled = [section for section in sections if section.has_content]
        return Report(title, _extent(self.profile), filled).text(width=_WIDTH)

    def page(self) -> Report:
        """The report with tables and plots.

        Raises:
            MissingExtraError: Altair is not installed.
        """
        profile = self.profile
        table, facts = series_table(profile), _facts(profile)
        sections = [
            Section("What to run next", items=_reasons(self.advice), commands=self.advice.commands),
            _findings_section(self.findings),
            Section("The series", _drawn(profile), list(_plots(profile)), is_grid=True),
            Section("What repeats", "", list(_season_plots(profile)), is_grid=True),
            Section(facts.title, tables=[facts] if facts.rows else []),
            Section(table.title, tables=[table]),
        ]
        name = PurePath(profile.series.origin.name).name or profile.series.origin.name
        filled = [section for section in sections if section.has_content]
        note = f"Data: {profile.series.origin.name}"
        return Report(f"What is in {name}", "\n\n".join(self._lead()), filled, note)

    def _lead(self) -> Iterator[str]:
        kinds = _kinds(self.profile)
        yield f"{kinds[:1].upper()}{kinds[1:]}. {_extent(self.profile)}"
        season = self.profile.seasons.length
        repeats = f"They repeat every {season:,} moments." if season > 1 else "No season was found."
        counts = Counter(finding.level for finding in self.findings)
        serious = [count_noun(counts[level], level) for level in LEVELS if counts[level]]
        found = f"Findings: {', '.join(serious)}." if serious else "Nothing unusual was found."
        yield f"{repeats} {found}"


def _kinds(profile: SeriesProfile) -> str:
    """The data in a phrase."""
    series = profile.series
    channels = ""
    if series.num_channels > 1:
        channels = f" of {series.num_channels} channels"
    step = f"a value every {series.freq.noun}"
    if series.freq.unit == "number":
        step = "at whole numbers" if series.freq.count == 1 else f"at every {series.freq.count}th"
    count = count_noun(len(series), "series", "series")
    return f"{count}{channels} of {profile.values.support}, {step}"


def _extent(profile: SeriesProfile) -> str:
    """How many moments there are, from when to when."""
    lengths = profile.lengths
    each = f"{lengths.least:,.0f} moments each"
    if lengths.least < lengths.most:
        each = f"{lengths.least:,.0f} to {lengths.most:,.0f} moments each"
    if len(profile.series) == 1:
        each = f"{lengths.most:,.0f} moments"
    missing = f", {profile.gaps.fraction:.1%} missing" if profile.gaps.missing else ", no gap"
    zone = f" ({profile.series.time_zone})" if profile.series.time_zone else ""
    return f"{each}{missing}, from {profile.begin} to {profile.end}{zone}."


def _reasons(advice: SeriesAdvice) -> list[Item | str]:
    split = [reason.partition(": ") for reason in advice.reasons]
    return [Item(label, text) if text else label for label, _, text in split]


def _findings_section(findings: tuple[Finding, ...]) -> Section:
    items = [Item(f.level, f"{f.message} {f.action}".rstrip(), f.level) for f in findings]
    return Section("Findings", "" if items else "Nothing unusual was found.", items=items)


# ---- tables -------------------------------------------------------------------------------------


def series_table(profile: SeriesProfile) -> Table:
    """The first series, a row each: length, gaps, level, extremes."""
    series = profile.series
    rows: list[list[str | int | float | None]] = []
    for i in range(min(len(series), _LISTED)):
        for channel in range(series.num_channels):
            values = series.of(i)[:, channel]
            name = _row_name(profile, i, channel)
            rows.append(
                [
                    name,
                    len(values),
                    int(np.isnan(values).sum()),
                    float(np.nanmin(values)),
                    float(np.nanmean(values)),
                    float(np.nanmax(values)),
                    float((values == 0).mean()),
                ]
            )
    more = len(series) - _LISTED
    note = f"{more:,} more series are not shown." if more > 0 else ""
    columns = ["series", "moments", "gaps", "least", "mean", "most", "zeros"]
    formats = {"moments": ",d", "gaps": ",d", "zeros": ".1%"}
    return Table("Each series", columns, rows, note, formats)


def _row_name(profile: SeriesProfile, series: int, channel: int) -> str:
    """The name of a series, of its channel, or of both, whatever tells it apart."""
    found = profile.series
    if found.num_channels == 1:
        return found.ids[series]
    name = found.channel_names[channel]
    return name if len(found) == 1 else f"{found.ids[series]}, {name}"


def _facts(profile: SeriesProfile) -> Table:
    """Seasons, and how far naive forecasts are off."""
    rows: list[list[str | float | None]] = [
        [f"season of {s.length:,}: variance explained", s.strength] for s in profile.seasons.seasons
    ]
    if profile.naive.last is not None:
        rows.append(["step from the value before, by the mean deviation", profile.naive.last])
    if profile.naive.season is not None:
        rows.append(["step from the value one season before, likewise", profile.naive.season])
    note = "A step near 0 is easy to predict; about 1.4 is that of noise." if rows else ""
    column = "median of series"
    return Table("How predictable", ["figure", column], rows, note, {column: ".2f"})


# ---- plots --------------------------------------------------------------------------------------


def _plots(profile: SeriesProfile) -> Iterator[Plot]:
    """The first series, thinned to means of equal stretches where they are long."""
    series = profile.series
    for i in range(min(len(series), _DRAWN)):
        for channel in range(min(series.num_channels, _DRAWN if len(series) == 1 else 1)):
            times = series.times[series.offsets[i] : series.offsets[i + 1]]
            values = series.of(i)[:, channel]
            size = -(-len(values) // _POINTS)
            thin = _stretches(values, size)
            shown: Sequence[str | int] = times[::size].tolist()
            if times.dtype.kind == "M":
                shown = time_texts(times[::size], series.time_zone)
            name = _row_name(profile, i, channel)
            caption = "Every value; a line is interrupted at a gap."
            if size > 1:
                caption = f"Means of {size:,} moments each, from the first to the last."
            curve = SeriesCurve(shown, [None if v != v else float(v) for v in thin], [], [])
            yield series_plot(curve, name, caption, y=name, height=160)


def _stretches(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    if size == 1:
        return values
    padded = np.concatenate([values, np.full(-len(values) % size, np.nan)]).reshape(-1, size)
    is_there = ~np.isnan(padded)
    sums = np.where(is_there, padded, 0.0).sum(1)
    with np.errstate(invalid="ignore"):
        return np.where(is_there.any(1), sums / is_there.sum(1), np.nan)


def _season_plots(profile: SeriesProfile) -> Iterator[Plot]:
    """Autocorrelations, and the mean of each position in the calendar."""
    series, season = profile.series, max(profile.seasons.length, profile.seasons.usual)
    curves = []
    for i in range(min(len(series), _DRAWN)):
        filled = fill_gaps(series.of(i)[:, 0])
        longest = min(max(_LAGS * season, 30), len(filled) // 2)
        if longest < 2:
            continue
        found = autocorrelation(filled, longest)
        curves.append(LineSeries(series.ids[i], list(range(1, longest + 1)), found[1:].tolist()))
    if curves:
        yield line_plot(
            curves,
            "Autocorrelation",
            "How alike values are that lie so many moments apart, about a straight line through "
            f"the series: 1 alike, 0 unrelated. Peaks are seasons{_ruled(profile)}.",
            x="moments apart",
            y="correlation",
            y_covers=(0.0, 1.0),
        )
    yield from _calendar_plots(profile)


def _drawn(profile: SeriesProfile) -> str:
    number = len(profile.series)
    return f"The first {_DRAWN} of {number:,} are drawn." if number > _DRAWN else ""


def _ruled(profile: SeriesProfile) -> str:
    season = profile.seasons.length
    return f" (the first at {season:,})" if season > 1 else ""


_TITLES = {
    "hour": "hour of the day",
    "weekday": "day of the week, Monday is 1",
    "month": "month",
    "quarter": "quarter",
}
_FIRST = {"hour": 0, "weekday": 1, "month": 1, "quarter": 1}


def _calendar_plots(profile: SeriesProfile) -> Iterator[Plot]:
    """The mean of each hour, weekday or month, in deviations of a series."""
    series = profile.series
    if series.times.dtype.kind != "M":
        return
    is_monthly = series.freq.unit == "month"
    for name in dict.fromkeys((*usual_cycles(series.freq), "month")):
        if name not in _TITLES or (name == "month" and series.freq.count > 1 and is_monthly):
            continue
        curves = list(_by_position(profile, name))
        if not curves:
            continue
        yield line_plot(
            curves,
            f"By {_TITLES[name].partition(',')[0]}",
            "The mean of the values at each position, in standard deviations from the mean of the "
            "series.",
            x=_TITLES[name],
            y="deviations",
        )


def _by_position(profile: SeriesProfile, cycle: str) -> Iterator[LineSeries]:
    series = profile.series
    for i in range(min(len(series), _DRAWN)):
        rows = slice(int(series.offsets[i]), int(series.offsets[i + 1]))
        values = series.numbers[rows, 0]
        position = np.floor(CYCLES[cycle][0](series.local_times[rows])).astype(np.int64)
        there = ~np.isnan(values)
        spread = float(values[there].std())
        found = np.unique(position[there])
        if spread == 0 or len(found) < 2:
            continue
        centred = (values - values[there].mean()) / spread
        means = [float(centred[there & (position == p)].mean()) for p in found]
        yield LineSeries(series.ids[i], (found + _FIRST[cycle]).tolist(), means)


def look_at_series(
    data: Any, options: Mapping[str, Any], say: Callable[[str], None] | None = None
) -> SeriesReport:
    """Open series and measure them.

    Args:
        data: whatever `open_series` takes.
        options: id-column, time-column, target-column, freq, format, encoding; None: found.
        say: callback that receives log messages.

    Raises:
        ConfigError, DataError: as `open_series`.
    """
    given = {name: value for name, value in options.items() if value}
    names = {"target" if n == "target-column" else n.replace("-", "_"): v for n, v in given.items()}
    series = open_series(data, **names)
    shown = {n: v if isinstance(v, str) else ",".join(v) for n, v in given.items()}
    return SeriesReport(profile_series(series, say or (lambda _: None)), shown)
