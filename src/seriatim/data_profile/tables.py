"""The tables of a data report, which its text and its page share.

Knows figures; computes none.
"""

from collections.abc import Iterator

from seriatim.data_profile.result import DataPart, DataProfile
from seriatim.data_profile.text_facts import (
    QUANTILES,
    SymbolFrequencies,
    TextFacts,
    count_frequencies,
    summarize_lengths,
)
from seriatim.report.tables import Cell, Table
from seriatim.report.terminal import count_noun

_TOP = 4  # symbols in the table
_TOP_WIDTH = 60
_LEAST_COMPRESSED = 1000  # bytes


def length_table(profile: DataProfile) -> Table:
    """Quantiles of the lengths of sequences, by part and unit."""
    rows: list[list[Cell]] = []
    for name, part in profile.parts.items():
        for side, facts in part.sides.items():
            labels = [name if len(profile.parts) > 1 else "", side if side != "text" else ""]
            for unit, values in (("characters", facts.characters), ("words", facts.words)):
                if unit == "words" and not facts.has_words:
                    continue
                summary = summarize_lengths(values)
                label = " ".join(word for word in (*labels, unit) if word)
                rows.append([label, *summary.quantiles.values(), summary.mean])
    return Table("Lengths of sequences", ["", *QUANTILES, "mean"], rows, formats={"mean": ",.1f"})


def symbol_table(profile: DataProfile) -> Table:
    """How many symbols the training part has, and the most frequent ones."""
    rows: list[list[Cell]] = []
    part = profile.train
    for side, facts in part.sides.items():
        whose = "" if side == "text" else f"{side} "
        if part.bytes is not None and side in ("text", "source") and not facts.is_tokenized:
            types = int((part.bytes.histogram > 0).sum())
            rows.append([f"{whose}byte", types, part.bytes.num_seen, None, "–", None, ""])
        for unit, frequencies in symbol_frequencies(facts):
            rows.append(_frequency_row(f"{whose}{unit}", frequencies))
    columns = ["", "distinct", "total", "only once", "for 50/90/99 %", "bits each", "most frequent"]
    note = (
        "For 50/90/99 %: how many of the most frequent ones make up that much of the text. Bits "
        "each: the entropy of a symbol by frequency alone."
    )
    return Table("Symbols", columns, rows, note, {"bits each": ".2f"})


def symbol_frequencies(facts: TextFacts) -> Iterator[tuple[str, SymbolFrequencies]]:
    """The frequencies of characters and words, if there are any."""
    if facts.of_characters and not facts.is_tokenized:
        yield "character", count_frequencies(facts.of_characters)
    if facts.of_words:
        yield "word", count_frequencies(facts.of_words)


def _frequency_row(name: str, frequencies: SymbolFrequencies) -> list[Cell]:
    top = " ".join(f"{s.symbol} {s.fraction:.1%}" for s in frequencies.top[:_TOP])
    return [
        name,
        frequencies.types,
        frequencies.tokens,
        frequencies.once,
        "/".join(f"{n:,}" for n in frequencies.types_for.values()),
        frequencies.entropy_bits,
        top if len(top) < _TOP_WIDTH else top[: _TOP_WIDTH - 3] + "…",
    ]


def predictability_table(profile: DataProfile) -> Table:
    """Bits of held-out symbols by the number of preceding symbols."""
    measured = profile.predictability
    if measured is None:
        return Table("Predictability", [], [])
    contexts = [str(k) for k in range(len(measured.bits))]
    rows: list[list[Cell]] = [[f"bits per {measured.unit}", *measured.bits]]
    if measured.bits_per_character is not None and measured.symbols != "char":
        rows.append(["bits per character", *measured.bits_per_character])
    unknown = ""
    if measured.unknown >= 0.0005:
        unknown = f" ({measured.unknown:.1%} of them unknown)"
    note = (
        f"N-gram models fitted to {measured.train:,} symbols, scored on {measured.test:,} "
        f"others{unknown}."
    )
    columns = [f"preceding {measured.unit}s", *contexts]
    return Table("Predictability", columns, rows, note, dict.fromkeys(contexts, ".3f"))


def leak_table(profile: DataProfile) -> Table:
    """How much of the other parts occurs in the training part."""
    rows: list[list[Cell]] = []
    for name, leak in sorted(profile.leaks.items()):
        label = name if leak.is_given else f"{name} (as split by fit)"
        rows.append([label, leak.fraction, leak.ngram_fraction])
    unit = next((f"{leak.n} {leak.unit}" for leak in profile.leaks.values()), "")
    columns = ["", "sequences", f"runs of {unit}"]
    formats = dict.fromkeys(columns, ".2%")
    return Table("Text that also occurs in training", columns, rows, formats=formats)


def size_phrases(part: DataPart) -> Iterator[str]:
    """The size of a part, in phrases."""
    if part.bytes is not None:
        if part.bytes.num_files > 1:
            yield f"{part.bytes.num_files:,} files"
        yield f"{part.bytes.num_bytes:,} bytes"
        yield part.encoding
    sampled = "" if part.sample.fraction == 1 else " in the sample"
    unit = "line" if part.consists_of_lines else "sequence"
    for side, facts in part.sides.items():
        label = "" if side == "text" else f"{side}: "
        sequences = count_noun(facts.num_sequences, unit)
        yield f"{label}{sequences} with {count_noun(facts.num_words, 'word')}{sampled}"


def compression_sentence(profile: DataProfile) -> str:
    """The bits of general compressors; "" for a text so short that their headers dominate."""
    compression = profile.compression
    if compression is None or compression.bytes < _LEAST_COMPRESSED:
        return ""
    return (
        f"General compressors need {compression.zlib:.2f} (zlib) and {compression.lzma:.2f} (lzma) "
        f"bits per byte of the first {compression.bytes:,} bytes."
    )
