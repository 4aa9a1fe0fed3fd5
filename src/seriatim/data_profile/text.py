"""A look at data in plain words: first what it is, then what to heed, the figures, what to run.

Knows a look; reads nothing.
"""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from seriatim.data_profile import text_facts as figures
from seriatim.data_profile.examine import DataProfile, Part
from seriatim.data_profile.predictability import Predictability
from seriatim.report.terminal import text_table

if TYPE_CHECKING:
    from seriatim.data_profile.profile import Look

_WIDTH = 96
_LEVELS = {"stop": "STOP  ", "care": "CARE  ", "note": "note  "}


def tell(look: "Look") -> str:
    """All of it as text."""
    blocks = [
        "\n".join(_what(look.seen)),
        "\n".join(_findings(look)),
        "\n".join(_lengths(look.seen)),
        "\n".join(_symbols(look.seen)),
        "\n".join(_entropies(look.seen)),
        "\n".join(_leaks(look.seen)),
        "\n".join(_advice(look)),
    ]
    return "\n\n".join(block for block in blocks if block)


def _what(seen: DataProfile) -> Iterator[str]:
    for name, part in seen.parts.items():
        prefix = "" if name == "train" else f"{name}: "
        yield f"{prefix}{part.name}: {part.kind.sentence}"
        yield "  " + ", ".join(_amounts(part))


def _amounts(part: Part) -> Iterator[str]:
    if part.bytes is not None:
        if part.bytes.num_files > 1:
            yield f"{part.bytes.num_files:,} files"
        yield f"{part.bytes.num_bytes:,} bytes"
        yield part.encoding
    whole = "" if part.sample.share == 1 else " in the sample"
    for side, facts in part.sides.items():
        name = "" if side == "text" else f"{side}: "
        unit = "lines" if part.kind.name in ("text", "events", "labelled", "json") else "sequences"
        yield f"{name}{facts.num_sequences:,} {unit}, {facts.num_words:,} words{whole}"


def _findings(look: "Look") -> Iterator[str]:
    for finding in look.findings:
        lead = _LEVELS[finding.level]
        text = finding.what[0].upper() + finding.what[1:] + "."
        yield textwrap.fill(text, _WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))
        if finding.do:
            yield " " * len(lead) + "-> " + finding.do


def _lengths(seen: DataProfile) -> Iterator[str]:
    names = ("least", "5%", "25%", "median", "75%", "95%", "99%", "most")
    rows = []
    for name, part in seen.parts.items():
        for side, facts in part.sides.items():
            who = " ".join(w for w in (name if len(seen.parts) > 1 else "", side) if w != "text")
            for unit, values in (("characters", facts.characters), ("words", facts.words)):
                if unit == "words" and not facts.has_words:
                    continue
                found = figures.lengths(values)
                label = f"{who} {unit}".strip()
                rows.append([label, *(f"{found[n]:,}" for n in names), f"{found['mean']:,.1f}"])
    if rows:
        yield "Length of a line or sequence"
        yield text_table([["", *names, "mean"], *rows])


def _symbols(seen: DataProfile) -> Iterator[str]:
    rows = []
    part = seen.train
    for side, facts in part.sides.items():
        who = "" if side == "text" else f"{side} "
        if part.bytes is not None and side in ("text", "source") and not facts.is_cut:
            kinds = int((part.bytes.histogram > 0).sum())
            rows.append([f"{who}byte", f"{kinds:,}", f"{part.bytes.num_seen:,}", "", "", "", ""])
        for unit, counts in (("char", facts.of_characters), ("word", facts.of_words)):
            if not counts:
                continue
            found = figures.frequencies(counts, 6)
            rows.append(_frequency_row(f"{who}{unit}", found))
    if rows:
        yield "Symbols"
        head = [
            "",
            "different",
            "in all",
            "once only",
            "for 50/90/99 %",
            "bits each",
            "most frequent",
        ]
        yield text_table([head, *rows], left=(0, 6))


def _frequency_row(name: str, found: dict[str, Any]) -> list[str]:
    top = " ".join(f"{t['symbol']} {t['share']:.1%}" for t in found["top"][:4])
    needed = "/".join(f"{n:,}" for n in found["types_for"].values())
    bits = found["entropy_bits"]
    return [
        name,
        f"{found['types']:,}",
        f"{found['tokens']:,}",
        f"{found['once']:,}",
        needed,
        "" if bits is None else f"{bits:.2f}",
        top if len(top) < 60 else top[:57] + "..",
    ]


def _entropies(seen: DataProfile) -> Iterator[str]:
    found, packed = seen.predictable, seen.compression
    if found is None and not (packed and packed["bytes"]):
        return
    yield "How predictable it is"
    if found is not None:
        yield from _curve(found)
    if packed and packed["bytes"]:
        yield (
            f"  compressed: {packed['zlib']:.2f} bits per byte by zlib, {packed['lzma']:.2f} by "
            f"lzma ({packed['bytes']:,} bytes); more bytes would pack better"
        )


def _curve(found: Predictability) -> Iterator[str]:
    head = [f"  {found.symbols}s before it", *(str(k) for k in range(len(found.bits)))]
    rows = [head, [f"  bits per {found.symbols}", *(f"{b:.3f}" for b in found.bits)]]
    if found.bits_per_character is not None and found.symbols != "char":
        rows.append(["  bits per character", *(f"{b:.3f}" for b in found.bits_per_character)])
    yield text_table(rows)
    unknown = f", {found.unknown:.1%} of them unknown" if found.unknown else ""
    sizes = f"counted on {found.train:,} symbols of a sample, scored on {found.test:,} others"
    yield f"  ({sizes}{unknown})"


def _leaks(seen: DataProfile) -> Iterator[str]:
    if not seen.leaks:
        return
    yield "What stands in the training part already"
    rows = [["", "sequences", "runs of 13"]]
    for name, leak in sorted(seen.leaks.items()):
        made = "" if leak["given"] else " (by the split of fit)"
        share = "none" if leak["share"] is None else f"{leak['share']:.2%}"
        runs = "none so long" if leak["ngram_share"] is None else (
            f"{leak['ngram_share']:.2%} of {leak['unit']}"
        )  # fmt: skip
        rows.append([f"  {name}{made}", share, runs])
    yield text_table(rows)


def _advice(look: "Look") -> Iterator[str]:
    advice = look.advice
    yield "Advice"
    for reason in advice.reasons:
        yield textwrap.fill(reason, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    if advice.commands:
        yield "Run next"
        yield from (f"  {command}" for command in advice.commands)
