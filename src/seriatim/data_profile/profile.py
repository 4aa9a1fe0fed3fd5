"""Look at data before anything is trained: what it is, what is odd about it, what to run next.

    st.look("data.txt")          # in a notebook or a shell, printed as plain words
    st.look("data.txt").to_json()

It puts together what `examining` saw, what `findings` makes of it and what `advising` concludes.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from seriatim.data.sources import Sequences
from seriatim.data_profile.advice import Advice, advise
from seriatim.data_profile.byte_stats import ByteFacts
from seriatim.data_profile.examine import (
    MEGABYTES,
    Data,
    DataProfile,
    Part,
    ProfileReading,
    examine,
    facts_json,
)
from seriatim.data_profile.findings import Finding, findings


@dataclass(frozen=True)
class Look:
    """What was seen. `print` it, or take `to_json()`.

    Attributes:
        seen: figures, as they were taken.
    """

    seen: DataProfile

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What should be known, the gravest first."""
        return findings(self.seen)

    @cached_property
    def advice(self) -> Advice:
        """Symbols, family and size to begin with, and why."""
        return advise(self.seen)

    @property
    def command(self) -> str | None:
        """The command to run next; None: there is none for such data."""
        return self.advice.commands[0] if self.advice.commands else None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        seen = self.seen
        found = seen.predictable
        return {
            "format": 1,
            "data": seen.train.name,
            "parts": {name: _part_json(part) for name, part in seen.parts.items()},
            "sequences": seen.sequences,
            "across_lines": seen.across_lines,
            "leaks": seen.leaks,
            "split": None if seen.split is None else list(seen.split),
            "split_problem": seen.split_problem,
            "entropy": {
                "counted": None if found is None else found.to_json(),
                "compressed": seen.compression,
            },
            "findings": [finding.to_json() for finding in self.findings],
            "advice": self.advice.to_json(),
        }

    def __str__(self) -> str:
        from seriatim.data_profile.text import tell

        return tell(self)


def look(
    data: Data,
    *,
    valid: Data | None = None,
    test: Data | None = None,
    target: str | PathLike[str] | None = None,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    sequences: Sequences | None = None,
    format: str | None = None,
    field: str | None = None,
    column: str | None = None,
    sequence_id: str | None = None,
    order: str | None = None,
    encoding: str | None = None,
    megabytes: float = MEGABYTES,
    say: Callable[[str], None] | None = None,
) -> Look:
    """Look at data before training on it.

    Args:
        data: a path, a `Source`, or texts.
        valid, test: the other parts, if they are there already: leaks are looked for in them.
        target: a file of targets, line by line with the data: then it is pairs.
        split: the shares by which fit would split the data.
        sequences: what one sequence is; None: what suits the text, by measure.
        format, field, column, sequence_id, order: as in `open_source`; None: what is found.
        encoding: of the files; None: what the bytes look like.
        megabytes: of larger data a sample of this size is looked at.
        say: told in a sentence what is being done.

    Raises:
        ConfigError: options that do not fit the data.
        DataError: no such file, an empty one, or one that is no text.
    """
    reading = ProfileReading(target, sequences, format, field, column, sequence_id, order, encoding)
    return Look(
        examine(
            data, valid=valid, test=test, split=split, reading=reading, megabytes=megabytes, say=say
        )
    )


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "kind": {"name": part.kind.name, "sentence": part.kind.sentence, "task": part.kind.task},
        "options": part.kind.options,
        "columns": [asdict(column) for column in part.kind.columns],
        "encoding": part.encoding,
        "bytes": None if part.bytes is None else _bytes_json(part.bytes),
        "sample": {"share": part.sample.share, "how": part.sample.how},
        "labels": dict(part.labels.most_common()),
        "problem": part.problem,
        **facts_json(part),
    }


def _bytes_json(facts: ByteFacts) -> dict[str, Any]:
    path, offset, line, byte = facts.first_invalid or (None, None, None, None)
    return {
        "files": facts.num_files,
        "bytes": facts.num_bytes,
        "seen": facts.num_seen,
        "lines": facts.num_lines,
        "lines_by_splitlines": facts.num_lines + facts.splitlines_extra,
        "encoding": facts.encoding,
        "byte_order_marks": facts.marked,
        "crlf_files": facts.crlf_files,
        "files_without_last_line_end": facts.unended,
        "counts": {name: count for name, count in facts.counts.items() if count},
        "controls": facts.controls,
        "invalid": facts.num_invalid,
        "first_invalid": None
        if path is None
        else {"file": path, "offset": offset, "line": line, "byte": byte},
        "longest_line": {
            "bytes": facts.longest[0],
            "file": facts.longest[1],
            "line": facts.longest[2],
        },
    }
