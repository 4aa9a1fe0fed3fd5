"""Language models from ARPA files, and Markov models to ARPA files.

Knows language models, words and the Markov family; the file format is in `arpa_files`.
"""

from os import PathLike
from pathlib import Path

from seriatim.data.vocab.word import WordVocabulary
from seriatim.errors import ConfigError
from seriatim.export.arpa_files import read_arpa, write_arpa
from seriatim.models.markov import MarkovModel
from seriatim.models.options.ngram import Markov
from seriatim.tasks.language_model import LanguageModel


def language_model_from_arpa(
    path: str | PathLike[str], *, device: str | None = None
) -> LanguageModel:
    """A language model of lines of words from the ARPA file of any tool.

    It scores, generates, streams and mixes with other families as a fitted one does.

    Args:
        path: the file; one whose name ends in .gz is unpacked.
        device: the device of states and results; None: the CPU.

    Raises:
        DataError: the file is truncated or inconsistent; see `read_arpa`.
    """
    arpa = read_arpa(Path(path))
    vocabulary = WordVocabulary(arpa.words, is_document=False)
    config = Markov(order=arpa.model.order, smoothing="arpa")
    model = MarkovModel(config, vocabulary.num_symbols, vocabulary.boundary)
    model.table.fill(arpa.model)
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
        imported=record,
        device=device,
    )


def language_model_to_arpa(model: LanguageModel, path: str | PathLike[str]) -> None:
    """Write a fitted Markov language model as an ARPA file.

    Words are written as they are, other symbols by their names, the unknown symbol as `<unk>`.

    Args:
        model: the language model.
        path: the file to write; packed if its name ends in .gz.

    Raises:
        ConfigError: the model is of another family, or not fitted yet.
        DataError: an ARPA file cannot represent a symbol.
        OutputError: the disk cannot hold the file.
    """
    markov, vocabulary = model.model, model.vocabulary
    if not isinstance(markov, MarkovModel) or vocabulary is None:
        raise ConfigError(
            f"only Markov models can be written as ARPA files, and this model is of family "
            f"{model.config.family}: fit one with --model markov"
        )
    names = [vocabulary.name(i) for i in range(vocabulary.num_symbols)]
    write_arpa(Path(path), markov.table.backoff_model(), names, boundary=vocabulary.boundary)
