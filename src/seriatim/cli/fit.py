"""`seriatim fit`: from text to a model folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from seriatim.cli.fit_request import READING, FitRequest, ReadingOptions
from seriatim.cli.fit_run import fit_and_tell
from seriatim.cli.label import fit_labeller
from seriatim.cli.launch import check_processes
from seriatim.cli.options import shell_families, split_options, with_options
from seriatim.cli.output import Flag, print_json, score_lines, use_threads
from seriatim.cli.pairs import PairOptions, fit_translator
from seriatim.cli.run_folder import KeepOptions, RunFolder
from seriatim.errors import ConfigError
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import configure
from seriatim.report.terminal import format_duration

if TYPE_CHECKING:
    from seriatim.data.sources import Source
    from seriatim.tasks.language_model import LanguageModel


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
    split: Annotated[tuple[float, float, float], Parameter(group=READING, negative_iterable=())] = (
        0.8,
        0.1,
        0.1,
    ),
    symbols: Annotated[str | None, Parameter(alias="-s", group=READING)] = None,
    min_count: Annotated[int | None, Parameter(group=READING)] = None,
    max_symbols: Annotated[int | None, Parameter(group=READING)] = None,
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=READING)
    ] = None,
    format: Annotated[str | None, Parameter(group=READING)] = None,
    encoding: Annotated[str, Parameter(group=READING)] = "utf-8",
    reading: ReadingOptions | None = None,
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
        symbols: byte, char, word or bpe:N; nfd (see --source-symbols) with --task label. [char]
        min_count: characters or words seen fewer times become <unk>. [1]
        max_symbols: keep at most this many characters or words.
        sequences: what one sequence is: a line, a document, or all of it as one stream.
        format: of the files, instead of what their endings say.
        encoding: of the files.
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
    place = RunFolder(out, keep, overwrite=overwrite, threads=threads)
    if place.is_finished:
        place.say_finished(json=json)
        return
    model_options, training_options = split_options(options)
    if from_arpa is not None:
        given = [data, model, preset, init, valid, test, symbols, pairs, *model_options.values()]
        _fit_from_arpa(from_arpa, out, given, overwrite=overwrite, json=json)
        return
    asked = FitRequest(
        data=data,
        place=place,
        model=model,
        preset=preset,
        init=init,
        parts=(valid, test),
        split=split,
        symbols=symbols,
        cut=(min_count, max_symbols),
        sequences=sequences,
        reading=reading or ReadingOptions(),
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


def _fit_language_model(asked: FitRequest) -> None:
    if asked.data is None:
        raise ConfigError("there is nothing to fit to: give a file or a folder (or --from-arpa)")
    lm = _language_model(asked)
    training = lm.training_options(asked.training_options, preset=asked.preset)

    def source(path: Path) -> "Source":
        return asked.reading.opened(
            path, sequences=lm.sequences, format=asked.format, encoding=asked.encoding
        )

    check_processes(asked.processes)
    valid, test = (None if path is None else source(path) for path in asked.parts)
    fit_and_tell(lm, asked, (source(asked.data), valid, test), training, _summary)


def _language_model(asked: FitRequest) -> "LanguageModel":
    from seriatim.tasks.language_model import LanguageModel

    min_count, max_symbols = asked.cut
    if asked.init is not None:
        given = [asked.model, asked.preset, asked.symbols, *asked.cut, asked.sequences]
        _refuse_with_init(*given, asked.model_options)
        return LanguageModel.load(asked.init)
    return LanguageModel(
        _configured(asked.model or "lstm", asked.model_options, asked.preset),
        symbols=asked.symbols or "char",
        sequences=asked.sequences,
        min_count=1 if min_count is None else min_count,
        max_size=max_symbols,
    )


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


def _refuse_with_init(*given: Any) -> None:
    if any(value for value in given):
        raise ConfigError(
            "--init goes on from a model, which has its family, sizes and symbols already: leave "
            "out --model, --preset, --symbols, --min-count, --max-symbols, --sequences and the "
            "options of models"
        )


def _summary(info: dict[str, Any], out: Path) -> str:
    from seriatim.metrics.score import Score

    training, lines = info["training"], []
    lines.append(
        f"{info['model']['family']}: {info['parameters']:,} parameters, "
        f"{info['symbols']['number']:,} {info['symbols']['kind']} symbols, "
        f"fitted in {format_duration(training['seconds'])}"
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
