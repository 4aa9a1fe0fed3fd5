"""Verdicts on events as they arrive, of many sequences at once.

Each sequence has a stream of its own; an event is folded into it and judged at once. That a
sequence has ended is not known, so its end is not judged. Knows streams and thresholds; no files.
"""

from collections import OrderedDict
from collections.abc import Callable

from seriatim.errors import ConfigError
from seriatim.tasks.anomalies import DetectedEvent
from seriatim.tasks.sequence_surprisal import verdict
from seriatim.tasks.text_stream import TextStream


class LiveDetector:
    """A stream for each of the sequences that were heard of last."""

    def __init__(
        self, stream: Callable[[], TextStream], threshold: float, *, max_sequences: int = 10_000
    ) -> None:
        """
        Args:
            stream: makes a new stream, such as `LanguageModel.stream`.
            threshold: the surprisal, in bits, above which an event is an anomaly.
            max_sequences: the number of sequences that are kept; one that was silent for longest
                is forgotten, and would begin anew.
        """
        if max_sequences < 1:
            raise ConfigError(f"max_sequences = {max_sequences}: give 1 or more")
        self._new, self._threshold, self._most = stream, threshold, max_sequences
        self._open: OrderedDict[str, tuple[TextStream, int, bool]] = OrderedDict()

    def push(self, sequence: str, event: str, time: str | None = None) -> DetectedEvent:
        """Fold an event into its sequence, and judge it.

        Args:
            sequence: the id of the sequence.
            event: the event, whatever it contains.
            time: when it happened.
        """
        known = sequence in self._open
        stream, number, is_odd = self._open.pop(sequence) if known else (self._new(), 0, False)
        bits = stream.push([event])
        own = str(verdict(bits, self._threshold))
        is_odd = is_odd or own == "anomaly"
        self._open[sequence] = stream, number + 1, is_odd
        if len(self._open) > self._most:
            self._open.popitem(last=False)
        return DetectedEvent(
            sequence,
            number + 1,
            event,
            time,
            bits,
            not stream.knows([event]),
            own,
            "anomaly" if is_odd else "normal",
        )
