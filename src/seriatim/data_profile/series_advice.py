"""What to know about series before a model is fitted, and what to run. Reads no data."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from seriatim.data_profile.findings import LEVELS, Finding
from seriatim.data_profile.series_profile import SeriesProfile
from seriatim.report.terminal import count_noun

_MANY_GAPS = 0.2  # the fraction from which gaps are a warning
_MANY_ZEROS = 0.5
_FAR_APART = 1000  # times as high
_NETWORKS_FROM = 20_000  # values
_LONG_SEASON = 200  # moments, beyond which a season is no horizon


@dataclass(frozen=True)
class SeriesAdvice:
    """What to run first.

    Attributes:
        horizon: how many moments ahead to forecast.
        season_length: the season to model; 1: there is none.
        models: the families to compare.
        reasons: phrases, each named after what it explains.
        commands: the commands to run next, in order.
    """

    horizon: int
    season_length: int
    models: tuple[str, ...]
    reasons: tuple[str, ...]
    commands: tuple[str, ...]


def advise_series(profile: SeriesProfile, options: dict[str, str]) -> SeriesAdvice:
    """Models, horizon and commands.

    Args:
        profile: the figures.
        options: the options with which the series were read, by their names on the command line.
    """
    season = profile.seasons.length
    usual = profile.seasons.usual
    horizon = season if 1 < season <= _LONG_SEASON else usual if usual > 1 else 10
    horizon = max(1, min(horizon, int(profile.lengths.median) // 4))
    models = ["naive", *(["seasonal-naive"] if season > 1 else []), "ar"]
    values = profile.series.numbers.size - profile.gaps.missing
    if values >= _NETWORKS_FROM:
        models.append("lstm")
    reasons = (_why_season(profile), _why_models(profile, values))
    if not profile.series.origin.is_file:
        return SeriesAdvice(
            horizon, season, tuple(models), reasons, _in_python(horizon, season, models)
        )
    file = shlex.quote(profile.series.origin.name)
    read = "".join(f" --{name} {shlex.quote(value)}" for name, value in options.items())
    length = f" --season-length {season}" if season > 1 else ""
    return SeriesAdvice(
        horizon,
        season,
        tuple(models),
        reasons,
        (
            f"seriatim backtest {file}{read} --horizon {horizon}{length} --models "
            f"{','.join(models)}",
            f"seriatim fit {file}{read} --task forecast --model ar{length} --out model/",
            f"seriatim forecast model/ --horizon {horizon} --page forecast.html",
        ),
    )


def _in_python(horizon: int, season: int, models: list[str]) -> tuple[str, ...]:
    """What to run on data that is in memory."""
    length = f", season_length={season}" if season > 1 else ""
    return (
        f"st.backtest(data, {models!r}, horizon={horizon}{length})",
        f'st.Forecaster("ar"{length}).fit(data).predict({horizon})',
    )


def _why_season(profile: SeriesProfile) -> str:
    found, freq = profile.seasons, profile.series.freq
    if not found.seasons:
        return "season: none, since no period explains a tenth of the variance about the trend"
    first = found.seasons[0]
    steps = "moments" if freq.unit == "number" else f"steps of {freq.phrase()}"
    reason = (
        f"season: {first.length:,} {steps}, which explain {first.strength:.0%} of the variance "
        "about the trend"
    )
    if found.examined > 1:
        reason += f", in {found.shared:,} of {found.examined:,} examined"
    others = [f"{s.length:,} ({s.strength:.0%})" for s in found.seasons[1:]]
    return reason + (f"; also {', '.join(others)}" if others else "")


def _why_models(profile: SeriesProfile, values: int) -> str:
    naive = profile.naive
    reason = "models: ar beside naive forecasts, which every model must beat"
    if naive.last is not None and naive.season is not None:
        better = "the value before" if naive.last <= naive.season else "the value one season before"
        reason += f"; one step ahead, {better} is the nearer guess"
    if values >= _NETWORKS_FROM:
        reason += f"; lstm too, since {values:,} values are enough to train weights on"
    return reason


# ---- findings -----------------------------------------------------------------------------------


def series_findings(profile: SeriesProfile) -> tuple[Finding, ...]:
    """All findings, the most serious first."""
    found = [finding for check in _CHECKS for finding in check(profile)]
    order = list(LEVELS)
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def _notes(profile: SeriesProfile) -> Iterator[Finding]:
    for note in profile.series.notes:
        yield Finding("note", f"{note[:1].upper()}{note[1:]}.")


def _gaps(profile: SeriesProfile) -> Iterator[Finding]:
    gaps = profile.gaps
    if not gaps.missing:
        return
    of = f"{count_noun(gaps.num_series, 'series', 'series')} of {len(profile.series):,}"
    where = "" if len(profile.series) == 1 else f" in {of}"
    yield Finding(
        "warning" if gaps.fraction >= _MANY_GAPS else "note",
        f"{count_noun(gaps.missing, 'value')} ({gaps.fraction:.1%}) "
        f"{'is' if gaps.missing == 1 else 'are'} missing{where}; the longest gap has "
        f"{count_noun(gaps.longest, 'moment')} ({gaps.where}).",
        "Nothing needs to be filled: a gap counts in no score, and exact models lose just what it "
        "held.",
    )


def _short(profile: SeriesProfile) -> Iterator[Finding]:
    season = max(profile.seasons.usual, profile.seasons.length)
    short = int((profile.series.lengths < 2 * season).sum())
    if season > 1 and short:
        yield Finding(
            "warning",
            f"{short:,} of {len(profile.series):,} series are shorter than two seasons of "
            f"{season:,} moments, so that no season can be seen in them.",
            "A model of all series together carries the season over to them.",
        )


def _values(profile: SeriesProfile) -> Iterator[Finding]:
    values, count = profile.values, len(profile.series)
    if values.zeros >= _MANY_ZEROS:
        yield Finding(
            "warning",
            f"{values.zeros:.0%} of the values are 0.",
            "Relative errors (sMAPE) say little here; compare by CRPS or log score.",
        )
    if values.support == "counts":
        yield Finding(
            "note",
            "All values are small whole numbers from 0: counts.",
            "Networks predict them by a negative binomial distribution.",
        )
    if values.duplicates:
        yield Finding(
            "warning",
            f"{count_noun(values.duplicates, 'series repeats', 'series repeat')} another series "
            "value for value.",
            "Leave them out, or they count twice in training and in scores.",
        )
    low, high = abs(values.levels.least), abs(values.levels.most)
    if count > 1 and high > _FAR_APART * max(low, 1e-300):
        yield Finding(
            "note",
            f"The mean levels of series lie between {values.levels.least:.4g} and "
            f"{values.levels.most:.4g}.",
            "Pooled scores are ruled by the high ones; MASE and sMAPE weigh series alike.",
        )


_CHECKS: tuple[Callable[[SeriesProfile], Iterator[Finding]], ...] = (
    _gaps,
    _short,
    _values,
    _notes,
)
