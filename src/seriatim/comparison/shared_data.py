"""The text that all models of a comparison share, in the symbols of each.

Everything that would make figures incomparable is refused here, before anything is trained: a
missing or short part, and symbols that do not spell the test text beside symbols that do.

Knows sources, vocabularies and corpora; no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seriatim.comparison.entrants import Entrant
from seriatim.core.records import Json
from seriatim.data.corpus import Corpus
from seriatim.data.sources import Sequences, Source, open_source
from seriatim.data.splits import SplitRecord, split_source
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, DataError
from seriatim.tasks.base import Log
from seriatim.tasks.encoding import AUTO, chosen_symbols, encode_parts
from seriatim.tasks.parts import Fractions, split_parts
from seriatim.tasks.speller import fit_speller, spelling_bits
from seriatim.tasks.surprisal_judge import Data

SPLIT: Fractions = (0.8, 0.1, 0.1)
# Bytes of the validation and of the test text at most, where no split is given: scoring more would
# take longer than it helps.
MOST_TEST = 100_000

_LEAST = 50  # symbols of each part: fewer say nothing


@dataclass(frozen=True)
class SharedData:
    """The parts of the data, in every vocabulary of the comparison.

    Attributes:
        name: the name of the data.
        parts: the sources of train, valid and test.
        split: how they were split; None: all were given.
        vocabulary_of: the name of the vocabulary of each model.
        vocabularies: by that name.
        corpora: by that name and part.
        spelling: by that name, the bits that spell the unknown symbols of the test text; empty
            where there is one vocabulary, since all models then miss the same.
    """

    name: str
    parts: Mapping[str, Source]
    split: Json | None
    vocabulary_of: Mapping[str, str]
    vocabularies: Mapping[str, Vocabulary]
    corpora: Mapping[str, Mapping[str, Corpus]]
    spelling: Mapping[str, float]

    @property
    def test(self) -> dict[str, Corpus]:
        """The test text in each vocabulary."""
        return {spec: parts["test"] for spec, parts in self.corpora.items()}


@dataclass(frozen=True)
class DataOptions:
    """How the data is split and turned into symbols; see `runner.compare`."""

    valid: Data | None = None
    test: Data | None = None
    split: Fractions | None = None
    sequences: Sequences | None = None
    symbols: str = "char"
    min_count: int = 1
    max_symbols: int | None = None


def open_shared_data(
    data: Data, entrants: Mapping[str, Entrant], options: DataOptions, log: Log
) -> SharedData:
    """Open, split and encode the data of a comparison.

    Args:
        data: a path, a `Source`, or texts.
        entrants: the models, by name.
        options: how the data is split and turned into symbols.
        log: a callback that receives log messages.

    Raises:
        ConfigError: if a part is missing, or symbols cannot be compared.
        DataError: if the data cannot be read or is too short.
    """
    log("reading and splitting the text")
    source = open_source(data, sequences=None if isinstance(data, Source) else options.sequences)
    parts, record = _open_parts(source, options)
    usual, least = options.symbols, options.min_count
    if usual == AUTO and not all(entrant.symbols for entrant in entrants.values()):
        usual, (least, _) = chosen_symbols(parts["train"], None, (least, None), log)
    vocabulary_of = {name: e.symbols or usual for name, e in entrants.items()}
    vocabularies, corpora = {}, {}
    for spec in dict.fromkeys(vocabulary_of.values()):
        limits = (least, options.max_symbols) if spec in ("char", "word") else (1, None)
        vocabularies[spec], corpora[spec] = encode_parts(
            parts, None, spec=spec, cut=limits, log=log
        )
    _check_long_enough(next(iter(corpora.values())))
    _check_comparable(corpora)
    spelling = {}
    if len(vocabularies) > 1:
        spelling = {
            spec: _spelling(parts, corpora[spec]["train"], vocabulary)
            for spec, vocabulary in vocabularies.items()
        }
    return SharedData(
        name=source.name,
        parts=parts,
        split=record,
        vocabulary_of=vocabulary_of,
        vocabularies=vocabularies,
        corpora=corpora,
        spelling=spelling,
    )


def _open_parts(source: Source, options: DataOptions) -> tuple[dict[str, Source], Json | None]:
    def open_part(part: Data) -> Source:
        kind = None if isinstance(part, Source) else source.sequences
        return open_source(part, sequences=kind)

    split = _split_sparingly if options.split is None else split_source
    others = {"valid": options.valid, "test": options.test}
    opened = {name: open_part(part) for name, part in others.items() if part is not None}
    parts, record = split_parts({"train": source, **opened}, options.split or SPLIT, split)
    for name in ("valid", "test"):
        if name not in parts:
            raise ConfigError(
                f"a comparison needs validation and test text, and there is no {name} text: give "
                "both, or leave them out and give split a fraction for each"
            )
    return parts, record


def _split_sparingly(
    source: Source, fractions: Sequence[float]
) -> tuple[Sequence[Source | None], SplitRecord]:
    """Split by the fractions, with at most `MOST_TEST` bytes each for validation and test."""
    parts, record = split_source(source, fractions)
    most = MOST_TEST / sum(part.bytes or 0 for part in record.parts.values())
    if max(fractions[1:]) > most:
        valid, test = (min(fraction, most) for fraction in fractions[1:])
        parts, record = split_source(source, (1 - (valid + test), valid, test))
    return parts, record


def _spelling(parts: Mapping[str, Source], train: Corpus, vocabulary: Vocabulary) -> float:
    speller = fit_speller(parts["train"].texts(), train, vocabulary)
    if speller is None:
        return 0.0
    return spelling_bits(speller, parts["test"].texts(), vocabulary)


def _check_long_enough(corpora: Mapping[str, Corpus]) -> None:
    for name, corpus in corpora.items():
        if corpus.num_scored < _LEAST:
            raise DataError(
                f"the {name} text has {corpus.num_scored} symbols to predict, too few to compare "
                f"models by: give more data, or a {name} text with at least {_LEAST}"
            )


def _check_comparable(corpora: Mapping[str, Mapping[str, Corpus]]) -> None:
    """Whether bits per character mean the same for every vocabulary.

    Raises:
        ConfigError: if one does not spell the test text, and there are others.
    """
    if len(corpora) == 1:
        return
    for spec, parts in corpora.items():
        test = parts["test"]
        if test.lossless_reason is not None and not test.is_respelled:
            raise ConfigError(
                f"models of {spec} symbols cannot be compared with models of other symbols: "
                f"{test.lossless_reason}; give all models the same symbols"
            )
