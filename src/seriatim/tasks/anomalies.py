"""Anomalies in events: a threshold chosen on normal data, and verdicts by it.

An event is an anomaly if its surprisal is above the threshold; a sequence is one if any of its
events is, its end included: its statistic is its highest surprisal.

    threshold = the k-th highest statistic of N normal ones,   k = floor(a (N + 1))

so that a new normal sequence (or event) is above it with probability k / (N + 1) <= a, whatever the
distribution, if it is exchangeable with those N (split conformal prediction: Vovk et al. 2005,
section 2.2). Below N = 1 / a - 1 there is no such k.

Knows surprisals; no files and no family.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from seriatim.core.records import Json
from seriatim.errors import ConfigError, DataError
from seriatim.report.terminal import count_noun
from seriatim.tasks.record_table import RecordTable
from seriatim.tasks.sequence_surprisal import (
    COLUMNS,
    SequenceBits,
    SequenceSurprisal,
    verdict,
)

AlarmUnit: TypeAlias = Literal["sequence", "event"]


@dataclass(frozen=True)
class Threshold:
    """The surprisal above which an event is an anomaly, and a sequence that has one.

    Attributes:
        bits: the threshold.
        per: what the rate counts, "sequence" or "event".
        false_alarms: the rate that was asked for.
        expected: the rate to expect on new normal data, k / (N + 1).
        interval: where the rate lies with probability 95 %, which more normal data would narrow.
        sequences: the number of normal sequences.
        events: the number of their events, ends included.
    """

    bits: float
    per: AlarmUnit
    false_alarms: float
    expected: float
    interval: tuple[float, float]
    sequences: int
    events: int

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def text(self) -> str:
        """What it is, in a sentence or two."""
        low, high = self.interval
        what = "sequences whose highest surprisal is" if self.per == "sequence" else "events"
        return (
            f"{self.bits:.3f} bits: of normal {what} above it, expect {100 * self.expected:.3g} % "
            f"(95 %: {100 * low:.2g} to {100 * high:.2g} %), from {self.sequences:,} normal "
            f"{'sequence' if self.sequences == 1 else 'sequences'} with {self.events:,} events"
        )


def choose_threshold(
    sequences: Iterable[SequenceBits], *, false_alarms: float, per: AlarmUnit, name: str
) -> Threshold:
    """The threshold with a rate of false alarms, from normal sequences.

    Args:
        sequences: normal sequences that the model was not fitted to.
        false_alarms: the largest rate of false alarms to expect.
        per: what the rate counts: "sequence", of which the highest surprisal counts, or "event".
        name: the name of the data, for messages.

    Raises:
        ConfigError: if the rate is not between 0 and 1, or `per` is something else.
        DataError: if there are too few sequences or events for this rate, or the threshold would be
            infinite.
    """
    check_rate(false_alarms, per)
    found = [sequence.bits for sequence in sequences]
    events = np.concatenate(found)
    scores = np.sort(np.array([bits.max() for bits in found]) if per == "sequence" else events)
    count, k = len(scores), math.floor(false_alarms * (len(scores) + 1) + 1e-9)
    if k < 1:
        needed = math.ceil(1 / false_alarms - 1 - 1e-9)
        raise DataError(
            f"{name} has {count_noun(count, per)}, too few for a false alarm rate of "
            f"{false_alarms:g}: give at least {needed:,} normal {per}s, or allow a rate of "
            f"{math.ceil(1e4 / (count + 1)) / 1e4:g}"
        )
    bits = float(scores[count - k])
    if not math.isfinite(bits):
        raise DataError(
            f"{np.isinf(scores).sum():,} of {count:,} normal {per}s of {name} are impossible to "
            "the model, so no threshold has this rate: fit on more data, or with smoothing"
        )
    return Threshold(
        bits, per, false_alarms, k / (count + 1), _interval(k, count), len(found), len(events)
    )


def check_rate(false_alarms: float, per: AlarmUnit) -> None:
    """
    Raises:
        ConfigError: if the rate is not between 0 and 1, or `per` is no unit.
    """
    if not 0 < false_alarms < 1:
        raise ConfigError(
            f"false_alarms = {false_alarms:g}: give a rate between 0 and 1, such as 0.01"
        )
    if per not in ("sequence", "event"):
        raise ConfigError(f'per = {per!r}: choose "sequence" or "event"')


def _interval(k: int, count: int) -> tuple[float, float]:
    """The 95 % interval of the rate above the k-th highest of N: of Beta(k, N + 1 - k).

    P(rate <= x) = P(at least k of N uniform numbers are below x), solved by bisection.
    """
    i = np.arange(k)
    choices = math.lgamma(count + 1) - np.array(
        [math.lgamma(j + 1) + math.lgamma(count - j + 1) for j in range(k)]
    )

    def below(x: float) -> float:
        return 1 - float(np.exp(choices + i * math.log(x) + (count - i) * math.log1p(-x)).sum())

    def solve(probability: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) < probability else (low, middle)
        return (low + high) / 2

    return solve(0.025), solve(0.975)


# ---- verdicts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DetectedEvent:
    """An event with its surprisal and the verdicts about it and its sequence.

    Attributes:
        sequence: the id of its sequence in the table, or the number.
        position: its position in the sequence, from 1.
        event: the event as it stands in the data; `<end>` for the end of the sequence.
        time: when it happened, as the order column says it; None: that is not known.
        bits: its surprisal; of an unknown event with that of its spelling.
        unknown: whether the model does not know it.
        verdict: "anomaly" or "normal".
        sequence_verdict: that of its sequence.
    """

    sequence: str
    position: int
    event: str
    time: str | None
    bits: float
    unknown: bool
    verdict: str
    sequence_verdict: str

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def cells(self) -> tuple[Any, ...]:
        """The values of `EVENT_COLUMNS`."""
        return tuple(getattr(self, name) for name in EVENT_COLUMNS)


EVENT_COLUMNS = (
    *("sequence", "position", "event", "time", "bits", "unknown"),
    *("verdict", "sequence_verdict"),
)


@dataclass(frozen=True)
class DetectedSequence:
    """A sequence with its verdict and its events.

    Attributes:
        summary: its figures.
        events: its events, the end included.
    """

    summary: SequenceSurprisal
    events: list[DetectedEvent]

    @property
    def is_anomaly(self) -> bool:
        """Whether an event of it is an anomaly."""
        return self.summary.verdict == "anomaly"

    def to_json(self) -> Json:
        """The figures, and the events without what is said of the sequence."""
        own = ("position", "event", "time", "bits", "unknown", "verdict")
        events = [{name: getattr(event, name) for name in own} for event in self.events]
        return {**self.summary.to_json(), "events": events}


def judge(sequence: SequenceBits, threshold: float) -> DetectedSequence:
    """The verdicts about a sequence and its events at a threshold."""
    summary = sequence.summed(threshold)
    rows = zip(
        sequence.symbols,
        sequence.times,
        sequence.bits.tolist(),
        sequence.unknown.tolist(),
        strict=True,
    )
    events = [
        DetectedEvent(
            summary.sequence,
            position,
            event,
            time,
            bits,
            is_unknown,
            str(verdict(bits, threshold)),
            str(summary.verdict),
        )
        for position, (event, time, bits, is_unknown) in enumerate(rows, 1)
    ]
    return DetectedSequence(summary, events)


class EventTable(RecordTable[DetectedEvent]):
    """What `LanguageModel.detect` returns: a `DetectedEvent` for every event.

    Attributes:
        sequences: the figures and the verdict of every sequence, a `SequenceTable`.
        threshold: the surprisal above which an event is an anomaly.
    """

    def __init__(self, found: Sequence[DetectedSequence], threshold: float) -> None:
        super().__init__([event for sequence in found for event in sequence.events])
        self.sequences = SequenceTable([sequence.summary for sequence in found])
        self.threshold = threshold

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return EVENT_COLUMNS

    @property
    def anomalies(self) -> list[DetectedEvent]:
        """The events that are anomalies."""
        return [row for row in self.rows if row.verdict == "anomaly"]

    def summary(self) -> str:
        """How many sequences are anomalies."""
        return f"{self.sequences.summary()}, at a threshold of {self.threshold:.3f} bits"


class SequenceTable(RecordTable[SequenceSurprisal]):
    """The figures and the verdict of every sequence."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return COLUMNS

    @property
    def anomalies(self) -> list[SequenceSurprisal]:
        """The sequences that are anomalies."""
        return [row for row in self.rows if row.verdict == "anomaly"]

    def summary(self) -> str:
        """How many of them are anomalies."""
        return summarize(len(self.anomalies), len(self.rows))


def summarize(anomalies: int, sequences: int) -> str:
    """How many sequences are anomalies, in words."""
    share = 100 * anomalies / max(sequences, 1)
    return f"{anomalies:,} of {count_noun(sequences, 'sequence')} anomalous ({share:.1f} %)"
