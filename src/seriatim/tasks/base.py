"""The parts of what a task is fitted to: split off, turned into symbols, scored and recorded.

Knows sources and symbols; no model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.sources import Source
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.data.word_corpus import can_read_words, read_words
from seriatim.metrics.score import Score

Say: TypeAlias = Callable[[str], None]
Shares: TypeAlias = tuple[float, float, float]
Part = TypeVar("Part")


def silent(sentence: str) -> None:
    """Say nothing."""


def open_parts(
    given: Mapping[str, Any],
    shares: Shares,
    open_: Callable[[Any], Part],
    split: Callable[[Part, Shares], tuple[Sequence[Part | None], dict[str, Any]]],
) -> tuple[dict[str, Part], dict[str, Any] | None]:
    """The parts of training, validation and test, and how they were split, if they were.

    Args:
        given: "train", "valid" and "test", None where there is no such; without "valid", it and
            a missing "test" are split off "train".
        shares: of training, validation and test; what is given takes no share of a test.
        open_: takes what was given.
        split: a part in three, and a record of how.
    """
    parts = {name: open_(data) for name, data in given.items() if data is not None}
    if "valid" in parts:
        return parts, None
    kept = (shares[0], shares[1] + shares[2], 0.0) if "test" in parts else shares
    pieces, record = split(parts["train"], kept)
    named = zip(("train", "valid", "test"), pieces, strict=True)
    return {**parts, **{name: piece for name, piece in named if piece is not None}}, record


def in_symbols(
    parts: Mapping[str, Source],
    vocabulary: Vocabulary | None,
    *,
    spec: str,
    cut: tuple[int, int | None],
    say: Say,
) -> tuple[Vocabulary, dict[str, Corpus]]:
    """The parts as symbols, which are chosen by the training text where there are none yet.

    Args:
        parts: by name; one is "train".
        vocabulary: the alphabet, if there is one.
        spec: which kind to choose; see `fit_vocabulary`.
        cut: how often a symbol must be seen, and how many symbols at most.
        say: told in a sentence what is being done.
    """
    train, (min_count, max_size) = parts["train"], cut
    corpora: dict[str, Corpus] = {}
    if vocabulary is None and spec == "word" and can_read_words(train):
        say("reading the words of the train text")
        vocabulary, corpora["train"] = read_words(train, min_count=min_count, max_size=max_size)
    if vocabulary is None:
        say(f"choosing {spec} symbols")
        vocabulary = fit_vocabulary(
            spec,
            train.texts(),
            sequences=train.sequences,
            min_count=min_count,
            max_size=max_size,
        )
    for name in [name for name in parts if name not in corpora]:
        say(f"turning the {name} text into symbols")
        corpora[name] = build_corpus(parts[name], vocabulary)
    return vocabulary, {name: corpora[name] for name in parts}


def scores(
    parts: Iterable[str], score: Callable[[str], Score], what: str, say: Say
) -> dict[str, Any]:
    """The scores of the parts for validation and test, as far as the user has patience for them.

    Args:
        parts: names of what there is.
        score: of a part by its name.
        what: the parts consist of, in a word.
        say: told in a sentence what is being done.
    """
    found: dict[str, Any] = {}
    try:
        for name in sorted({"valid", "test"}.intersection(parts), reverse=True):
            say(f"scoring the {name} {what}")
            found[name] = score(name).to_json()
    except KeyboardInterrupt:
        # The model is fitted; whoever has no patience for its figures must not lose it.
        found["not_scored"] = "interrupted"
    return found


def corpus_facts(corpus: Corpus) -> dict[str, Any]:
    """What is recorded of a corpus, JSON values."""
    return {
        "sequences": corpus.num_sequences,
        "symbols": corpus.num_tokens,
        "scored": corpus.num_scored,
        "unknown": corpus.num_unknown,
        "characters": corpus.num_characters,
        "bytes": corpus.num_bytes,
        "fingerprint": corpus.fingerprint,
    }
