"""Look at data before anything is trained: what it is, what is unusual, and what to run next.

st.look("data.txt")          # prints a report
st.look("data.txt").to_json()
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from seriatim.core.records import Json
from seriatim.core.validation import checked_arguments
from seriatim.data.sources import Sequences
from seriatim.data_profile.advice import Advice, advise
from seriatim.data_profile.byte_stats import ByteStats
from seriatim.data_profile.examine import MEGABYTES, examine
from seriatim.data_profile.findings import Finding, list_findings
from seriatim.data_profile.page import report_page
from seriatim.data_profile.parts import Data
from seriatim.data_profile.recognize import are_series
from seriatim.data_profile.result import DataPart, DataProfile, ProfileReading
from seriatim.data_profile.series_report import SeriesReport, look_at_series
from seriatim.data_profile.text import report_text
from seriatim.data_profile.text_facts import (
    TextFacts,
    count_duplicates,
    count_frequencies,
    summarize_lengths,
)
from seriatim.report.document import Report


@dataclass(frozen=True)
class DataReport:
    """What `look` found; print it, or use `to_json()` or `page()`.

    Attributes:
        profile: the figures.
    """

    profile: DataProfile

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before training, the most serious first."""
        return list_findings(self.profile)

    @cached_property
    def advice(self) -> Advice:
        """Symbols, family and size to start with, and why."""
        return advise(self.profile)

    @property
    def command(self) -> str | None:
        """The command to run next; None: there is none for such data."""
        return self.advice.commands[0] if self.advice.commands else None

    def page(self) -> Report:
        """The report with tables and plots.

        Raises:
            MissingExtraError: Altair is not installed.
        """
        return report_page(self.profile, self.findings, self.advice)

    def to_json(self) -> Json:
        """Everything as JSON values."""
        profile = self.profile
        return {
            "format": 2,
            "data": profile.train.name,
            "parts": {name: _part_json(part) for name, part in profile.parts.items()},
            "sequences": profile.sequences,
            "across_lines": profile.across_lines,
            "leaks": {
                name: {
                    **asdict(leak),
                    "fraction": leak.fraction,
                    "ngram_fraction": leak.ngram_fraction,
                }
                for name, leak in profile.leaks.items()
            },
            "split": None if profile.split is None else list(profile.split),
            "split_problem": profile.split_problem,
            "predictability": profile.predictability and asdict(profile.predictability),
            "compression": profile.compression and asdict(profile.compression),
            "findings": [asdict(finding) for finding in self.findings],
            "advice": asdict(self.advice),
        }

    def __repr__(self) -> str:
        train = self.profile.train
        return f"DataReport({train.name}: {train.kind.description}; print it for the report)"

    def __str__(self) -> str:
        return report_text(self.profile, self.findings, self.advice)


@checked_arguments
def look(
    data: Data | Any,
    *,
    valid: Data | None = None,
    test: Data | None = None,
    target: str | PathLike[str] | None = None,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    sequences: Sequences | None = None,
    format: str | None = None,
    field: str | None = None,
    column: str | None = None,
    sequence_column: str | None = None,
    order_column: str | None = None,
    encoding: str | None = None,
    megabytes: float = MEGABYTES,
    say: Callable[[str], None] | None = None,
    id_column: str | None = None,
    time_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    freq: str | None = None,
) -> DataReport | SeriesReport:
    """Look at data before training on it.

    Args:
        data: a path, a `Source`, texts, or whatever `open_series` takes.
        valid, test: the other parts, if they exist: they are searched for text of training.
        target: a file of targets, line by line with the data, which is then sources.
        split: the fractions by which fit would split the data.
        sequences: what one sequence is; None: measured.
        format, field, column, sequence_column, order_column: as in `open_source`; None: detected.
        encoding: the encoding of the files; None: detected from their bytes.
        megabytes: the size of the sample of larger data.
        say: callback that receives log messages.
        id_column, time_column, target_column, freq: of series of numbers, as in `open_series`;
            one of them says that the data are such.

    Raises:
        ConfigError: options that do not fit the data.
        DataError: there is no such file, or it is empty or no text.
    """
    options = {
        "id-column": id_column,
        "time-column": time_column,
        "target-column": target_column,
        "freq": freq,
        "format": format,
        "encoding": encoding,
    }
    of_series = any((id_column, time_column, target_column, freq))
    says_text = any((valid, test, target, sequences, field, column, sequence_column, order_column))
    if of_series or (not says_text and are_series(data, format, encoding)):
        return look_at_series(data, options, say)
    reading = ProfileReading(
        target, sequences, format, field, column, sequence_column, order_column, encoding
    )
    return DataReport(examine(data, valid, test, split, reading, megabytes, say))


# ---- JSON ---------------------------------------------------------------------------------------


def _part_json(part: DataPart) -> Json:
    kind = part.kind
    return {
        "name": part.name,
        "kind": {"name": kind.name, "description": kind.description, "task": kind.task},
        "options": dict(kind.options),
        "columns": [asdict(column) for column in kind.columns],
        "encoding": part.encoding,
        "bytes": None if part.bytes is None else _bytes_json(part.bytes),
        "sample": {"fraction": part.sample.fraction, "description": part.sample.description},
        "labels": dict(part.labels.most_common()),
        "problem": part.problem,
        **{side: _facts_json(facts) for side, facts in part.sides.items()},
    }


def _facts_json(facts: TextFacts) -> Json:
    return {
        "sequences": facts.num_sequences,
        "characters": facts.num_characters,
        "words": facts.num_words,
        "characters_per_sequence": asdict(summarize_lengths(facts.characters)),
        "words_per_sequence": asdict(summarize_lengths(facts.words)),
        "longest": {"characters": facts.longest[0], "number": facts.longest[1]},
        "empty": facts.marks["empty"],
        "blank": facts.marks["blank"],
        "duplicates": asdict(count_duplicates(facts)),
        "symbols": {
            "char": None if facts.is_tokenized else asdict(count_frequencies(facts.of_characters)),
            "word": asdict(count_frequencies(facts.of_words)),
        },
        "marks": dict(+facts.marks),
    }


def _bytes_json(stats: ByteStats) -> Json:
    size, file, line = stats.longest
    return {
        "files": stats.num_files,
        "bytes": stats.num_bytes,
        "scanned": stats.num_seen,
        "lines": stats.num_lines,
        "lines_by_splitlines": stats.num_lines + stats.splitlines_extra,
        "encoding": stats.encoding,
        "byte_order_marks": stats.marked,
        "crlf_files": stats.crlf_files,
        "files_without_last_line_end": stats.unended,
        "counts": {name: count for name, count in stats.counts.items() if count},
        "controls": stats.controls,
        "invalid": stats.num_invalid,
        "first_invalid": stats.first_invalid and asdict(stats.first_invalid),
        "longest_line": {"bytes": size, "file": file, "line": line},
    }
