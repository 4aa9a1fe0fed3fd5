"""What should be known about data before training on it, each as a sentence and what to do.

Every finding is a small function of what `examining` saw; none reads anything itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from seriatim.data_profile import text_facts as figures
from seriatim.data_profile.byte_stats import ByteFacts
from seriatim.data_profile.examine import DataProfile, Part

_MANY = 0.01  # a share from which duplicates and leaks are worth a word
_LONG = 100_000  # characters of a line
_UNBALANCED = 20  # times as frequent
_CHANCE_BITS = 24.0  # a run of fewer bits comes again by chance in millions of others


@dataclass(frozen=True)
class Finding:
    """One thing that was seen.

    Attributes:
        level: stop, training will fail or mean nothing; care, it changes what figures mean;
            note, it is dealt with, or harmless.
        what: a sentence.
        do: what to do about it; "": nothing.
    """

    level: Literal["stop", "care", "note"]
    what: str
    do: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def findings(seen: DataProfile) -> tuple[Finding, ...]:
    """All of them, the gravest first."""
    found: list[Finding] = []
    for name, part in seen.parts.items():
        own = [f for check in _OF_PART for f in check(part, seen)]
        prefix = "" if name == "train" else f"{name}: "
        found += [Finding(f.level, prefix + f.what, f.do) for f in own]
    found += [f for check in _OF_ALL for f in check(seen)]
    order = {"stop": 0, "care": 1, "note": 2}
    return tuple(sorted(found, key=lambda f: order[f.level]))


# ---- bytes --------------------------------------------------------------------------------------


def _encoding(part: Part, seen: DataProfile) -> Iterator[Finding]:
    facts = part.bytes
    if facts is None or facts.encoding == "utf-8" or seen.reading.encoding is not None:
        return
    if facts.first_invalid is None:
        yield Finding(
            "stop", f"the text is {facts.encoding}, not UTF-8", f"--encoding {facts.encoding}"
        )
        return
    path, offset, line, byte = facts.first_invalid
    other = int(facts.histogram[128:].sum())
    if facts.is_mostly_utf8:
        yield Finding(
            "stop",
            f"{facts.num_invalid:,} bytes are damaged in what is otherwise UTF-8; the first is "
            f"0x{byte:02x} at offset {offset:,} of {path}, line {line:,}",
            f"mend it at its origin, or leave them out: iconv -f utf-8 -t utf-8 -c {path}",
        )
        return
    yield Finding(
        "stop",
        f"{path} is not UTF-8: byte 0x{byte:02x} at offset {offset:,}, line {line:,}, and "
        f"{facts.num_invalid:,} of {other:,} bytes above 0x7f in all; they look like "
        f"{facts.encoding}",
        f"--encoding {facts.encoding}",
    )


def _marks_and_ends(part: Part, seen: DataProfile) -> Iterator[Finding]:
    facts = part.bytes
    if facts is None:
        return
    files = "the file" if facts.num_files == 1 else f"of {facts.num_files:,} files"
    if facts.marked:
        number = "begins" if facts.num_files == 1 else f"{facts.marked:,} begin"
        yield Finding("note", f"{files} {number} with a byte-order mark, which is dropped")
    if facts.crlf_files:
        ends = facts.counts["CRLF"]
        yield Finding("note", f"{ends:,} lines end in CRLF, which is read as LF")
    if facts.lone_cr:
        yield Finding(
            "care",
            f"{facts.lone_cr:,} CR stand without LF and are ordinary characters, not line ends",
            "if they are ends of lines of an old Macintosh: tr '\\r' '\\n'",
        )
    if facts.unended:
        what = "the last line has no end" if facts.num_files == 1 else (
            f"the last line of {facts.unended:,} files has no end"
        )  # fmt: skip
        yield Finding("note", f"{what}; it is added")
    if facts.splitlines_extra - facts.lone_cr > 0:
        yield Finding(
            "note",
            f"{facts.num_lines:,} lines by LF; tools that also cut at form feeds, U+0085, U+2028 "
            f"and the like (Python's str.splitlines) see {_splitlines(facts):,}",
        )


def _splitlines(facts: ByteFacts) -> int:
    return facts.num_lines + facts.splitlines_extra


def _odd_characters(part: Part, seen: DataProfile) -> Iterator[Finding]:
    facts = part.bytes
    if facts is None or (facts.mark or "utf-8") != "utf-8":
        return
    if facts.controls:
        shown = ", ".join(f"{code} {n:,} times" for code, n in list(facts.controls.items())[:4])
        more = " and others" if len(facts.controls) > 4 else ""
        yield Finding("care", f"control characters are symbols like any other: {shown}{more}")
    inner = facts.counts["U+FEFF byte-order mark"] - facts.marked
    hidden = {
        "U+FEFF (a byte-order mark within the text)": inner,
        "U+200B (a space of no width)": facts.counts["U+200B zero-width space"],
    }
    for name, count in hidden.items():
        if count > 0:
            yield Finding("care", f"{count:,} {name}: nobody sees it, and models predict it")
    if facts.counts["U+00A0 no-break space"]:
        count = facts.counts["U+00A0 no-break space"]
        yield Finding("note", f"{count:,} no-break spaces (U+00A0), which part no words")
    if facts.counts["U+FFFD replacement character"]:
        count = facts.counts["U+FFFD replacement character"]
        yield Finding(
            "care",
            f"{count:,} U+FFFD: somebody read the text in a wrong encoding, and those characters "
            "are lost",
            "decode it anew from its origin",
        )
    twice = sum(facts.counts[n] for n in ("twice encoded", "twice encoded quotes", "cp1252 quotes"))
    if twice > 3:
        yield Finding(
            "care",
            f"{twice:,} places look like UTF-8 that was read as Latin-1 and written again (Ã©)",
            "encode as latin-1 or cp1252, decode as utf-8",
        )


# ---- sequences ----------------------------------------------------------------------------------


def _line_forms(part: Part, seen: DataProfile) -> Iterator[Finding]:
    for side, facts in part.sides.items():
        whose = "" if side == "text" else f" of the {side}s"
        marks, count = facts.marks, max(facts.num_sequences, 1)
        void = marks["empty"] + marks["blank"]
        if void:
            kinds = f"{marks['empty']:,} empty" + (
                f" and {marks['blank']:,} with nothing but spaces" if marks["blank"] else ""
            )
            advice = "" if seen.sequences == "stream" else "--skip-empty leaves out the empty ones"
            yield Finding(
                "note",
                f"{kinds}{whose} of {count:,} {_name(seen)}: each one's end is predicted and "
                "counted, as the literature counts <eos>",
                advice,
            )
        for mark, level, sentence, advice in _FORMS:
            if marks[mark] >= max(1, _LEAST.get(mark, 0.0) * count):
                yield Finding(
                    "care" if level == "care" else "note",
                    f"{marks[mark]:,} {_name(seen)}{whose} {sentence}",
                    advice,
                )
        if marks["surrogates"]:
            yield Finding(
                "stop",
                f"{marks['surrogates']:,} halves of surrogate pairs{whose}, no characters",
                "decode the text anew from its origin, or leave them out",
            )
        if facts.longest[0] > _LONG:
            length, number = facts.longest
            yield Finding(
                "care",
                f"{_name(seen)[:-1]} {number:,}{whose} has {length:,} characters",
                "trained in pieces of --length; nothing to do unless it is a mistake",
            )


# Of a mark: how grave it is, what is so about the sequences, and what to do.
_FORMS: tuple[tuple[str, str, str, str], ...] = (
    (
        "comment tails",
        "care",
        "have something behind ' # ', which looks like a comment",
        "sed 's/ *#.*//' takes it off",
    ),
    (
        "begins like a comment",
        "note",
        "begin with #, %, ;; or //, which may be comments; they are text here",
        "",
    ),
    (
        "variants",
        "care",
        "begin with a word like 'word(2)': variants of an entry, as in dictionaries",
        "keep the variants of a word in one part",
    ),
    (
        "<unk>",
        "note",
        "have the word <unk>, which --symbols word takes for the unknown symbol",
        "",
    ),
    (
        "marks of ends",
        "care",
        "have <s>, </s>, <eos> or <pad> as text; ends of sequences need no mark here",
        "take them out",
    ),
    (
        "double spaces",
        "note",
        "have two spaces together, which --symbols word does not give back",
        "",
    ),
    (
        "spaces at the ends",
        "note",
        "begin or end with a space, which --symbols word does not give back",
        "",
    ),
    ("tabs", "note", "have tabs, which part words as spaces do", ""),
)
_LEAST = {"begins like a comment": 0.001, "spaces at the ends": 0.001, "double spaces": 0.001}


def _name(seen: DataProfile) -> str:
    is_lines = seen.train.kind.name in ("text", "events", "labelled", "json")
    return "lines" if is_lines and seen.train.files else "sequences"


def _combining(part: Part, seen: DataProfile) -> Iterator[Finding]:
    for facts in part.sides.values():
        count = figures.combining_marks(facts.of_characters)
        letters = sum(figures.scripts(facts.of_characters).values())
        if count and count < 0.2 * letters:  # scripts that are written so have more
            yield Finding(
                "note",
                f"{count:,} characters combine with the one before them (é as e and an accent), so "
                "one letter is two symbols",
                "NFC would join them: unicodedata.normalize('NFC', text)",
            )


def _problem(part: Part, seen: DataProfile) -> Iterator[Finding]:
    if part.problem is not None:
        yield Finding(
            "stop", f"reading stopped: {part.problem}", "the figures are of what comes before it"
        )


def _columns(part: Part, seen: DataProfile) -> Iterator[Finding]:
    for column in part.kind.columns:
        if column.empty:
            yield Finding(
                "care",
                f"column {column.name!r} has no value in {column.empty:,} of the first "
                f"{column.values:,} rows",
                "fill the gaps or leave the rows out, as it suits the data",
            )
    if part.kind.name == "numbers":
        yield Finding(
            "stop",
            "the data is numbers: models of symbols would take each different number for a symbol "
            "of its own and know nothing of larger and smaller",
            "cut the numbers into a few classes first, and give those as events",
        )
    if part.kind.name == "json":
        yield Finding("care", part.kind.sentence)


def _labels(part: Part, seen: DataProfile) -> Iterator[Finding]:
    if len(part.labels) < 2:
        return
    (most, high), (least, low) = part.labels.most_common()[0], part.labels.most_common()[-1]
    if high >= _UNBALANCED * max(low, 1):
        yield Finding(
            "care",
            f"the label {most} has {high:,} sequences, {high / max(low, 1):,.0f} times as many as "
            f"{least} ({low:,}): always saying {most} is right "
            f"{high / sum(part.labels.values()):.0%} of the time",
            "look at macro F1, not only at accuracy",
        )


def _other_files(part: Part, seen: DataProfile) -> Iterator[Finding]:
    others = sorted({p.name for p in part.files if p.suffix != ".txt"})
    if len(part.files) > 1 and 0 < len(others) < len(part.files) and part.kind.name != "documents":
        shown = ", ".join(others[:4]) + (" .." if len(others) > 4 else "")
        yield Finding(
            "care",
            f"the folder also holds {shown}, and a model of text reads every file in it",
            "move what is no data elsewhere",
        )


def _sampled(part: Part, seen: DataProfile) -> Iterator[Finding]:
    if part.sample.share < 1:
        yield Finding(
            "note",
            f"the figures are of a sample of {part.sample.share:.2%} ({part.sample.how}); rare "
            "symbols, duplicates and leaks are more numerous in all of it",
            "--megabytes takes a larger one",
        )
    if part.bytes is not None and not part.bytes.is_whole:
        share = part.bytes.num_seen / max(part.bytes.num_bytes, 1)
        yield Finding("note", f"bytes were looked at up to {share:.0%} of the data")


# ---- all together -------------------------------------------------------------------------------


def _duplicates(seen: DataProfile) -> Iterator[Finding]:
    if seen.train.kind.name == "numbers":
        return
    for side, facts in seen.train.sides.items():
        found = figures.duplicates(facts)
        if found["share"] <= _MANY:
            continue
        whose = "" if side == "text" else f" of the {side}s"
        effect = {
            "stream": "repeated lines are easy to predict, and stand in training and test alike",
            "line": "the split keeps equal ones on one side, so validation and test hold only "
            "sequences that training has not; in use, most may be known",
        }.get(seen.sequences, "the split keeps equal ones on one side")
        if side == "target":
            effect = "several sources have the same target, which is as it should be for many tasks"
        yield Finding(
            "note" if side == "target" else "care",
            f"{found['share']:.1%} of the {found['sequences']:,} {_name(seen)}{whose} repeat "
            f"another ({found['distinct']:,} different ones; the most frequent stands "
            f"{found['most_frequent']:,} times): {effect}",
        )


def _leaks(seen: DataProfile) -> Iterator[Finding]:
    for name, leak in sorted(seen.leaks.items()):
        shares = leak["share"] or 0.0, leak["ngram_share"] or 0.0
        if _repeats_itself(seen, leak["unit"]):
            shares = shares[0], 0.0
        if max(shares) <= _MANY:
            continue
        made = "" if leak["given"] else ", as fit would split the data"
        parts = []
        if shares[0] > _MANY:
            parts.append(f"{shares[0]:.1%} of its {leak['sequences']:,} {_name(seen)}")
        if shares[1] > _MANY:
            parts.append(f"{shares[1]:.1%} of its runs of {leak['n']} {leak['unit']}")
        sampled = " at least (the training part was sampled)" if seen.train.sample.share < 1 else ""
        yield Finding(
            "care" if leak["given"] else "note",
            f"{name}{made}: {' and '.join(parts)} stand in the training part{sampled}",
            "figures on it are of things seen before; leave them out to know how new text fares"
            if leak["given"]
            else "",
        )


def _repeats_itself(seen: DataProfile, unit: str) -> bool:
    """Whether runs of 13 come again by chance, as among a few kinds of events."""
    found = seen.predictable
    if found is None:
        return False
    bits, facts = min(found.bits), seen.train.facts
    if found.symbols == "char" and unit == "words":
        bits *= facts.num_characters / max(facts.num_words, 1)
    return figures.NGRAM * bits < _CHANCE_BITS


def _longer(seen: DataProfile) -> Iterator[Finding]:
    """A test that is longer than anything in training asks for something else."""
    for name in ("valid", "test"):
        part = seen.parts.get(name)
        if part is None:
            continue
        for side, facts in part.sides.items():
            train = seen.train.sides.get(side)
            if train is None or not facts.num_sequences or not train.num_sequences:
                continue
            least, most = min(facts.words), max(facts.words)
            longest = max(train.words)
            if most > longest and seen.sequences != "stream":
                longer = sum(n > longest for n in facts.words) / facts.num_sequences
                whose = "sequences" if side == "text" else f"{side}s"
                yield Finding(
                    "care",
                    f"{name}: {longer:.1%} of the {whose} ({least} to {most} words) are longer "
                    f"than any in training (at most {longest})",
                    "expect models to fail there; that they should not is what such a split asks",
                )


def _new_symbols(seen: DataProfile) -> Iterator[Finding]:
    for name in ("valid", "test"):
        part = seen.parts.get(name)
        for side, facts in part.sides.items() if part is not None else ():
            train = seen.train.sides.get(side)
            if train is None:
                continue
            for unit, new, known in (
                ("characters", facts.of_characters, train.of_characters),
                ("words", facts.of_words, train.of_words),
            ):
                if unit == "words" and not train.has_words:
                    continue
                missing = {symbol: n for symbol, n in new.items() if symbol not in known}
                share = sum(missing.values()) / max(sum(new.values()), 1)
                if missing and (unit == "characters" or share > _MANY):
                    shown = ", ".join(repr(s) for s in list(missing)[:5])
                    yield Finding(
                        "note" if share < _MANY else "care",
                        f"{name}: {len(missing):,} {unit} that training never has ({shown}), "
                        f"{share:.2%} of all",
                    )


def _split(seen: DataProfile) -> Iterator[Finding]:
    if seen.split_problem is not None:
        yield Finding("stop", seen.split_problem)


_OF_PART: tuple[Callable[[Part, DataProfile], Iterator[Finding]], ...] = (
    _encoding,
    _problem,
    _marks_and_ends,
    _odd_characters,
    _line_forms,
    _combining,
    _columns,
    _labels,
    _other_files,
    _sampled,
)
_OF_ALL: tuple[Callable[[DataProfile], Iterator[Finding]], ...] = (
    _duplicates,
    _leaks,
    _longer,
    _new_symbols,
    _split,
)
