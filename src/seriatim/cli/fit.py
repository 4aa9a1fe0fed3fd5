"""`seriatim fit`: from data to a model folder."""

import contextlib
import importlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from seriatim.cli.fit_request import (
    READING,
    FileOptions,
    FitRequest,
    PairOptions,
    ReadingOptions,
    SeriesColumns,
    Split,
    data_files,
)
from seriatim.cli.fit_run import run_fit
from seriatim.cli.options import split_options, with_options
from seriatim.cli.output import Flag, print_json, use_threads
from seriatim.cli.run_folder import KeepOptions, RunFolder
from seriatim.cli.verify import VerifyRequest
from seriatim.errors import ConfigError, SeriatimError

if TYPE_CHECKING:
    from seriatim.core.records import Json
    from seriatim.data.sources import Sequences


@with_options
def fit(
    data: Path | None = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    model: Annotated[str | None, Parameter(alias="-m")] = None,
    preset: str | None = None,
    init: Path | None = None,
    repeat: Path | None = None,
    allow_unknown: Flag = False,
    allow_untrained: Flag = False,
    from_arpa: Path | None = None,
    valid: Path | None = None,
    test: Path | None = None,
    split: Split | None = None,
    symbols: Annotated[str | None, Parameter(alias="-s", group=READING)] = None,
    min_count: Annotated[int | None, Parameter(group=READING)] = None,
    max_symbols: Annotated[int | None, Parameter(group=READING)] = None,
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=READING)
    ] = None,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    task: str | None = None,
    pairs: PairOptions | None = None,
    series: SeriesColumns | None = None,
    keep: KeepOptions | None = None,
    overwrite: Flag = False,
    verify: Flag = False,
    full_scores: Flag = False,
    processes: int | None = None,
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
    **options: Any,
) -> None:
    """Fit a model to data and save it.

    Args:
        data: a file (.txt, .jsonl, .csv, .tsv, .fasta, also .gz; .parquet) or a folder.
        out: the folder to save the model in; required.
        model: markov, autoregressive, rnn, lstm, gru or transformer; for the other tasks see
            --task. [default: lstm; ar for series]
        preset: a published model: classic is the transformer of Vaswani et al. 2017; zaremba-small
            and zaremba-medium are the lstm of Zaremba et al. 2014, with its training.
        init: the folder of a model to train further on new data, with its symbols and sizes.
        repeat: the folder of a model that is to be made again from the same data, with its options,
            its number of steps and, of a run in minutes, its recorded pace.
        allow_unknown: with --init: train even if more than half of the symbols of the data are
            unknown to the model.
        allow_untrained: accept a model that no evaluation found better than before training, which
            otherwise ends with an error (the model is saved all the same).
        from_arpa: an ARPA file, written by any tool, to turn into a Markov model; no data is read.
        valid: the validation data; without it a part of the training data is split off.
        test: the test data, for the final scores; without it and without --valid a part of the
            training data is split off.
        split: the fractions of training, validation and test where they are split off.
            [default: 0.8 0.1 0.1; of series, 1 0 0, or 0.9 0.1 0 for networks]
        symbols: byte, char, word or bpe:N, or auto: what seriatim look advises; also bpe for a
            translator, whose default it is, and nfd for a labeller. [default: auto; char for a
            labeller]
        min_count: the least count of a character or word; rarer ones become <unk>. [default: 1]
        max_symbols: the greatest number of characters or words to keep. [default: all]
        sequences: what one sequence is: a line, a document, or all of the text as one stream.
            [default: stream for text files, document for tables and .jsonl]
        task: language, a model of text; translation, from sources to targets: --model is then
            seq2seq, or transformer, lstm, gru or rnn for both encoder and decoder; label, a label
            for each sequence or element: --model is then lstm, gru, rnn or transformer, read in
            both directions; forecast, a model of series of numbers: --model is then naive,
            seasonal-naive, drift, ar, var, linear-gaussian, hmm or a network. [default: language;
            translation with --source and --target; forecast if the data are series]
        overwrite: replace a model in --out.
        verify: save nothing, but fit twice, once killed at a random instant and resumed, and
            compare both runs bit by bit.
        full_scores: score all of the validation and test data, not a sample of them that takes a
            twentieth of --minutes, or has a tenth of the symbols that were trained on.
        processes: the number of processes that share the training on this machine; not to be given
            under torchrun or srun. [default: 1]
        threads: the number of threads of each process. [default: what suits the model]
        quiet: show no progress.
        json: print the record of training as JSON.
    """
    if verify:
        raise VerifyRequest
    if out is None:
        raise ConfigError("fit needs --out FOLDER: where to save the model")
    model_options, training_options = split_options(options)
    if symbols == "word" and init is None and from_arpa is None and task in (None, "language"):
        is_whole = valid is not None or test is not None or (split or (0.8,))[0] == 1
        if is_whole and data is not None and max_symbols is None and processes is None:
            then = None if repeat or preset or model is None else _first_job(model, model_options)
            _begin_reading(data, sequences, files, reading, min_count or 1, then)
            _import_aside("seriatim.tasks.language_model", "seriatim.models.markov")
    use_threads(threads)
    folder = RunFolder(out, keep, overwrite=overwrite, threads=threads)
    if folder.is_finished and from_arpa is not None:
        folder.say_finished(json=json)
        return
    from seriatim.tasks.options import TaskOptions

    task_options = TaskOptions(
        model=model,
        model_options=model_options,
        preset=preset,
        symbols=symbols,
        source_symbols=None if pairs is None else pairs.source_symbols,
        joint=pairs is not None and pairs.joint,
        min_count=min_count,
        max_symbols=max_symbols,
        sequences=sequences,
        series=(series or SeriesColumns()).options(None if pairs is None else pairs.target_column),
    )
    train, valid_files, test_files = data_files(
        (data, valid, test), files or FileOptions(), reading, pairs
    )
    if from_arpa is not None:
        others = [not train.is_empty, valid_files, test_files, init, task_options != TaskOptions()]
        _fit_from_arpa(from_arpa, out, any(others), overwrite=overwrite, json=json)
        return
    request = FitRequest(
        task=task,
        options=task_options,
        init=init,
        repeat=repeat,
        train=train,
        valid=valid_files,
        test=test_files,
        split=split,
        training=training_options,
        allow_unknown=allow_unknown,
        full_scores=full_scores,
        allow_untrained=allow_untrained,
        processes=processes,
        quiet=quiet,
        json=json,
    )
    run_fit(request, folder)


