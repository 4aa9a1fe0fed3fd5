"""Parts of a text as symbols, of a vocabulary that the training part decides.

Knows sources and vocabularies; no model.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.sources import Source
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.data.word_corpus import can_read_words, read_words

AUTO = "auto"  # the symbols that `look` advises
Cut: TypeAlias = tuple[int, int | None]  # the least count, and the greatest number of symbols


def chosen_symbols(
    train: Source, vocabulary: Vocabulary | None, cut: Cut, log: Callable[[str], None]
) -> tuple[str, Cut]:
    """The kind of symbols for "auto", and their limits; that of a vocabulary, if there is one."""
    from seriatim.data_profile.symbols import symbols_of  # with all that `look` knows

    if vocabulary is not None:
        return vocabulary.kind, cut
    chosen = symbols_of(train)
    log(f"symbols: {chosen.why}")
    least = int(chosen.options.get("min-count", 1))
    return chosen.symbols, (max(cut[0], least), cut[1])


def encode_parts(
    parts: Mapping[str, Source],
    vocabulary: Vocabulary | None,
    *,
    spec: str,
    cut: tuple[int, int | None],
    log: Callable[[str], None],
) -> tuple[Vocabulary, dict[str, Corpus]]:
    """The parts as symbols; without a vocabulary, one is fitted to the training part.

    Args:
        parts: the parts by name; one is "train".
        vocabulary: the vocabulary, if there is one.
        spec: the kind of symbols; see `fit_vocabulary`.
        cut: the least count of a symbol, and the greatest number of symbols.
        log: callback that receives log messages.
    """
    train, (min_count, max_symbols) = parts["train"], cut
    corpora: dict[str, Corpus] = {}
    if vocabulary is None and spec == "word" and can_read_words(train):
        log("reading the words of the train text")
        vocabulary, corpora["train"] = read_words(
            train, min_count=min_count, max_symbols=max_symbols
        )
    if vocabulary is None:
        log(f"building the vocabulary of {spec} symbols")
        vocabulary = fit_vocabulary(
            spec,
            train.texts(),
            sequences=train.sequences,
            min_count=min_count,
            max_symbols=max_symbols,
        )
    for name in [name for name in parts if name not in corpora]:
        log(f"turning the {name} text into symbols")
        corpora[name] = build_corpus(parts[name], vocabulary)
    return vocabulary, {name: corpora[name] for name in parts}
