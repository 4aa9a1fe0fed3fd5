"""`seriatim fit`: from text to a model folder."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from seriatim.cli.options import shell_families, split_options, with_options
from seriatim.cli.output import (
    Flag,
    Reporter,
    duration,
    print_json,
    score_lines,
    use_threads,
)
from seriatim.errors import ConfigError, OutputError, TrainingError
from seriatim.families.configuration import ModelConfig, configure

if TYPE_CHECKING:
    from seriatim.tasks.language import LanguageModel

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
    overwrite: Flag = False,
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
        preset: of the model: classic, for the transformer of Vaswani et al. 2017.
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
        overwrite: replace a model that stands at --out.
        threads: of the processor; all cores if not given.
        quiet: no progress.
        json: print the record of training as JSON.
    """
    from seriatim.data.readers import Source, open_source
    from seriatim.tasks import folder
    from seriatim.tasks.language import LanguageModel

    use_threads(threads)
    folder.check_free(out, overwrite=overwrite)
    model_options, training_options = split_options(options)
    if from_arpa is not None:
        given = [data, model, preset, init, valid, test, symbols, *model_options.values()]
        _fit_from_arpa(from_arpa, out, given, overwrite=overwrite, json=json)
        return
    if data is None:
        raise ConfigError("there is nothing to fit to: give a file or a folder (or --from-arpa)")
    if init is not None:
        _refuse_with_init(model, preset, symbols, min_count, max_symbols, sequences, model_options)
        lm = LanguageModel.load(init)
    else:
        lm = LanguageModel(
            _configured(model or "lstm", model_options, preset),
            symbols=symbols or "char",
            sequences=sequences,
            min_count=1 if min_count is None else min_count,
            max_size=max_symbols,
        )
    training = lm.training_options(training_options)

    def source(path: Path) -> Source:
        return open_source(
            path,
            sequences=lm.sequences,
            format=format,
            field=field,
            column=column,
            sequence_id=sequence_column,
            order=order_column,
            encoding=encoding,
            skip_empty=skip_empty,
        )

    reporter = Reporter(is_quiet=quiet or json)
    try:
        lm.fit(
            source(data),
            valid=None if valid is None else source(valid),
            test=None if test is None else source(test),
            split=split,
            options=training,
            report=reporter.progress,
            say=reporter.say,
        )
    except TrainingError as error:
        lm.training["fit"] = {"stopped": str(error)}
        place = _saved(lm, out, overwrite=overwrite)
        raise TrainingError(f"{error}; the last good weights are saved in {place}") from None
    out = _saved(lm, out, overwrite=overwrite)
    reporter.done()
    if json:
        print_json({**lm.info(), "out": str(out)})
    else:
        print(_summary(lm.info(), out))


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


def _saved(lm: "LanguageModel", out: Path, *, overwrite: bool) -> Path:
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
