"""Language models from ARPA files, and counted ones to ARPA files.

Knows language models, words and the Markov family; the file format is in
`seriatim.export.arpa_files`.
"""

from os import PathLike
from pathlib import Path

from seriatim.data.vocab.vocabulary import WordVocabulary
from seriatim.errors import ConfigError
from seriatim.export.arpa_files import read_arpa, write_arpa
from seriatim.models.markov import MarkovModel
from seriatim.models.options.ngram import Markov
from seriatim.tasks.language_model import LanguageModel


def language_model_from_arpa(
    path: str | PathLike[str], *, device: str | None = None
) -> LanguageModel:
    """A language model of lines of words from the ARPA file of any tool, .gz too.

    It does all that a fitted one does: score, generate, stream, mix with other families.

    Raises:
        DataError: the file is truncated or contradicts itself; see `read_arpa`.
    """
    arpa = read_arpa(Path(path))
    vocabulary = WordVocabulary(arpa.words, is_document=False)
    config = Markov(order=len(arpa.backoffs.starts) - 1, smoothing="arpa")
    model = MarkovModel(config, vocabulary.num_symbols, vocabulary.boundary)
    model.table.fill(arpa.backoffs)
    record = {
        "name": Path(path).name,
        "ngrams": model.table.num_ngrams,
        "has_unknown": arpa.has_unknown,
    }
    return LanguageModel.of_model(
        model,
        config=config,
        vocabulary=vocabulary,
        sequences="line",
        words=arpa.words,
        training={"arpa": record},
        device=device,
    )


def language_model_to_arpa(model: LanguageModel, path: str | PathLike[str]) -> None:
    """Write a counted language model as an ARPA file, packed if the name ends in .gz.

    Words are written as they are, other symbols by their names. `<unk>` is written `<unk>`.

    Raises:
        ConfigError: the model is not counted, or not fitted yet.
        DataError: a symbol cannot stand in an ARPA file.
        OutputError: the disk cannot hold it.
    """
    markov, symbols = model.model, model.vocabulary
    if not isinstance(markov, MarkovModel) or symbols is None:
        raise ConfigError(
            f"only counted models can be written as ARPA, and this is a {model.config.family} "
            "model: fit one with --model markov"
        )
    names = [symbols.name(i) for i in range(symbols.num_symbols)]
    write_arpa(Path(path), markov.table.backoffs(), names, boundary=symbols.boundary)
