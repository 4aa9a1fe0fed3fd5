"""`seriatim fit`: from text to a model folder."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from cyclopts import Group, Parameter

from seriatim.cli.asked import Asked, Reading
from seriatim.cli.keeping import KeepOptions, Place, estimate_line
from seriatim.cli.label import fit_labeller
from seriatim.cli.launch import check_processes
from seriatim.cli.options import shell_families, split_options, with_options
from seriatim.cli.output import (
    Flag,
    Reporter,
    duration,
    print_json,
    score_lines,
    use_threads,
)
from seriatim.cli.pairs import PairOptions, fit_translator
from seriatim.errors import ConfigError, OutputError, TrainingError
from seriatim.families.configuration import ModelConfig, configure

if TYPE_CHECKING:
    from seriatim.tasks.labelling import Labeller
    from seriatim.tasks.language import LanguageModel
    from seriatim.tasks.translation import Translator
    from seriatim.train.history import Progress

_READING = Group("Reading", sort_key=1)


@with_options
def fit(
    data: Path | None = None,
    /,
    *,
    out: Path,
    model: Annotated[str | None, Parameter(alias="-m")] = None,
    preset: str | None = None,
    init: Path | None = None,
    from_arpa: Path | None = None,
    valid: Path | None = None,
    test: Path | None = None,
    split: Annotated[
        tuple[float, float, float], Parameter(group=_READING, negative_iterable=())
    ] = (0.8, 0.1, 0.1),
    symbols: Annotated[str | None, Parameter(alias="-s", group=_READING)] = None,
    min_count: Annotated[int | None, Parameter(group=_READING)] = None,
    max_symbols: Annotated[int | None, Parameter(group=_READING)] = None,
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=_READING)
    ] = None,
    format: Annotated[str | None, Parameter(group=_READING)] = None,
    field: Annotated[str | None, Parameter(group=_READING)] = None,
    column: Annotated[str | None, Parameter(group=_READING)] = None,
    sequence_column: Annotated[str | None, Parameter(group=_READING)] = None,
    order_column: Annotated[str | None, Parameter(group=_READING)] = None,
    encoding: Annotated[str, Parameter(group=_READING)] = "utf-8",
    skip_empty: Annotated[
        bool, Parameter(group=_READING, negative_bool=(), show_default=False)
    ] = False,
    task: Literal["language", "translation", "label"] = "language",
    pairs: PairOptions | None = None,
    keep: KeepOptions | None = None,
    overwrite: Flag = False,
    processes: int | None = None,
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
    **options: Any,
) -> None:
    """Fit a model to text and save it.

    Args:
        data: a file (.txt, .jsonl, .csv, .tsv, text formats also .gz; .parquet) or a folder.
        out: the folder to write the model to.
        model: markov, autoregressive, rnn, lstm, gru or transformer. [lstm]
        preset: of the model: classic, for the transformer of Vaswani et al. 2017; zaremba-small or
            zaremba-medium, for the lstm of Zaremba et al. 2014 and its training.
        init: go on from this model, with its symbols and sizes, on new data.
        from_arpa: make a Markov model of this ARPA file instead, of any tool; no data is read.
        valid: validation text; without it a part of the data is split off.
        test: test text, for the final figures; likewise.
        split: shares of training, validation and test where they are split off.
        symbols: byte, char, word or bpe:N. [char]
        min_count: characters or words seen fewer times become <unk>. [1]
        max_symbols: keep at most this many characters or words.
        sequences: what one sequence is: a line, a document, or all of it as one stream.
        format: of the files, instead of what their endings say.
        field: of .jsonl records, that holds the text.
        column: of tables, that holds the text, or the event.
        sequence_column: of tables with one event per row: which sequence it belongs to.
        order_column: by which the events of a sequence are sorted.
        encoding: of the files.
        skip_empty: leave out empty lines or documents.
        task: language, a model of text; translation, from sources to targets, also where --source
            and --target are given: --model is then seq2seq, or transformer, lstm, gru or rnn for
            both encoder and decoder; label, a label for each sequence or element: --model is
            then lstm, gru, rnn or transformer, read in both directions.
        overwrite: replace a model that stands at --out.
        processes: that share the training, on this machine; under torchrun or srun leave it out.
            [1]
        threads: of the processor, for each process; all cores, shared evenly, if not given.
        quiet: no progress.
        json: print the record of training as JSON.
    """
    use_threads(threads)
    place = Place(out, keep, overwrite=overwrite, threads=threads)
    if place.is_finished:
        place.say_finished(json=json)
        return
    model_options, training_options = split_options(options)
    if from_arpa is not None:
        given = [data, model, preset, init, valid, test, symbols, pairs, *model_options.values()]
        _fit_from_arpa(from_arpa, out, given, overwrite=overwrite, json=json)
        return
    asked = Asked(
        data=data,
        place=place,
        model=model,
        preset=preset,
        init=init,
        parts=(valid, test),
        split=split,
        symbols=symbols,
        cut=(min_count, max_symbols),
        reading=Reading(
            sequences=sequences,
            field=field,
            column=column,
            sequence_column=sequence_column,
            order_column=order_column,
            skip_empty=skip_empty,
        ),
        format=format,
        encoding=encoding,
        processes=processes,
        output=(quiet, json),
        model_options=model_options,
        training_options=training_options,
    )
    if task == "label":
        fit_labeller(asked, pairs or PairOptions())
    elif task == "translation" or pairs is not None:
        fit_translator(asked, pairs or PairOptions())
    else:
        _fit_language_model(asked)


def _fit_language_model(asked: Asked) -> None:
    from seriatim.data.readers import Source, open_source
    from seriatim.train.distributed import current

    if asked.data is None:
        raise ConfigError("there is nothing to fit to: give a file or a folder (or --from-arpa)")
    lm, reading = _language_model(asked), asked.reading
    training = lm.training_options(asked.training_options, preset=asked.preset)

    def source(path: Path) -> Source:
        return open_source(
            path,
            sequences=lm.sequences,
            format=asked.format,
            field=reading.field,
            column=reading.column,
            sequence_id=reading.sequence_column,
            order=reading.order_column,
            encoding=asked.encoding,
            skip_empty=reading.skip_empty,
        )

    check_processes(asked.processes)
    quiet, json = asked.output
    reporter = Reporter(is_quiet=quiet or json)
    train = source(asked.data)
    valid, test = (None if path is None else source(path) for path in asked.parts)

    def fit_it(report: Callable[["Progress"], None]) -> None:
        lm.fit(
            train,
            valid=valid,
            test=test,
            split=asked.split,
            options=training,
            report=report,
            say=reporter.say,
            announce=lambda found: reporter.note(estimate_line(found)),
            checkpoints=asked.place.checkpoints(),
        )

    out = fitted(lm, asked.place, reporter, fit_it)
    if not current().is_main:
        return
    if json:
        print_json({**lm.info(), "out": str(out)})
    else:
        print(_summary(lm.info(), out))


def _language_model(asked: Asked) -> "LanguageModel":
    from seriatim.tasks.language import LanguageModel

    min_count, max_symbols = asked.cut
    if asked.init is not None:
        given = [asked.model, asked.preset, asked.symbols, *asked.cut, asked.reading.sequences]
        _refuse_with_init(*given, asked.model_options)
        return LanguageModel.load(asked.init)
    return LanguageModel(
        _configured(asked.model or "lstm", asked.model_options, asked.preset),
        symbols=asked.symbols or "char",
        sequences=asked.reading.sequences,
        min_count=1 if min_count is None else min_count,
        max_size=max_symbols,
    )


def fitted(
    lm: "LanguageModel | Translator | Labeller",
    place: Place,
    reporter: Reporter,
    fit_it: Callable[[Callable[["Progress"], None]], None],
) -> Path:
    """Fit a model and save it; returns where.

    Args:
        lm: the model.
        place: the folder of the run.
        fit_it: fits, given whom to tell of the progress.

    Raises:
        TrainingError: training broke down; the last good weights are saved.
        OutputError: there is no room at the place; the model is saved elsewhere.
    """
    from seriatim.train.distributed import LostProcessError, current
    from seriatim.train.estimate import NoMemoryError

    try:
        with place.listening(reporter) as report:
            fit_it(report)
    except TrainingError as error:
        if lm.model is None or not current().is_main or isinstance(error, LostProcessError):
            raise
        if isinstance(error, NoMemoryError) and not place.has_begun:
            place.abandon()  # nothing was learnt yet
            raise
        lm.training["fit"] = {"stopped": str(error)}
        out = saved(lm, place.out, overwrite=place.overwrite)
        place.end(lm.training, reporter, is_cut_short=isinstance(error, NoMemoryError))
        raise TrainingError(f"{error}; the last good weights are saved in {out}") from None
    if not current().is_main:
        return place.out
    out = saved(lm, place.out, overwrite=place.overwrite)
    place.end(lm.training, reporter)
    reporter.done()
    return out


def _configured(family: str, options: dict[str, Any], preset: str | None) -> ModelConfig:
    known = shell_families()
    if family not in known:
        raise ConfigError(f"there is no model {family!r}: choose one of {', '.join(known)}")
    return configure(family, options, preset=preset)


def _fit_from_arpa(path: Path, out: Path, given: list[Any], *, overwrite: bool, json: bool) -> None:
    from seriatim.export.arpa import language_model_from_arpa

    if any(value for value in given):
        raise ConfigError(
            "--from-arpa takes the whole model from its file: leave out data, models and symbols"
        )
    lm = language_model_from_arpa(path)
    lm.save(out, overwrite=overwrite)
    if json:
        print_json({**lm.info(), "out": str(out)})
    else:
        print(
            f"markov: order {lm.config.order}, {lm.info()['symbols']['number']:,} words, from "  # type: ignore[attr-defined]
            f"{path}\nsaved in {out}; try: seriatim generate {out}"
        )


class Savable(Protocol):
    """Whatever is saved as a folder."""

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write it."""


