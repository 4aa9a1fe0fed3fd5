"""Measuring data before anything is trained on it: figures of every part, as a `DataProfile`.

Large data is sampled, so that memory and time are bounded, and the sampled fraction is stated.

Knows files, figures and the n-gram models of `predictability`; draws no conclusions.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import TypeAlias

from seriatim.data.sources import Sequences, TextSource
from seriatim.data.splits import split_source
from seriatim.data.tables import Text
from seriatim.data_profile.leaks import TrainingIndex
from seriatim.data_profile.parts import Data, lines_of, lines_of_files, open_part, until_error
from seriatim.data_profile.predictability import (
    NUM_CHARACTERS,
    compress,
    gain_across_lines,
    measure_predictability,
)
from seriatim.data_profile.result import DataPart, DataProfile, ProfileReading, ReadTexts
from seriatim.data_profile.sampling import evenly_spaced
from seriatim.errors import ConfigError, DataError

Say: TypeAlias = Callable[[str], None]

MEGABYTES = 32.0
_NUM_FILES = 30  # that a run of text is taken from
_PIECE = 1 << 20  # characters of a piece of a stream that is split


def examine(
    data: Data,
    valid: Data | None,
    test: Data | None,
    split: tuple[float, float, float],
    reading: ProfileReading,
    megabytes: float,
    say: Say | None,
) -> DataProfile:
    """Measure data; the arguments are those of `look`.

    Raises:
        ConfigError: options that do not fit the data.
        DataError: there is no such file, or it is empty or no text.
    """
    if megabytes <= 0:
        raise ConfigError(f"a sample of {megabytes:g} megabytes is empty: give 1 or more")
    say = say or (lambda _: None)
    if reading.target is not None and (valid is not None or test is not None):
        raise ConfigError(
            "a file of targets belongs to the data alone: look at validation and test pairs "
            "separately, or write the pairs as tables"
        )
    all_data = {"train": data, "valid": valid, "test": test}
    with ExitStack() as samples:
        parts = {
            name: open_part(part, reading, int(megabytes * 1e6), samples, say)
            for name, part in all_data.items()
            if part is not None
        }
        profile = DataProfile(parts, reading, split=split if valid is None else None)
        _measure(profile, say)
        _find_leaks(profile, split, say)
    return profile


# ---- predictability -----------------------------------------------------------------------------


def _measure(profile: DataProfile, say: Say) -> None:
    """Find how the text should be read, and how predictable it is."""
    part, kind = profile.train, profile.train.kind
    read = part.reads["target" if "target" in part.reads else "text"]
    run = _contiguous(part, read)
    symbols = "word" if kind.options.get("symbols") == "word" else "char"
    if part.facts.is_tokenized:
        symbols = "word"
    if part.consists_of_lines and all(isinstance(text, str) for text in run):
        say("measuring whether lines depend on the preceding ones")
        profile.across_lines = gain_across_lines([str(text) for text in run], symbols)
    profile.sequences = profile.reading.sequences or _best_sequences(profile)
    say("fitting n-gram models of order 1 to 6")
    if profile.sequences != "stream":
        texts = [text for text in _spread(part, read) if text]
    elif part.consists_of_lines:
        texts = ["".join(f"{text}\n" for text in run)]
    else:
        texts = run
    if kind.name != "numbers" and texts:
        profile.predictability = measure_predictability(texts, symbols, profile.sequences)
    say("compressing")
    profile.compression = compress(until_error(read))


def _best_sequences(profile: DataProfile) -> Sequences:
    kind = profile.train.kind
    if kind.name == "pairs" or kind.has_labels or kind.options.get("sequences") == "line":
        return "line"
    if kind.name not in ("text", "json"):
        return "document"
    gain = profile.across_lines
    return "line" if gain is not None and gain < -0.001 else "stream"


def _contiguous(part: DataPart, read: ReadTexts) -> list[Text]:
    """Consecutive sequences, up to a number of characters; of many files, some of each."""
    files = part.sample.paths
    if len(files) < 2 or part.kind.name != "text":
        return _at_most(until_error(read), NUM_CHARACTERS)
    texts: list[Text] = []
    chosen = list(evenly_spaced(files, _NUM_FILES))
    for file in chosen:
        lines = lines_of_files([file], part.encoding)
        texts += _at_most(until_error(lines), NUM_CHARACTERS // len(chosen))
    return texts


def _at_most(texts: Iterator[Text], characters: int) -> list[Text]:
    taken, size = [], 0
    for text in texts:
        taken.append(text if isinstance(text, list) else text[: 4 * characters])
        size += len(text) + 1
        if size > characters:
            break
    return taken


def _spread(part: DataPart, read: ReadTexts) -> list[Text]:
    """Sequences from everywhere, up to a number of characters."""
    total = max(part.facts.num_characters + part.facts.num_sequences, 1)
    step = max(1, round(total / NUM_CHARACTERS))
    return list(islice(until_error(read), 0, None, step))


# ---- leaks --------------------------------------------------------------------------------------


def _find_leaks(profile: DataProfile, split: tuple[float, float, float], say: Say) -> None:
    """How much of valid and test occurs in train: the given parts, or those that fit would make."""
    part = profile.train
    if part.kind.name == "numbers":
        return
    side = next(iter(part.reads))
    train = part.reads[side]
    others = {
        name: other.reads[side]
        for name, other in profile.parts.items()
        if name != "train" and side in other.reads
    }
    if "valid" not in others or "test" not in others:
        parts = _split(profile, train, split, has_test="test" in others)
        if parts is not None:
            train = parts.pop("train")
            others = parts | others
    if not others:
        return
    say("looking for leaks")
    index = TrainingIndex(
        until_error(train),
        of_words=part.facts.has_words,
        is_stream=profile.sequences == "stream",
    )
    for name, read in sorted(others.items()):
        profile.leaks[name] = index.find_leaks(until_error(read), is_given=name in profile.parts)


def _split(
    profile: DataProfile,
    read: ReadTexts,
    split: tuple[float, float, float],
    *,
    has_test: bool,
) -> dict[str, ReadTexts] | None:
    """The parts that fit would make of the sample; None if it would make none, or cannot."""
    if "valid" in profile.parts:
        return None
    fractions = (split[0], split[1] + split[2], 0.0) if has_test else split
    texts = list(until_error(read))
    if not texts:
        return None
    if profile.sequences == "stream":  # larger pieces are split much faster
        texts = list(_joined(texts))
    source = TextSource(tuple(texts), profile.sequences)
    try:
        parts, _ = split_source(source, fractions)
    except DataError as error:
        profile.split_problem = str(error).replace(source.name, profile.train.name)
        return None
    names = ("train", "valid", "test")
    return {n: lines_of(p) for n, p in zip(names, parts, strict=True) if p is not None}


def _joined(texts: list[Text]) -> Iterator[Text]:
    """Lines joined into pieces of about a million characters; lists of symbols stay separate."""
    lines: list[str] = []
    size = 0
    for text in texts:
        if isinstance(text, list):
            if lines:
                yield "".join(lines)
                lines, size = [], 0
            yield text
            continue
        lines.append(text + "\n")
        size += len(text) + 1
        if size > _PIECE:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)
