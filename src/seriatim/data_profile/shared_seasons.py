"""Seasons that most series of a collection share.

Knows collections of series; draws no conclusions but which season a model takes by default.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import DAY, Frequency
from seriatim.data_profile.series_season import Season, find_seasons

_EXAMINED = 100  # series whose seasons are sought
_CLEAR = 0.4  # the strength from which a season is taken that the frequency does not say
_NEARLY = 0.6  # of the strongest: a shorter season that explains as much is taken first


@dataclass(frozen=True)
class SeasonFacts:
    """What repeats.

    Attributes:
        seasons: of the median series: the strength of a season is the median over series.
        examined: the number of series that were examined.
        shared: the number of these that have the first season.
        usual: the season that is usual for the frequency; 1: none is.
    """

    seasons: tuple[Season, ...]
    examined: int
    shared: int
    usual: int

    @property
    def length(self) -> int:
        """The season to model; 1: there is none."""
        return self.seasons[0].length if self.seasons else 1


def usual_seasons(freq: Frequency) -> tuple[int, ...]:
    """The lengths of a day, a week and a year, as far as they are seasons of a frequency."""
    if freq.unit == "nanosecond":
        per_day = DAY / freq.count
        lengths = [freq.season_length, per_day, 7 * per_day]
        return tuple(sorted({int(n) for n in lengths if n == int(n) and n > 1}))
    if freq.unit == "day":
        return {1: (7, 365), 7: (52,)}.get(freq.count, ())
    return (freq.season_length,) if freq.season_length > 1 else ()


def find_shared_seasons(series: SeriesCollection) -> SeasonFacts:
    """The seasons that most of the examined series have, by the median of their strengths."""
    usual = usual_seasons(series.freq)
    step = max(1, len(series) // _EXAMINED)
    chosen = range(0, len(series), step)
    strengths: dict[int, list[float]] = {}
    firsts: Counter[int] = Counter()
    examined = 0
    for i in chosen:
        for channel in series.of(i).T:
            examined += 1
            found = find_seasons(channel, usual)
            firsts.update(season.length for season in found[:1])
            for season in found:
                strengths.setdefault(season.length, []).append(season.strength)
    seasons = [
        Season(length, float(np.median(found)))
        for length, found in strengths.items()
        if 2 * len(found) >= examined
    ]
    if not seasons and firsts and firsts.most_common(1)[0][1] * 4 >= examined:
        length = firsts.most_common(1)[0][0]
        seasons = [Season(length, float(np.median(strengths[length])))]
    seasons.sort(key=lambda s: (-s.strength, s.length))
    shared = len(strengths[seasons[0].length]) if seasons else 0
    return SeasonFacts(tuple(seasons), examined, shared, series.freq.season_length)


def usual_season(series: SeriesCollection) -> int:
    """The season that a model takes unless it is told: that of the frequency, if it has one.

    Whole numbers as times say nothing of a frequency: there it is the shortest one of those that
    most series clearly have. 1: there is none.
    """
    if series.freq.unit != "number":
        return series.freq.season_length
    found = find_shared_seasons(series).seasons
    strongest = max((season.strength for season in found), default=0.0)
    least = max(_CLEAR, _NEARLY * strongest)
    return min((season.length for season in found if season.strength >= least), default=1)
