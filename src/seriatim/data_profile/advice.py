"""What to train on data, and why: symbols, family, size and the command.

Rules of thumb on measured figures, each stated with its reason: a place to start, which
`seriatim compare` can confirm. Reads no data.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from seriatim.data.vocab.nfd import decompose
from seriatim.data_profile.predictability import Predictability
from seriatim.data_profile.result import DataProfile
from seriatim.data_profile.symbols import choose_symbols
from seriatim.data_profile.text_facts import TextFacts

FitOptions: TypeAlias = dict[str, int | str]

_FEW = 20_000  # symbols: with fewer, n-grams are counted and no weights are trained
_NEGLIGIBLE = 0.01  # the fraction of the unigram's bits that context must save
_TRANSFORMER_FROM = 20_000_000  # symbols

# (symbols of training up to which a width suffices, width, minutes of training)
_SIZES = ((100_000, 64, 3), (500_000, 128, 5), (3_000_000, 256, 10), (30_000_000, 512, 30))
_LARGEST = (512, 60)


@dataclass(frozen=True)
class Advice:
    """What to train first.

    Attributes:
        task: language, translation or label; None: none fits.
        symbols, sequences, family, options: options of `seriatim fit`.
        reasons: phrases, each named after what it explains.
        commands: the commands to run next, in order.
    """

    task: str | None = None
    symbols: str | None = None
    sequences: str | None = None
    family: str | None = None
    options: Mapping[str, int | str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Choice:
    """A choice, the options that belong to it, and the reasons for it."""

    value: str
    options: FitOptions
    reasons: tuple[str, ...]


def advise(profile: DataProfile) -> Advice:
    """Draw conclusions from the figures."""
    kind = profile.train.kind
    if kind.name == "numbers":
        return Advice(
            "forecast",
            reasons=("task: forecast, since the data are numbers; look at one file alone",),
        )
    if kind.task is None:
        return Advice(reasons=("convert the data first, as the findings say",))
    if kind.name == "pairs":
        return _advise_pairs(profile)
    return _advise_labels(profile) if kind.has_labels else _advise_text(profile)


# ---- text ---------------------------------------------------------------------------------------


def _advise_text(profile: DataProfile) -> Advice:
    part, facts = profile.train, profile.train.facts
    num_characters = facts.num_characters / max(part.sample.fraction, 1e-9)
    chosen = choose_symbols(
        facts,
        part.sample.fraction,
        is_word=part.kind.options.get("symbols") == "word",
        num_characters=num_characters,
    )
    symbols = _Choice(chosen.symbols, dict(chosen.options), (f"symbols: {chosen.why}",))
    family = _choose_family(profile, _num_symbols(profile, symbols.value, num_characters))
    options = symbols.options | family.options
    if symbols.value.startswith("bpe") and family.value == "markov":
        options["order"] = min(int(options["order"]), 5)
    data = " ".join([*_data_options(profile), f"--symbols {symbols.value}"])
    model = " ".join([f"--model {family.value}", *_as_options(options)])
    return Advice(
        part.kind.task,
        symbols.value,
        profile.sequences,
        family.value,
        options,
        (_why_sequences(profile), *symbols.reasons, *family.reasons),
        (
            f"seriatim fit {data} {model} --out model/",
            f"seriatim compare {data} --minutes 5 --out compared/",
        ),
    )


def _why_sequences(profile: DataProfile) -> str:
    kind, gain = profile.train.kind, profile.across_lines
    if profile.reading.sequences is not None:
        return f"sequences: {profile.sequences}, as you chose"
    if not profile.train.consists_of_lines:
        return "sequences: document, since each record is one sequence"
    if gain is None:
        return (
            f"sequences: {profile.sequences}; there are too few lines to measure whether they "
            "depend on each other"
        )
    if kind.name == "events":
        reason = "each line is a sequence of events"
        if gain > 0.001:
            reason += f" (though the preceding lines save {gain:.1%} of a line's bits)"
    elif gain > 0.001:
        reason = f"the preceding lines save {gain:.1%} of a line's bits"
    elif gain < -0.001:
        reason = "the preceding lines do not help to predict a line"
    else:
        reason = "the preceding lines hardly help a short context (line would do as well)"
    return f"sequences: {profile.sequences}, since {reason}; measured with 6-grams on held-out text"


def _num_symbols(profile: DataProfile, symbols: str, num_characters: float) -> float:
    """About the number of symbols of all of the data."""
    facts = profile.train.facts
    if symbols == "word":
        return facts.num_words / max(profile.train.sample.fraction, 1e-9) + facts.num_sequences
    if symbols.startswith("bpe"):
        return num_characters / 3.5
    return num_characters + facts.num_sequences


def _choose_family(profile: DataProfile, size: float) -> _Choice:
    measured = profile.predictability
    if measured is None:
        reason = "family: markov, since there is too little data to train weights on"
        return _Choice("markov", {"order": 3}, (reason,))
    bits = " ".join(f"{b:.2f}" for b in measured.bits)
    curve = (
        f"predictability: n-gram models need {bits} bits per held-out {measured.symbols} given 0 "
        "to 5 preceding ones"
    )
    return _choose_markov(measured, size, curve) or _choose_network(measured, size, curve)


def _choose_markov(measured: Predictability, size: float, curve: str) -> _Choice | None:
    """Where n-grams suffice, or are all that the data allows."""
    bits, context = measured.bits, measured.context
    saved = 1 - bits[context] / bits[0] if bits[0] else 0.0
    if saved < _NEGLIGIBLE:
        reason = "family: markov of low order, since the context does not help"
        return _Choice("markov", {"order": 2}, (reason, curve))
    if size < _FEW:
        reason = f"family: markov, since {size:,.0f} symbols are too few to train weights on"
        return _Choice("markov", {"order": min(context + 1, 6)}, (reason, curve))
    if measured.is_falling or context > 2:
        return None
    reason = (
        f"family: markov, since a context of more than {context} symbols saves less than 1 %; only "
        "a memory longer than 5 could save more"
    )
    return _Choice("markov", {"order": context + 1}, (reason, curve))


def _choose_network(measured: Predictability, size: float, curve: str) -> _Choice:
    width, minutes = next(((w, m) for most, w, m in _SIZES if size < most), _LARGEST)
    if size >= _TRANSFORMER_FROM:
        heads = width // 64
        options: FitOptions = {
            "model-size": width,
            "num-layers": 6,
            "num-heads": heads,
            "minutes": minutes,
        }
        reason = f"family: transformer, since {_amount(size)} symbols are enough to train one"
        return _Choice("transformer", options, (reason, curve))
    falling = f"fall up to a context of {measured.context} symbols"
    if measured.is_falling:
        falling = "keep falling with the context"
    reasons = (
        f"family: lstm, since the bits {falling}: memory pays off",
        curve,
        f"size: {width} hidden units for {_amount(size)} symbols, so that there are about as many "
        "weights as symbols",
    )
    return _Choice("lstm", {"hidden-size": width, "minutes": minutes}, reasons)


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number < 1e6 else f"{number / 1e6:,.1f} million"


# ---- pairs and labels ---------------------------------------------------------------------------


def _advise_pairs(profile: DataProfile) -> Advice:
    part = profile.train
    source, target = part.sides["source"], part.sides["target"]
    num_pairs = target.num_sequences / max(part.sample.fraction, 1e-9)
    is_repetitive = len(target.of_words) * 10 < target.num_words and target.has_words
    symbols = "word" if is_repetitive else "bpe" if target.has_words else "char"
    source_symbols = symbols
    if symbols == "word" and not source.has_words:
        source_symbols = _character_symbols(source)
    width = 128 if num_pairs < 5_000 else 256 if num_pairs < 200_000 else 512
    family = "lstm" if num_pairs < 20_000 else "transformer"
    options: FitOptions = {"model-size": width, "minutes": 10 if num_pairs < 100_000 else 60}
    if source_symbols != symbols:
        options["source-symbols"] = source_symbols
    reasons = [
        f"symbols: {symbols} for the targets"
        + (", since they consist of few distinct words" if is_repetitive else ""),
        f"family: {family} for encoder and decoder, since there are {num_pairs:,.0f} pairs",
    ]
    if source_symbols != symbols:
        decomposes = ", which decomposes characters that are composed of few parts"
        why = decomposes if source_symbols == "nfd" else ""
        reasons.insert(1, f"source symbols: {source_symbols}{why}")
    name = shlex.quote(part.name)
    commands: tuple[str, ...] = ()
    if part.kind.keys is not None:
        first, second = part.kind.keys
        script = rf"s/^{first}: (.*) {second}: (.*)$/\1\t\2/"
        names = {n: shlex.quote(p.name) for n, p in profile.parts.items()}
        commands = tuple(f"sed -E '{script}' {p} > {n}.tsv" for n, p in names.items())
        reasons.append("format: the lines must first become tables of two columns")
        name = "train.tsv"
    command = _fit_pairs_command(profile, name, symbols, family, options)
    return Advice(
        part.kind.task, symbols, None, family, options, tuple(reasons), (*commands, command)
    )


def _character_symbols(source: TextFacts) -> str:
    """char, or nfd if characters decompose into far fewer parts, as in Korean."""
    parts = set(decompose("".join(source.of_characters)))
    return "nfd" if len(source.of_characters) > 4 * len(parts) else "char"


def _advise_labels(profile: DataProfile) -> Advice:
    part, facts = profile.train, profile.train.facts
    unit = "element" if part.kind.name == "tagged" else "sequence"
    is_short = facts.num_words < 2 * max(facts.num_sequences, 1) and not facts.is_tokenized
    symbols = "char" if is_short else "word"
    options: FitOptions = {"minutes": 5}
    reasons = (
        f"task: label, since each {unit} has one of {len(part.labels):,} labels",
        f"symbols: {symbols}, since the sequences are "
        + ("single words" if is_short else "several words long"),
        "family: lstm, reading in both directions; gru and transformer are worth a try too",
    )
    words = ["seriatim fit", shlex.quote(part.name), "--task label"]
    columns = {k: v for k, v in part.kind.options.items() if k.endswith("-column")}
    words += _as_options(columns)
    words += ["--model lstm", f"--symbols {symbols}", *_as_options(options)]
    command = " ".join([*words, *_reading_options(profile, ("format",)), "--out model/"])
    return Advice(part.kind.task, symbols, None, "lstm", options, reasons, (command,))


# ---- commands -----------------------------------------------------------------------------------

_COLUMNS = ("format", "field", "column", "sequence-column", "order-column")


def _as_options(options: Mapping[str, int | str]) -> list[str]:
    return [f"--{name} {shlex.quote(str(value))}" for name, value in options.items()]


def _reading_options(profile: DataProfile, names: tuple[str, ...]) -> list[str]:
    """The options with which the data must be read: the user's, or those detected."""
    reading, part = profile.reading, profile.train
    chosen = {
        "format": reading.format,
        "field": reading.field,
        "column": reading.column,
        "sequence-column": reading.sequence_column,
        "order-column": reading.order_column,
    }
    detected = {} if any(reading.columns.values()) else part.kind.options
    options = {name: chosen[name] or detected.get(name) for name in names}
    encoding = part.encoding if part.bytes is not None or reading.encoding else "utf-8"
    options["encoding"] = None if encoding == "utf-8" else encoding
    for name in ("valid", "test"):
        if name in profile.parts:
            options[name] = f"{name}.tsv" if part.kind.keys else profile.parts[name].name
    return _as_options({name: value for name, value in options.items() if value})


def _fit_pairs_command(
    profile: DataProfile, name: str, symbols: str, family: str, options: Mapping[str, int | str]
) -> str:
    data = [name, "--task translation"]
    if profile.reading.target is not None:
        data = [f"--source {name} --target {shlex.quote(str(profile.reading.target))}"]
    columns = {k: v for k, v in profile.train.kind.options.items() if k != "task"}
    words = ["seriatim fit", *data, *_as_options(columns)]
    words += [f"--model {family}", f"--symbols {symbols}", *_as_options(options)]
    return " ".join([*words, *_reading_options(profile, ("format",)), "--out model/"])


def _data_options(profile: DataProfile) -> list[str]:
    """The data and how to read it."""
    part = profile.train
    words = [shlex.quote(part.name), *_reading_options(profile, _COLUMNS)]
    is_table = part.kind.name in ("documents", "event table")
    default = "document" if is_table or not part.files else "stream"  # of `fit`
    if profile.sequences != default:
        words.append(f"--sequences {profile.sequences}")
    return words
