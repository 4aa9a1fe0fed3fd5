"""Thresholds and verdicts of whatever gives the elements of its sequences a surprisal.

It calls the functions of `anomalies`, and holds no logic of its own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from seriatim.errors import ConfigError
from seriatim.tasks import storage
from seriatim.tasks.anomalies import (
    AlarmUnit,
    EventTable,
    Threshold,
    check_rate,
    choose_threshold,
    judge,
)
from seriatim.tasks.sequence_surprisal import SequenceBits, SequenceSurprisal


class AlarmJudge(ABC):
    """A fitted model that says which events of given data, or values of series, are anomalies.

    Attributes:
        alarm: the `Threshold` that `threshold` has set; None: there is none yet.
    """

    alarm: Threshold | None = None

    alarm_unit: ClassVar[AlarmUnit] = "sequence"  # what a rate of false alarms usually counts

    @abstractmethod
    def _open(self, data: Any) -> Any: ...

    @abstractmethod
    def _config(self) -> object: ...

    @abstractmethod
    def sequence_bits(
        self,
        data: Any,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[SequenceBits]:
        """Every sequence with the surprisal of each of its elements; see `score_each`."""

    def score_each(
        self,
        data: Any,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[SequenceSurprisal]:
        """The surprisal of every line or document, in order; see `Task.score`.

        Raises:
            ConfigError: if the model reads a stream, which is one sequence.
        """
        for found in self.sequence_bits(data, allow_unknown=allow_unknown, progress=progress):
            yield found.summed(None if self.alarm is None else self.alarm.bits)

    def threshold(
        self,
        normal: Any,
        *,
        false_alarms: float = 0.01,
        per: AlarmUnit | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Threshold:
        """Choose the surprisal above which events are anomalies; `alarm`, and `save`, keep it.

        Args:
            normal: normal sequences, other ones than the model was fitted to.
            false_alarms: the largest rate of false alarms to expect.
            per: what the rate counts: "sequence", by its highest surprisal, or "event"; None:
                sequences of events, and the values of series.
            allow_unknown: whether most of the symbols may be unknown.
            progress: callback that receives the number of symbols scored so far.

        Raises:
            DataError: if there are too few of them for this rate.
        """
        per = per or self.alarm_unit
        check_rate(false_alarms, per)
        source = self._open(normal)
        found = self.sequence_bits(source, allow_unknown=allow_unknown, progress=progress)
        self.alarm = choose_threshold(found, false_alarms=false_alarms, per=per, name=source.name)
        return self.alarm

    def detect(
        self,
        data: Any,
        *,
        threshold: float | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> EventTable:
        """Every event of every sequence, with its surprisal and whether it is an anomaly.

        Args:
            data: sequences, such as a table of events with the columns of the training data.
            threshold: the surprisal, in bits, above which an event is an anomaly; None: that of
                `alarm`.
            allow_unknown: whether most of the symbols may be unknown.
            progress: callback that receives the number of symbols scored so far.

        Raises:
            ConfigError: if there is no threshold, or the model reads a stream.
        """
        bits = self.alarm_bits(threshold)
        found = self.sequence_bits(data, allow_unknown=allow_unknown, progress=progress)
        return EventTable([judge(sequence, bits) for sequence in found], bits)

    def alarm_bits(self, threshold: float | None = None) -> float:
        """A threshold that was given, or that of `alarm`.

        Raises:
            ConfigError: if there is none, or it is not a number.
        """
        if threshold is None:
            if self.alarm is not None:
                return self.alarm.bits
            raise ConfigError(
                "the model has no threshold yet: choose one on normal data (seriatim threshold "
                "MODEL NORMAL, in Python model.threshold(normal)), or give one in bits "
                "(--threshold BITS)"
            )
        if not math.isfinite(threshold):
            raise ConfigError(f"threshold = {threshold:g}: give a number of bits")
        return float(threshold)

    def save_threshold(self, path: str | PathLike[str]) -> None:
        """Keep `alarm` in the folder of this model, which is otherwise left as it is.

        Raises:
            ModelError: if there is no model in the folder.
            OutputError: if it cannot be written.
        """
        storage.rewrite_config(Path(path), self._config())
