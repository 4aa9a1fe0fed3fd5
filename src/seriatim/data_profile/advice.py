"""What to train on data, and why: symbols, family, size and the very command.

Rules of thumb on measured figures, each said with its reason; they are where to begin, and
`seriatim compare` is how to know. Nothing here reads data.
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seriatim.data.vocab.nfd import decompose
from seriatim.data_profile.examine import DataProfile, Part
from seriatim.data_profile.predictability import Predictability
from seriatim.data_profile.text_facts import TextFacts

_FEW = 20_000  # symbols: less is counted, not trained
_NOTHING = 0.01  # share of the unigram's bits that context must save to be worth a model
_BPE_FROM = 3_000_000  # characters
_TRANSFORMER_FROM = 20_000_000  # symbols

# Symbols of training up to which a width is enough, and minutes to give it.
_SIZES = ((100_000, 64, 3), (500_000, 128, 5), (3_000_000, 256, 10), (30_000_000, 512, 30))
_LARGEST = (512, 60)


@dataclass(frozen=True)
class Advice:
    """Where to begin.

    Attributes:
        task: language, translation or label; None: none fits.
        symbols, sequences, family, options: of `seriatim fit`.
        reasons: sentences.
        commands: the very command to run next, and what may come after it.
    """

    task: str | None
    symbols: str | None
    sequences: str | None
    family: str | None
    options: dict[str, Any]
    reasons: tuple[str, ...]
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def advise(seen: DataProfile) -> Advice:
    """Draw the conclusions."""
    kind = seen.train.kind
    if kind.task is None:
        return Advice(None, None, None, None, {}, (_why_not(kind.name),), ())
    if kind.task == "translation":
        return _of_pairs(seen)
    if kind.task == "label":
        return _of_labels(seen)
    return _of_text(seen)


def _why_not(name: str) -> str:
    if name == "numbers":
        return "the data is numbers, and models of numbers are not here yet"
    return "the data must be brought into another form first; see above"


# ---- text ---------------------------------------------------------------------------------------


def _of_text(seen: DataProfile) -> Advice:
    part, facts = seen.train, seen.train.facts
    total = facts.num_characters / max(part.sample.share, 1e-9)
    symbols, extra, why_symbols = _symbols(seen, total)
    size = _num_symbols(seen, symbols, total)
    family, options, why_family = _family(seen, size)
    if symbols.startswith("bpe") and family == "markov" and options.get("order", 0) > 5:
        options["order"] = 5
    options = extra | options
    reasons = (_why_sequences(seen), why_symbols, *why_family)
    command = _fit(seen, symbols=symbols, family=family, options=options)
    return Advice(
        "language",
        symbols,
        seen.sequences,
        family,
        options,
        reasons,
        (command, _compare(seen, symbols)),
    )


def _why_sequences(seen: DataProfile) -> str:
    kind, gain = seen.train.kind, seen.across_lines
    if seen.reading.sequences is not None:
        return f"sequences: {seen.sequences}, as you said"
    if kind.name not in ("text", "events", "labelled", "json"):
        return "sequences: each record is one (document)"
    if gain is None:
        return f"sequences: {seen.sequences}; too few lines to measure whether they follow"
    if gain > 0.001:
        measured = f"the lines before a line save {gain:.1%} of its bits"
    elif gain < -0.001:
        measured = "the lines before a line say nothing about it"
    else:
        measured = "the lines before a line hardly matter to short contexts; line would do as well"
    if kind.name == "events" and gain > 0.001:
        measured = f"each line is a sequence of events (though {measured})"
    return f"sequences: {seen.sequences}, because {measured} (counted, order 6, held out)"


def _symbols(seen: DataProfile, total: float) -> tuple[str, dict[str, Any], str]:
    """(symbols, options that belong to them, why)."""
    facts, kind = seen.train.facts, seen.train.kind
    if facts.is_cut or kind.options.get("symbols") == "word":
        types = len(facts.of_words)
        return "word", {}, f"symbols: word, since each of {types:,} events is one symbol"
    kinds = len(facts.of_characters)
    full = max(facts.num_sequences - facts.marks["empty"] - facts.marks["blank"], 1)
    is_tokenized = facts.marks["spaced punctuation"] > 0.2 * full or facts.marks["<unk>"] > 0
    words = facts.num_words / max(seen.train.sample.share, 1e-9)
    if is_tokenized and facts.has_words and words >= 200_000:
        options = {} if facts.marks["<unk>"] else {"min-count": 2}
        return "word", options, "symbols: word, since the text is cut into words already"
    if facts.has_words and total >= _BPE_FROM:
        size = 2000 if total < 10_000_000 else 8000 if total < 100_000_000 else 16000
        return (
            f"bpe:{size}",
            {},
            f"symbols: bpe:{size}, since {total / 1e6:,.1f} million characters are enough to learn "
            "pieces of words, which make the text three to four times shorter",
        )
    if kinds > 3000:
        once = sum(n == 1 for n in facts.of_characters.values())
        return (
            "char",
            {"min-count": 2},
            f"symbols: char, without the {once:,} of {kinds:,} characters that stand only once",
        )
    why = "there are no words in it" if not facts.has_words else "words would be too rare to learn"
    return "char", {}, f"symbols: char ({kinds:,} different ones), since {why}"


def _num_symbols(seen: DataProfile, symbols: str, total: float) -> float:
    """Symbols of all of the data, about."""
    facts = seen.train.facts
    if symbols == "word":
        return facts.num_words / max(seen.train.sample.share, 1e-9) + facts.num_sequences
    return total / 3.5 if symbols.startswith("bpe") else total + facts.num_sequences


_Family = tuple[str, dict[str, Any], tuple[str, ...]]


def _family(seen: DataProfile, size: float) -> _Family:
    """(family, options, why)."""
    found = seen.predictable
    if found is None:
        return "markov", {"order": 3}, ("family: markov, since there is too little data to train",)
    falls = " ".join(f"{b:.2f}" for b in found.bits)
    curve = (
        f"counted models need {falls} bits for each held-out {found.symbols} with 0 to 5 before it"
    )
    return _counted(found, size, curve) or _trained(found, size, curve)


def _counted(found: Predictability, size: float, curve: str) -> _Family | None:
    """Where counting is enough, or all that the data allows."""
    bits, context = found.bits, found.context
    saved = 1 - bits[context] / bits[0] if bits[0] else 0.0
    if saved < _NOTHING:
        why = f"family: markov of low order, since what comes before says nothing: {curve}"
        return "markov", {"order": 2}, (why,)
    if size < _FEW:
        why = f"family: markov, since {size:,.0f} symbols are too few to train weights on"
        return "markov", {"order": min(context + 1, 6)}, (why, curve)
    if found.is_falling or context > 2:
        return None
    why = (
        f"family: markov, since more than {context} symbols before the next one help by less than "
        "1 %; only a memory longer than 5 could say otherwise"
    )
    return "markov", {"order": context + 1}, (why, curve)


def _trained(found: Predictability, size: float, curve: str) -> _Family:
    """A network, and its size."""
    width, minutes = next(((w, m) for most, w, m in _SIZES if size < most), _LARGEST)
    if size >= _TRANSFORMER_FROM:
        options = {
            "model-size": width,
            "num-layers": 6,
            "num-heads": width // 64,
            "minutes": minutes,
        }
        why = f"family: transformer, since {_amount(size)} symbols can fill one"
        return "transformer", options, (why, curve)
    still = "and still fall" if found.is_falling else f"down to {found.context} before it"
    reasons = (
        f"family: lstm, since the bits fall with the context {still}: memory pays",
        curve,
        f"size: {width} hidden units for {_amount(size)} symbols, so that weights and symbols are "
        "of like number",
    )
    return "lstm", {"hidden-size": width, "minutes": minutes}, reasons


def _amount(number: float) -> str:
    if number < 1e6:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.1f} million"


# ---- pairs and labels ---------------------------------------------------------------------------


def _of_pairs(seen: DataProfile) -> Advice:
    part = seen.train
    source, target = part.sides["source"], part.sides["target"]
    pairs = target.num_sequences / max(part.sample.share, 1e-9)
    few = len(target.of_words) * 10 < target.num_words and target.has_words
    rare = len(source.of_words) * 10 > source.num_words or not source.has_words
    symbols = "word" if few else "bpe" if target.has_words else "char"
    characters = _characters_for_reading(source)
    source_symbols = characters if rare and symbols == "word" and not source.has_words else symbols
    width = 128 if pairs < 5_000 else 256 if pairs < 200_000 else 512
    family = "lstm" if pairs < 20_000 else "transformer"
    options: dict[str, Any] = {"model-size": width, "minutes": 10 if pairs < 100_000 else 60}
    reasons = [
        f"symbols: {symbols} for the targets"
        + (f" and {source_symbols} for the sources" if source_symbols != symbols else "")
        + (", since few different words make them up" if few else "")
        + (_APART if source_symbols == "nfd" else ""),
        f"family: {family} for both encoder and decoder, since there are {pairs:,.0f} pairs",
    ]
    if source_symbols != symbols:
        options["source-symbols"] = source_symbols
    name = shlex.quote(part.name)
    commands: tuple[str, ...] = ()
    if part.kind.keys is not None:
        first, second = part.kind.keys
        script = rf"s/^{first}: (.*) {second}: (.*)$/\1\t\2/"
        names = {n: shlex.quote(p.name) for n, p in seen.parts.items()}
        commands = tuple(f"sed -E '{script}' {p} > {n}.tsv" for n, p in names.items())
        reasons.append("the lines must become tables of two columns first")
        name = "train.tsv"
    command = _fit_pairs(seen, name, symbols, family, options)
    return Advice(
        "translation", symbols, None, family, options, tuple(reasons), (*commands, command)
    )


_APART = ", which takes characters apart that are put together from few parts"


def _characters_for_reading(source: TextFacts) -> str:
    """Characters, or their parts where those are far fewer, as of Korean."""
    parts = set(decompose("".join(source.of_characters)))
    return "nfd" if len(source.of_characters) > 4 * len(parts) else "char"


def _fit_pairs(
    seen: DataProfile, name: str, symbols: str, family: str, options: Mapping[str, Any]
) -> str:
    part = seen.train
    words = ["seriatim fit", name, "--task translation"]
    if seen.reading.target is not None:
        target = shlex.quote(str(seen.reading.target))
        words[1:] = [f"--source {name} --target {target}"]
    words += [f"--{k} {shlex.quote(v)}" for k, v in part.kind.options.items() if k != "task"]
    words += [f"--model {family}", f"--symbols {symbols}", *_as_options(options)]
    return " ".join([*words, *_read_as(seen, ("format",)), "--out model/"])


def _of_labels(seen: DataProfile) -> Advice:
    part = seen.train
    name, each = shlex.quote(part.name), "element" if part.kind.name == "tagged" else "sequence"
    facts = part.facts
    short = facts.num_words < 2 * max(facts.num_sequences, 1) and not facts.is_cut
    symbols = "char" if short else "word"
    words = ["seriatim fit", name, "--task label"]
    words += [
        f"--{k} {shlex.quote(v)}" for k, v in part.kind.options.items() if k.endswith("-column")
    ]
    options = {"minutes": 5}
    words += ["--model lstm", f"--symbols {symbols}", *_as_options(options)]
    reasons = (
        f"task: label, one for each {each}, of {len(part.labels):,} labels",
        f"symbols: {symbols}, since the sequences are "
        + ("single words" if short else "several words long"),
        "family: lstm, read in both directions; gru and transformer are as easily tried",
    )
    command = " ".join([*words, *_read_as(seen, ("format",)), "--out model/"])
    return Advice("label", symbols, None, "lstm", options, reasons, (command,))


# ---- commands -----------------------------------------------------------------------------------


def _as_options(options: Mapping[str, Any]) -> list[str]:
    return [f"--{name} {shlex.quote(str(value))}" for name, value in options.items()]


def _read_as(seen: DataProfile, names: tuple[str, ...]) -> list[str]:
    """The options by which the data must be read, the user's own and what was found."""
    reading, part = seen.reading, seen.train
    given = {
        "format": reading.format,
        "field": reading.field,
        "column": reading.column,
        "sequence-column": reading.sequence_id,
        "order-column": reading.order,
    }
    found = part.kind.options if not any(reading.columns.values()) else {}
    chosen = {name: given[name] or found.get(name) for name in names}
    encoding = part.encoding if part.bytes is not None or reading.encoding else "utf-8"
    chosen["encoding"] = None if encoding == "utf-8" else encoding
    for name in ("valid", "test"):
        if name in seen.parts:
            chosen[name] = f"{name}.tsv" if part.kind.keys else seen.parts[name].name
    return [f"--{name} {shlex.quote(value)}" for name, value in chosen.items() if value]


_COLUMNS = ("format", "field", "column", "sequence-column", "order-column")


def _fit(seen: DataProfile, *, symbols: str, family: str, options: Mapping[str, Any]) -> str:
    part = seen.train
    words = ["seriatim fit", shlex.quote(part.name), *_read_as(seen, _COLUMNS)]
    if seen.sequences != _default_sequences(part):
        words.append(f"--sequences {seen.sequences}")
    words += [f"--symbols {symbols}", f"--model {family}", *_as_options(options), "--out model/"]
    return " ".join(words)


def _compare(seen: DataProfile, symbols: str) -> str:
    part = seen.train
    words = ["seriatim compare", shlex.quote(part.name), *_read_as(seen, _COLUMNS)]
    if seen.sequences != _default_sequences(part):
        words.append(f"--sequences {seen.sequences}")
    return " ".join([*words, f"--symbols {symbols}", "--minutes 5", "--out compared/"])


def _default_sequences(part: Part) -> str:
    """What `fit` reads where nothing is said."""
    is_table = part.kind.name in ("documents", "event table")
    return "document" if is_table or not part.files else "stream"
