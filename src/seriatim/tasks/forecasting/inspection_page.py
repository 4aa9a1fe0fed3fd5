"""The page of what happens inside a forecaster while it reads a series.

Knows findings and the plots of `report`; no model.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.report.charts import LineSeries, line_plot
from seriatim.report.document import Report, Section
from seriatim.report.heat_maps import heat_map
from seriatim.report.plots import Plot
from seriatim.report.series_plots import Band, SeriesCurve, or_gaps, series_plot
from seriatim.report.terminal import count_noun

if TYPE_CHECKING:
    from seriatim.tasks.forecasting.hidden_parts import HiddenParts, StatePath

Floats: TypeAlias = NDArray[np.float64]
_UNITS = 24  # of a tap that are drawn
_COMPONENTS = 6  # that are drawn
_COLUMNS = 96  # moments of a tap that are drawn, the last


class Inspected(Protocol):
    """What a forecaster made of a part of one series; see `SeriesInspection`."""

    @property
    def title(self) -> str:
        """The name of the model."""

    @property
    def channel(self) -> str:
        """The name of the channel that is shown."""

    @property
    def times(self) -> Sequence[str | int]:
        """(T,) the moments."""

    @property
    def values(self) -> Floats:
        """(T,) NaN where missing."""

    @property
    def low(self) -> Floats:
        """(T,) the quantile .1."""

    @property
    def median(self) -> Floats:
        """(T,)"""

    @property
    def high(self) -> Floats:
        """(T,) the quantile .9."""

    @property
    def bits(self) -> Floats:
        """(T,) the surprisal."""

    @property
    def deviations(self) -> Floats:
        """(T,) the innovations in standard deviations."""

    @property
    def hidden(self) -> "HiddenParts":
        """The smoothed components or states."""

    @property
    def lags(self) -> Floats:
        """(K,) the effect of each lag."""

    @property
    def taps(self) -> Mapping[str, Floats]:
        """What was recorded, by name."""


def inspection_page(found: Inspected) -> Report:
    """Bands beside values, surprisal, lags, and what was recorded."""
    values = or_gaps(found.values)
    bits = or_gaps(found.bits)
    curve = SeriesCurve(
        found.times,
        values,
        found.times,
        found.median.tolist(),
        [Band("80 %", found.low.tolist(), found.high.tolist())],
    )
    gaps = sum(v is None for v in values)
    are = "is" if gaps == 1 else "are"
    missing = f" {count_noun(gaps, 'value')} {are} missing." if gaps else ""
    plots = [
        series_plot(
            curve,
            "One moment ahead",
            "What was observed, and what was expected of each moment by all before it: the median "
            f"and the 80 % band.{missing}",
            y=found.channel,
        ),
        series_plot(
            SeriesCurve(found.times, bits, [], []),
            "Surprisal",
            "-log2 of the density of each value: it depends on the units, and may be negative.",
            y="bits",
        ),
        series_plot(
            SeriesCurve(found.times, or_gaps(found.deviations), [], []),
            "Innovations",
            "By how many standard deviations each value missed its mean; those of a model that "
            "fits look like noise of width 1.",
            y="standard deviations",
        ),
    ]
    lags = [float(i + 1) for i in range(len(found.lags))]
    sections = [
        Section("Values", plots=plots),
        *_hidden(found),
        Section(
            "Lags",
            plots=[
                line_plot(
                    [LineSeries("effect", lags, or_gaps(found.lags))],
                    "The next mean by the values before",
                    "By how much the next mean moves if the value so many moments ago is greater "
                    "by 1, at the end of this part; of a linear model its coefficients.",
                    x="moments ago",
                    y="effect",
                )
            ],
        ),
    ]
    inside = [_tap(name, tap, found) for name, tap in found.taps.items()]
    if inside:
        sections.append(Section("Inside", plots=inside))
    lead = "\n\n".join(str(found).splitlines()[:2])
    return Report(f"Inside {found.title}", lead, sections)


def _hidden(found: Inspected) -> list[Section]:
    """The smoothed components, and the states with their path."""
    sections = []
    drawn = list(found.hidden.components.items())[:_COMPONENTS]
    if drawn:
        of = len(found.hidden.components)
        left = "" if len(drawn) == of else f" {len(drawn)} of {of} are drawn."
        text = "Each moment given all values of the series, those after it too." + left
        plots = [
            series_plot(
                SeriesCurve(
                    [],
                    [],
                    found.times,
                    c.median.tolist(),
                    [Band("80 %", c.low.tolist(), c.high.tolist())],
                ),
                name,
                "The median and the 80 % band.",
                y=name,
            )
            for name, c in drawn
        ]
        sections.append(Section("Smoothed components", text, plots=plots))
    if found.hidden.states is not None:
        sections.append(_states(found.hidden.states, found))
    return sections


def _states(states: "StatePath", found: Inspected) -> Section:
    times = [str(t) for t in found.times[-_COLUMNS:]]
    names = [f"state {k + 1}" for k in range(states.posterior.shape[1])]
    return Section(
        "Hidden states",
        "Each moment given all values of the series, those after it too.",
        plots=[
            heat_map(
                states.posterior[-_COLUMNS:].T.tolist(),
                times,
                names,
                "Posterior",
                "The probability of each state at each moment (forward-backward).",
            ),
            series_plot(
                SeriesCurve(found.times, states.path.astype(float).tolist(), [], []),
                "Most probable path",
                "The states that are most probable together (Viterbi), which need not be the most "
                "probable one at each moment.",
                y="state",
            ),
        ],
    )


def _tap(name: str, tap: Floats, found: Inspected) -> Plot:
    """What was recorded as colours: a row for each unit, or each moment that was attended to."""
    part = tap[-_COLUMNS:]
    times = [str(t) for t in found.times[len(found.times) - len(part) :]]
    if "attention" in name:
        part = part[:, -_COLUMNS:]
        earlier = max(0, part.shape[1] - len(found.times))  # read before this part
        back = [f"{earlier - i} before" for i in range(earlier)]
        back += [str(t) for t in found.times[len(found.times) - part.shape[1] + earlier :]]
        caption = "How much each moment (a column) attends to those before it; the mean over heads."
        return heat_map(part.T.tolist(), times, back, name, caption, scale="sqrt")
    order = part.mean(0).argsort(kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(_UNITS, len(order))).round().astype(int)]
    caption = f"{len(picked)} of {len(order)} units, from the least to the greatest mean."
    names = [f"unit {i}" for i in picked]
    return heat_map(part[:, picked].T.tolist(), times, names, name, caption)