def saved(lm: Savable, out: Path, *, overwrite: bool) -> Path:
    """Where the model was saved: `out`, or elsewhere rather than nowhere."""
    try:
        lm.save(out, overwrite=overwrite)
        return out
    except OutputError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="seriatim-")) / out.name
        lm.save(elsewhere)
        raise OutputError(f"{error}; the model is saved in {elsewhere} instead") from None


def _refuse_with_init(*given: Any) -> None:
    if any(value for value in given):
        raise ConfigError(
            "--init goes on from a model, which has its family, sizes and symbols already: leave "
            "out --model, --preset, --symbols, --min-count, --max-symbols, --sequences and the "
            "options of models"
        )


def _summary(info: dict[str, Any], out: Path) -> str:
    from seriatim.evaluate.text import Score

    training, lines = info["training"], []
    lines.append(
        f"{info['model']['family']}: {info['parameters']:,} parameters, "
        f"{info['symbols']['number']:,} {info['symbols']['kind']} symbols, "
        f"fitted in {duration(training['seconds'])}"
    )
    fitted = training["fit"]
    if "steps_done" in fitted:
        lines.append(
            f"{fitted['steps_done']:,} steps at {fitted['tokens_per_second']:,.0f} tokens/s "
            f"({fitted['stopped']}); best after step {fitted['best_step']:,}"
        )
    lines += fitted.get("notes", [])
    for part in ("valid", "test"):
        if part in training:
            lines.append(f"{part}:\n" + _indented(score_lines(Score(**training[part]))))
    lines.append(f"saved in {out}; try: seriatim generate {out}")
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
