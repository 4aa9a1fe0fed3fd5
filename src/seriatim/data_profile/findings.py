"""What to know about data before training on it: findings, each with what to do.

Every finding is a small function of the `DataProfile`; none reads data.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from seriatim.data.files import path_suffix
from seriatim.data_profile.leaks import NGRAM
from seriatim.data_profile.result import DataPart, DataProfile
from seriatim.data_profile.text_facts import count_combining, count_duplicates, count_letters
from seriatim.report.terminal import count_noun

Level: TypeAlias = Literal["error", "warning", "note"]

LEVELS: Mapping[Level, str] = {
    "error": "training fails, or its result means nothing",
    "warning": "figures mean something other than they seem to",
    "note": "harmless, or taken care of",
}
_MANY = 0.01  # the fraction from which duplicates and leaks are reported
_BLOWN_UP = 100  # unpacked bytes for a packed one
_LONG = 100_000  # characters of a line
_UNBALANCED = 20  # times as frequent
_CHANCE_BITS = 24.0  # a run of fewer bits recurs by chance among millions of others


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        level: how serious it is; see `LEVELS`.
        message: a sentence.
        action: what to do about it; "": nothing.
    """

    level: Level
    message: str
    action: str = ""


def list_findings(profile: DataProfile) -> tuple[Finding, ...]:
    """All findings, the most serious first."""
    findings: list[Finding] = []
    for name, part in profile.parts.items():
        for check in _PART_CHECKS:
            for finding in check(part, profile):
                prefix = "" if name == "train" else f"{name}: "
                findings.append(replace(finding, message=prefix + finding.message))
    findings += [finding for check in _CHECKS for finding in check(profile)]
    order = list(LEVELS)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.level)))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


# ---- bytes --------------------------------------------------------------------------------------