def _first_job(model: str, options: "Json") -> "tuple[str, Json] | None":
    """See `ModelConfig.first_job`."""
    from seriatim.models.options.registry import configure

    with contextlib.suppress(SeriatimError):  # raised again where the task is made
        return configure(model, options).first_job
    return None


def _begin_reading(
    data: Path,
    sequences: "Sequences | None",
    files: FileOptions | None,
    reading: ReadingOptions | None,
    min_count: int,
    then: "tuple[str, Json] | None",
) -> None:
    """Read the words of a text, and count them, while torch is imported, which takes as long."""
    from seriatim.data.word_corpus import begin_reading_words, can_read_words

    train, _, _ = data_files((data, None, None), files or FileOptions(), reading, None)
    with contextlib.suppress(SeriatimError):  # raised again where the data is opened
        source = train.open_text(sequences)
        if can_read_words(source):
            sys.setswitchinterval(1e-3)
            begin_reading_words(source, min_count=min_count, then=then)


def _import_aside(*modules: str) -> None:
    """Import modules, with torch, in a thread that leaves the cores to those that read the text.

    Where a core is free, it takes no longer; where none is, all ends sooner, since nothing waits
    for what is imported as long as the text is read and counted.
    """

    def work() -> None:
        with contextlib.suppress(AttributeError, OSError):  # of this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        with contextlib.suppress(Exception):  # raised again where it is needed
            for module in modules:
                importlib.import_module(module)

    if sys.platform == "linux":  # elsewhere it would be that of the whole process
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()


def _fit_from_arpa(path: Path, out: Path, is_more: bool, *, overwrite: bool, json: bool) -> None:
    from seriatim.export.arpa import language_model_from_arpa

    if is_more:
        raise ConfigError(
            "--from-arpa takes the whole model from its file: leave out data, models and symbols"
        )
    lm = language_model_from_arpa(path)
    lm.save(out, overwrite=overwrite)
    if json:
        print_json({**lm.info(), "out": str(out)})
    else:
        print(f"{lm.headline()}, from {path}\nsaved in {out}; try: seriatim generate {out}")
