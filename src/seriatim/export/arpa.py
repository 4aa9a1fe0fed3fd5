"""Language models from ARPA files, and Markov models to ARPA files.

Knows language models, words and the Markov family; the file format is in `arpa_files`.
"""

import contextlib
from collections.abc import Sequence
from itertools import islice
from os import PathLike
from pathlib import Path

import torch

from seriatim.core.batch import Batch
from seriatim.data.vocab.word import WordVocabulary
from seriatim.decode.sampling import sample
from seriatim.errors import ConfigError
from seriatim.export.arpa_files import read_arpa, write_arpa
from seriatim.export.checks import ROWS, checked_difference
from seriatim.models.markov import MarkovModel
from seriatim.models.options.ngram import Markov
from seriatim.tasks.language_model import LanguageModel

SYMBOLS = 300  # of each text on which a file is compared with its model


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


def language_model_to_arpa(model: LanguageModel, path: str | PathLike[str]) -> float:
    """Write a fitted Markov language model as an ARPA file.

    Words are written as they are, other symbols by their names, the unknown symbol as `<unk>`.

    Args:
        model: the language model.
        path: the file to write; packed if its name ends in .gz. It is read again before it gets
            this name.

    Returns:
        The largest difference that was seen between the file's log-probabilities and ours.

    Raises:
        ConfigError: the model is of another family, or not fitted yet.
        DataError: an ARPA file cannot represent a symbol.
        OutputError: the disk cannot hold the file, or it does not say what the model says.
    """
    markov, vocabulary = model.model, model.vocabulary
    if not isinstance(markov, MarkovModel) or vocabulary is None:
        raise ConfigError(
            f"only Markov models can be written as ARPA files, and this model is of family "
            f"{model.config.family}: fit one with --model markov"
        )
    names = [vocabulary.name(i) for i in range(vocabulary.num_symbols)]
    path = Path(path)
    part = path.with_name(f".unread-{path.name}")
    try:
        write_arpa(part, markov.table.backoff_model(), names, boundary=vocabulary.boundary)
        difference = check_arpa(part, markov, names)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return difference


@torch.no_grad()
def check_arpa(path: Path, model: MarkovModel, names: Sequence[str]) -> float:
    """The largest difference of a file to its model, as `checks.checked_difference` has it.

    It is read again and compared on every symbol once, and on texts that the model draws, whose
    n-grams are of every order.
    """
    read = language_model_from_arpa(path, device="cpu")
    theirs, vocabulary = read.model, read.vocabulary
    assert isinstance(theirs, MarkovModel)  # it was made here
    assert vocabulary is not None
    known = {vocabulary.name(i): i for i in range(vocabulary.num_symbols)}
    number = torch.tensor([known.get(name, vocabulary.boundary) for name in names])
    number[model.boundary] = vocabulary.boundary
    every = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    largest = 0.0
    for rows in ROWS:
        drawn = islice(sample(model, model.start(rows), seed=rows), SYMBOLS)
        texts = torch.stack([symbols for symbols, _ in drawn], 1)
        for x in (texts, every[None].expand(rows, -1)):
            difference = checked_difference(
                model.log_prob(Batch(x[:, :-1], x[:, 1:])).cpu().numpy(),
                theirs.log_prob(Batch(number[x[:, :-1]], number[x[:, 1:]])).numpy(),
                tool="the written file's",
                where=f"in a batch of {rows}",
                what="file",
            )
            largest = max(largest, difference)
    return largest