def _encoding(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    stats = part.bytes
    if stats is None or stats.encoding == "utf-8" or profile.reading.encoding is not None:
        return
    first, action = stats.first_invalid, f"Pass --encoding {stats.encoding}."
    if first is None:
        yield Finding("error", f"The text is {stats.encoding}, not UTF-8.", action)
        return
    where = f"0x{first.byte:02x} at offset {first.offset:,} of {first.file}, line {first.line:,}"
    if stats.is_mostly_utf8:
        yield Finding(
            "error",
            f"The text is UTF-8 with {count_noun(stats.num_invalid, 'damaged byte')}; the first is "
            f"{where}.",
            f"Fix it at the source, or drop these bytes: iconv -f utf-8 -t utf-8 -c {first.file}",
        )
        return
    high = int(stats.histogram[128:].sum())
    yield Finding(
        "error",
        f"The text is not UTF-8: {stats.num_invalid:,} of its {high:,} bytes above 0x7f cannot be "
        f"decoded, the first {where}; it looks like {stats.encoding}.",
        action,
    )


def _marks_and_line_ends(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    stats = part.bytes
    if stats is None:
        return
    if stats.marked:
        files = "The file begins"
        if stats.num_files > 1:
            verb = "begins" if stats.marked == 1 else "begin"
            files = f"{stats.marked:,} of {stats.num_files:,} files {verb}"
        yield Finding("note", f"{files} with a byte-order mark, which is dropped.")
    if stats.crlf_files:
        lines = count_noun(stats.counts["CRLF"], "line ends", "lines end")
        yield Finding("note", f"{lines} in CRLF, which is read as LF.")
    if stats.lone_cr:
        yield Finding(
            "warning",
            f"CR without LF occurs {_times(stats.lone_cr)}: an ordinary character, no line end.",
            "If they are line ends of classic Mac OS, convert them: tr '\\r' '\\n'",
        )
    if stats.unended:
        files = "The last line"
        if stats.num_files > 1:
            files = f"The last line of {count_noun(stats.unended, 'file')}"
        yield Finding("note", f"{files} has no line end; one is added.")
    if stats.splitlines_extra - stats.lone_cr > 0:
        total = stats.num_lines + stats.splitlines_extra
        yield Finding(
            "note",
            f"{count_noun(stats.num_lines, 'line')} by LF; tools that also split at form feeds, "
            f"U+0085, U+2028 and the like (such as Python's str.splitlines) count {total:,}.",
        )


def _unusual_characters(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    stats = part.bytes
    if stats is None or (stats.mark or "utf-8") != "utf-8":
        return
    if stats.controls:
        listed = ", ".join(f"{code} ({n:,})" for code, n in list(stats.controls.items())[:4])
        more = " and others" if len(stats.controls) > 4 else ""
        yield Finding("warning", f"Control characters become symbols: {listed}{more}.")
    inner = stats.counts["U+FEFF byte-order mark"] - stats.marked
    hidden = {
        "U+FEFF (byte-order mark inside of the text)": inner,
        "U+200B (zero-width space)": stats.counts["U+200B zero-width space"],
    }
    for name, count in hidden.items():
        if count > 0:
            yield Finding(
                "warning", f"{name} occurs {_times(count)}: invisible, but a symbol for a model."
            )
    spaces = stats.counts["U+00A0 no-break space"]
    if spaces:
        yield Finding(
            "note", f"U+00A0 (no-break space) occurs {_times(spaces)}: it separates no words."
        )
    replaced = stats.counts["U+FFFD replacement character"]
    if replaced:
        yield Finding(
            "warning",
            f"U+FFFD (replacement character) occurs {_times(replaced)}: the text was once decoded "
            "with a wrong encoding, and these characters are lost.",
            "Decode the original again.",
        )
    patterns = ("twice encoded", "twice encoded quotes", "cp1252 quotes")
    twice = sum(stats.counts[name] for name in patterns)
    if twice > 3:
        yield Finding(
            "warning",
            f"{twice:,} characters look like UTF-8 that was decoded as Latin-1 and encoded again "
            "(Ã©).",
            "Encode as latin-1 or cp1252, then decode as utf-8.",
        )


# ---- sequences ----------------------------------------------------------------------------------


def _line_forms(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    for side, facts in part.sides.items():
        unit = _unit(profile, side)
        marks, count = facts.marks, max(facts.num_sequences, 1)
        voids = {"empty": marks["empty"], "blank": marks["blank"]}
        if any(voids.values()):
            listed = " and ".join(
                f"{n:,} {'is' if n == 1 else 'are'} {name}" for name, n in voids.items() if n
            )
            action = ""
            if voids["empty"] and profile.sequences != "stream":
                action = "Pass --skip-empty to leave out the empty ones."
            yield Finding(
                "note",
                f"Of {count_noun(count, unit)}, {listed}: the end of each is "
                "predicted and scored, as <eos> is in the literature.",
                action,
            )
        for form in _LINE_FORMS:
            number = marks[form.mark]
            if number >= max(1, form.least * count):
                verb, _, rest = form.predicate.partition(" ")
                verb = _SINGULAR[verb] if number == 1 else verb
                yield Finding(form.level, f"{count_noun(number, unit)} {verb} {rest}.", form.action)
        if marks["surrogates"]:
            yield Finding(
                "error",
                f"{count_noun(marks['surrogates'], 'unpaired surrogate')} in the {unit}s, which "
                "are no characters.",
                "Decode the original again, or remove them.",
            )
        if facts.longest[0] > _LONG:
            length, number = facts.longest
            yield Finding(
                "warning",
                f"{unit.capitalize()} {number:,} has {length:,} characters.",
                "It is trained in pieces of --length; check that this is intended.",
            )


@dataclass(frozen=True)
class _LineForm:
    """A form of sequences that is reported from a fraction of all sequences."""

    mark: str
    level: Level
    predicate: str
    action: str = ""
    least: float = 0.0


_SINGULAR = {"have": "has", "begin": "begins", "contain": "contains"}
_LINE_FORMS = (
    _LineForm(
        "comment tails",
        "warning",
        "have text after ' # ', which looks like a comment",
        "Remove it: sed 's/ *#.*//'",
    ),
    _LineForm(
        "comment starts",
        "note",
        "begin with #, %, ;; or //, which may mark comments but is read as text",
        least=0.001,
    ),
    _LineForm(
        "variants",
        "warning",
        "begin with a word like 'word(2)', which marks variants of an entry in dictionaries",
        "Keep all variants of a word in one part.",
    ),
    _LineForm(
        "<unk>",
        "note",
        "contain the word <unk>, which --symbols word reads as the unknown symbol",
    ),
    _LineForm(
        "end marks",
        "warning",
        "contain <s>, </s>, <eos> or <pad> as text, though sequences need no marks of their ends",
        "Remove them.",
    ),
    _LineForm(
        "double spaces",
        "note",
        "contain two spaces in a row, which --symbols word does not preserve",
        least=0.001,
    ),
    _LineForm(
        "outer spaces",
        "note",
        "have a space at the beginning or end, which --symbols word does not preserve",
        least=0.001,
    ),
    _LineForm("tabs", "note", "contain tabs, which separate words as spaces do"),
)


def _unit(profile: DataProfile, side: str = "text") -> str:
    """What one sequence of a side is called."""
    is_lines = profile.train.consists_of_lines and profile.train.files
    return side if side != "text" else "line" if is_lines else "sequence"


def _combining(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    for facts in part.sides.values():
        count = count_combining(facts.of_characters)
        if count and count < 0.2 * count_letters(facts.of_characters):  # some scripts have more
            yield Finding(
                "note",
                f"{count_noun(count, 'combining character')} (é as e and an accent), so one letter "
                "is two symbols.",
                "Normalize to NFC to compose them: unicodedata.normalize('NFC', text)",
            )


def _problem(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    if part.problem is not None:
        yield Finding(
            "error", f"Reading stopped: {part.problem}.", "The figures cover the text before it."
        )


def _reading(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    for note in part.notes:
        said, _, action = note.partition("; ")
        yield Finding("warning", f"{said[:1].upper()}{said[1:]}.", _sentence(action))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _columns(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    for column in part.kind.columns:
        if column.empty:
            yield Finding(
                "warning",
                f"Column {column.name!r} has no value in {column.empty:,} of the first "
                f"{column.values:,} rows.",
                "Fill the gaps, or drop these rows.",
            )
    if part.kind.name == "numbers":
        yield Finding(
            "error",
            "The data is numbers: a model of symbols would treat each distinct number as an "
            "unrelated symbol.",
            "Forecast them (--task forecast), or discretize them into a few classes, as events.",
        )
    if part.kind.name == "json":
        yield Finding(
            "warning",
            f"The file is {part.kind.description}.",
            "Write each sequence as a record on its own line of a .jsonl file.",
        )


def _labels(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    if len(part.labels) < 2:
        return
    (frequent, high), (rare, low) = part.labels.most_common()[0], part.labels.most_common()[-1]
    if high >= _UNBALANCED * max(low, 1):
        yield Finding(
            "warning",
            f"The label {frequent} has {high:,} sequences, {high / max(low, 1):,.0f} times as many "
            f"as {rare} ({low:,}): always predicting {frequent} is right "
            f"{high / sum(part.labels.values()):.0%} of the time.",
            "Judge by macro F1, not only by accuracy.",
        )


def _other_files(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    others = sorted({p.name for p in part.files if path_suffix(p) != ".txt"})
    if len(part.files) > 1 and 0 < len(others) < len(part.files) and part.kind.name != "documents":
        listed = ", ".join(others[:4]) + (" .." if len(others) > 4 else "")
        yield Finding(
            "warning",
            f"The folder also holds {listed}, and every file in it is read as text.",
            "Move files that are not data elsewhere.",
        )


def _sampled(part: DataPart, profile: DataProfile) -> Iterator[Finding]:
    if part.sample.fraction < 1:
        yield Finding(
            "note",
            f"The figures are from a sample of {part.sample.fraction:.2%} "
            f"({part.sample.description}); all of the data has more rare symbols, duplicates and "
            "leaks.",
            "Pass a larger --megabytes for a larger sample.",
        )
    if part.bytes is None:
        return
    seen, on_disk = part.bytes.num_seen, max(part.bytes.num_bytes, 1)
    if seen > _BLOWN_UP * on_disk:
        yield Finding(
            "warning",
            f"{on_disk:,} bytes unpack to {seen:,}{' or more' * (not part.bytes.is_whole)}; text "
            "is seldom packed to less than a tenth.",
            "Check that it is the file you mean.",
        )
    elif not part.bytes.is_whole and seen > on_disk:
        yield Finding("note", f"Bytes were scanned up to the {seen:,}th unpacked one.")
    elif not part.bytes.is_whole:
        yield Finding("note", f"Bytes were scanned up to {seen / on_disk:.0%} of the data.")


# ---- all parts together -------------------------------------------------------------------------


def _duplicates(profile: DataProfile) -> Iterator[Finding]:
    if profile.train.kind.name == "numbers":
        return
    for side, facts in profile.train.sides.items():
        duplicates, unit = count_duplicates(facts), _unit(profile, side)
        if duplicates.fraction <= _MANY:
            continue
        effect = {
            "stream": "repeated lines are easy to predict, and occur in training and test alike",
            "line": "the split keeps equal ones in one part, so validation and test hold only "
            "sequences that training does not, while in use most may be known",
        }.get(profile.sequences, "the split keeps equal ones in one part")
        if side == "target":
            effect = "several sources have the same target, as is normal for many tasks"
        yield Finding(
            "note" if side == "target" else "warning",
            f"{duplicates.fraction:.1%} of the {count_noun(duplicates.sequences, unit)} "
            f"repeat another ({duplicates.distinct:,} distinct; the most frequent occurs "
            f"{duplicates.most_frequent:,} times): {effect}.",
        )


def _leaks(profile: DataProfile) -> Iterator[Finding]:
    for name, leak in sorted(profile.leaks.items()):
        fraction, ngram_fraction = leak.fraction or 0.0, leak.ngram_fraction or 0.0
        if _repeats_by_chance(profile, leak.unit):
            ngram_fraction = 0.0
        parts = []
        if fraction > _MANY:
            parts.append(f"{fraction:.1%} of the {count_noun(leak.sequences, _unit(profile))}")
        if ngram_fraction > _MANY:
            parts.append(f"{ngram_fraction:.1%} of the runs of {leak.n} {leak.unit}")
        if not parts:
            continue
        split = "" if leak.is_given else " that fit would split off"
        least = ""
        if profile.train.sample.fraction < 1:
            least = " (at least, since training was sampled)"
        yield Finding(
            "warning" if leak.is_given else "note",
            f"In the {name} part{split}, {' and '.join(parts)} also occur in training{least}.",
            "Scores on it include known text; remove that text to measure new text."
            if leak.is_given
            else "",
        )


def _repeats_by_chance(profile: DataProfile, unit: str) -> bool:
    """Whether runs of 13 recur by chance, as with few kinds of events."""
    predictability = profile.predictability
    if predictability is None:
        return False
    bits, facts = min(predictability.bits), profile.train.facts
    if predictability.symbols == "char" and unit == "words":
        bits *= facts.num_characters / max(facts.num_words, 1)
    return NGRAM * bits < _CHANCE_BITS


def _longer(profile: DataProfile) -> Iterator[Finding]:
    """Sequences that are longer than any in training."""
    for name in ("valid", "test"):
        part = profile.parts.get(name)
        for side, facts in part.sides.items() if part is not None else ():
            train = profile.train.sides.get(side)
            if train is None or not facts.num_sequences or not train.num_sequences:
                continue
            shortest, longest, known = min(facts.words), max(facts.words), max(train.words)
            if longest > known and profile.sequences != "stream":
                fraction = sum(n > known for n in facts.words) / facts.num_sequences
                whose = "sequences" if side == "text" else f"{side}s"
                yield Finding(
                    "warning",
                    f"{name}: {fraction:.1%} of the {whose} ({shortest} to {longest} words) are "
                    f"longer than any in training (at most {known}).",
                    "Such a part tests whether models generalize to greater lengths; few do.",
                )


def _new_symbols(profile: DataProfile) -> Iterator[Finding]:
    for name in ("valid", "test"):
        part = profile.parts.get(name)
        for side, facts in part.sides.items() if part is not None else ():
            train = profile.train.sides.get(side)
            if train is None:
                continue
            for unit, counts, known in (
                ("character", facts.of_characters, train.of_characters),
                ("word", facts.of_words, train.of_words),
            ):
                if unit == "word" and not train.has_words:
                    continue
                new = {symbol: n for symbol, n in counts.items() if symbol not in known}
                fraction = sum(new.values()) / max(sum(counts.values()), 1)
                if new and (unit == "character" or fraction > _MANY):
                    listed = ", ".join(repr(s) for s in list(new)[:5])
                    yield Finding(
                        "note" if fraction < _MANY else "warning",
                        f"{name}: {count_noun(len(new), unit)} that never occur in training "
                        f"({listed}), {fraction:.2%} of all.",
                    )


def _split(profile: DataProfile) -> Iterator[Finding]:
    if profile.split_problem is not None:
        yield Finding("error", f"{profile.split_problem}.")


_PART_CHECKS: tuple[Callable[[DataPart, DataProfile], Iterator[Finding]], ...] = (
    _encoding,
    _problem,
    _reading,
    _marks_and_line_ends,
    _unusual_characters,
    _line_forms,
    _combining,
    _columns,
    _labels,
    _other_files,
    _sampled,
)
_CHECKS: tuple[Callable[[DataProfile], Iterator[Finding]], ...] = (
    _duplicates,
    _leaks,
    _longer,
    _new_symbols,
    _split,
)
