"""`seriatim compare`: which model does this data need, and is the difference real?"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from seriatim.cli.fit_request import READING, FileOptions, ReadingOptions
from seriatim.cli.options import shell_families, with_training_options
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.core.validation import did_you_mean
from seriatim.errors import ConfigError
from seriatim.models.options.registry import configure, unknown_model
from seriatim.train.options import TrainingOptions

if TYPE_CHECKING:
    from seriatim.comparison.entrants import Entrant
    from seriatim.comparison.result import ModelComparison
    from seriatim.data.sources import Source
    from seriatim.train.callbacks.history import Progress

_BUDGET = Group("Budget", sort_key=1)
_LONG_RUNS = Group("Long runs", sort_key=3)
_BUDGETS = ("minutes", "steps", "epochs")  # that are training options too
_SYNTAX = "write FAMILY:OPTION=VALUE,OPTION=VALUE,FAMILY, such as lstm,markov:order=5"


@with_training_options
def compare(
    data: Path,
    /,
    *,
    models: Annotated[str | None, Parameter(alias="-m")] = None,
    seeds: int = 1,
    out: Annotated[Path | None, Parameter(alias="-o", group=_LONG_RUNS)] = None,
    tokens: Annotated[float | None, Parameter(group=_BUDGET)] = None,
    operations: Annotated[float | None, Parameter(group=_BUDGET)] = None,
    parameters: Annotated[int | None, Parameter(group=_BUDGET)] = None,
    valid: Annotated[Path | None, Parameter(group=READING)] = None,
    test: Annotated[Path | None, Parameter(group=READING)] = None,
    split: Annotated[
        tuple[float, float, float] | None, Parameter(group=READING, negative_iterable=())
    ] = None,
    symbols: Annotated[str, Parameter(alias="-s", group=READING)] = "auto",
    min_count: Annotated[int, Parameter(group=READING)] = 1,
    max_symbols: Annotated[int | None, Parameter(group=READING)] = None,
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=READING)
    ] = None,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    resume: Annotated[Flag, Parameter(group=_LONG_RUNS)] = False,
    overwrite: Annotated[Flag, Parameter(group=_LONG_RUNS)] = False,
    checkpoint_minutes: Annotated[float, Parameter(group=_LONG_RUNS)] = 1.0,
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
    **options: Any,
) -> None:
    """Train models under one budget and say which is better, and how sure that is.

    The budget is one of --minutes, --tokens, --operations, --steps and --epochs, for each model
    and each seed; without any, 2 minutes. --parameters sets the size of the models, alone or with
    one of these.

    Args:
        data: a file (.txt, .jsonl, .csv, .tsv, .fasta, also .gz; .parquet) or a folder.
        models: families, each with options of its model or its training, such as
            lstm,gru:hidden_size=512,symbols=bpe:500,transformer:num_layers=2,learning_rate=0.001
            [default: all families]
        seeds: the number of seeds of each model. With 3 or more, families are compared under this
            budget; with fewer, only models on text like this.
        out: the folder to save models, figures and report.html in. [default: nothing is saved]
        tokens: the number of symbols that each model is trained on; models of other symbols are
            trained on as much text.
        operations: the number of floating-point operations of training; counted models need next
            to none.
        parameters: the number of parameters of each model, met within 2 % by choosing its width;
            without effect on counted models.
        valid: the validation text. [default: a part of the data]
        test: the test text. [default: a part of the data]
        split: the fractions of the data for training, validation and test. [default: 0.8 0.1 0.1,
            with at most 100 kB for each of the last two]
        symbols: byte, char, word or bpe:N, for all models without symbols of their own in --models;
            auto: what seriatim look advises.
        min_count: the least count of a character or word; rarer ones become <unk>.
        max_symbols: the greatest number of characters or words to keep. [default: all]
        sequences: what one sequence is: a line, a document, or all of the data as one stream.
        resume: resume the comparison in --out: what is finished is not trained again, and models
            and seeds may be added.
        overwrite: replace a comparison in --out.
        checkpoint_minutes: the time between two checkpoints of the model in training, in minutes.
        threads: the number of processor threads. [default: what suits the model]
        quiet: show no progress.
        json: print everything as JSON.
    """
    use_threads(threads)
    training = {name: value for name, value in options.items() if value is not None}
    budget = {name: training.pop(name, None) for name in _BUDGETS}
    seed = training.pop("seed", 0)
    if out is None and (resume or overwrite):
        raise ConfigError("--resume and --overwrite need --out FOLDER: where the comparison is")
    entrants = None if models is None else parse_models(models)
    from seriatim.comparison import runner

    _check_is_text(data, files or FileOptions(), reading or ReadingOptions())

    def source(path: Path) -> "Source":
        return (reading or ReadingOptions()).opened(path, sequences=sequences, files=files)

    train = source(data)
    print_notes(train)
    reporter = ComparisonReporter(is_quiet=quiet or json)
    try:
        comparison = runner.compare(
            train,
            entrants,
            **budget,
            tokens=tokens,
            operations=operations,
            parameters=parameters,
            seeds=seeds,
            seed=seed,
            symbols=symbols,
            min_count=min_count,
            max_symbols=max_symbols,
            valid=None if valid is None else source(valid),
            test=None if test is None else source(test),
            split=split,
            options=training,
            out=out,
            resume=resume,
            overwrite=overwrite,
            checkpoint_minutes=checkpoint_minutes,
            callbacks=runner.ComparisonCallbacks(
                reporter.progress, reporter.say, counted=reporter.counted
            ),
        )
    except KeyboardInterrupt:
        reporter.interrupted(out)
        raise
    reporter.done()
    if json:
        print_json(comparison.to_json())
    else:
        _print_result(comparison, out)


def _check_is_text(data: Path, files: FileOptions, reading: ReadingOptions) -> None:
    """
    Raises:
        ConfigError: if the data is pairs, labelled texts or series, and no column was chosen.
    """
    from seriatim.data.series.opening import format_by_name
    from seriatim.data_profile.recognize import looks_like_series, recognize_task

    if any((reading.column, reading.field, reading.sequence_column)):
        return
    found = recognize_task(data, format=files.format, encoding=files.encoding)
    is_table = found is None and format_by_name(data) in ("csv", "tsv")
    if (found is not None and found.task == "forecast") or (
        is_table and looks_like_series(data, format=files.format, encoding=files.encoding)
    ):
        raise ConfigError(
            f"{data} holds series of numbers, and compare trains language models: compare models "
            f"of series with seriatim backtest {data} --horizon H"
        )
    if found is not None and found.columns and "text" not in found.columns:
        raise ConfigError(
            f"{data} holds {found.description}, and compare trains language models: name the "
            f"column of their text with --column ({', '.join(found.columns)}), or fit with --task "
            f"{found.task}"
        )


def _print_result(comparison: "ModelComparison", out: Path | None) -> None:
    from seriatim.comparison.text import summary

    print(summary(comparison.record))
    if out is None:
        return
    if (out / "report.html").is_file():
        print(f"report: {out / 'report.html'}")
    saved = {model.name: model.folder for model in comparison.record.ranked}
    recommended = saved.get(comparison.record.recommendation.model or "")
    hint = "" if recommended is None else f"; try: seriatim generate {recommended}"
    print(f"saved in {out}{hint}")


class ComparisonReporter:
    """Progress of many models on stderr, each under its name."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._reporter = Reporter(is_quiet=is_quiet)
        self._name = ""

    def progress(self, name: str, p: "Progress") -> None:
        """Where the training of a model stands."""
        if name != self._name:
            self._reporter.done()
            self._reporter, self._name = Reporter(is_quiet=self._is_quiet, prefix=f"{name}: "), name
        self._reporter.progress(p)

    def say(self, sentence: str) -> None:
        """What is being done now."""
        self._reporter.done()
        self._reporter, self._name = Reporter(is_quiet=self._is_quiet), ""
        self._reporter.say(sentence)

    def counted(self, sentence: str) -> None:
        """How far it is, where the numbers of a sentence rise."""
        self._reporter.counted(sentence)

    def interrupted(self, out: Path | None) -> None:
        """What is left of a comparison that was interrupted."""
        self.done()
        if out is None:
            sentence = "interrupted, and nothing is saved: give --out to be able to resume"
        else:
            sentence = (
                f"interrupted; what is finished is saved in {out}: continue with the same command "
                "and --resume"
            )
        Reporter().note(sentence)

    def done(self) -> None:
        """Clear the live line."""
        self._reporter.done()


# ---- models -------------------------------------------------------------------------------------


@dataclass
class _ModelSpec:
    """A model as it was written: its family, its options, and the whole text."""

    family: str
    options: dict[str, str]
    text: str

    def add(self, piece: str) -> None:
        """Read one more NAME=VALUE."""
        name, equals, value = piece.partition("=")
        if not equals or not value:
            raise ConfigError(f"{piece!r} is not an option: {_SYNTAX}")
        self.text += (":" if not self.options else ",") + piece
        self.options[name.strip().replace("-", "_")] = value.strip()


def parse_models(text: str) -> "dict[str, Entrant]":
    """`lstm,gru:hidden_size=512,symbols=bpe:500` as models by name; see `parse_specs`."""
    specs = parse_specs(text, "symbols")
    return {name: _entrant(family, options) for name, family, options in specs}


def parse_specs(
    text: str, element: Literal["symbols", "numbers"]
) -> list[tuple[str, str, dict[str, str]]]:
    """`lstm,gru:hidden_size=512,dropout=0.1` as the name, the family and the options of each model.

    A piece with no colon before its first `=` is an option of the model before it. A family that
    occurs once is called by its name alone; one that occurs again, by its options too.

    Args:
        text: what was written.
        element: what the models are of.

    Raises:
        ConfigError: if there is no such model, or one occurs twice.
    """
    specs: list[_ModelSpec] = []
    known = shell_families(element)
    for piece in text.split(","):
        head, _, rest = piece.strip().partition(":")
        if "=" in head:
            if not specs:
                raise ConfigError(f"{piece!r} is an option without a model before it: {_SYNTAX}")
            specs[-1].add(piece.strip())
            continue
        if head not in known:
            if any(word in known for word in head.split()):
                raise ConfigError(f"{head!r} is not a family: {_SYNTAX}")
            raise ConfigError(unknown_model(head, element))
        specs.append(_ModelSpec(head, {}, head))
        if rest:
            specs[-1].add(rest)
    families = [spec.family for spec in specs]
    named: dict[str, tuple[str, str, dict[str, str]]] = {}
    for spec in specs:
        name = spec.family if families.count(spec.family) == 1 else spec.text
        if name in named:
            raise ConfigError(f"{spec.text} occurs twice: leave one out, or change its options")
        named[name] = name, spec.family, spec.options
    return list(named.values())


def _entrant(family: str, options: Mapping[str, str]) -> "Entrant":
    from seriatim.comparison.entrants import Entrant
    from seriatim.tasks.budget_policy import leaves_size_open

    own = dict(options)
    preset, symbols = own.pop("preset", None), own.pop("symbols", None)
    trainable = {f.name for f in fields(TrainingOptions)} - {*_BUDGETS, "seed"}
    of_model = {f.name for f in fields(shell_families()[family])}  # type: ignore[arg-type]
    for name in own:
        suggestion = did_you_mean(name, {*of_model, *trainable})
        if name not in {*of_model, *trainable} and suggestion:
            raise ConfigError(f"unknown option {name}{suggestion}")
    training = {n: v for n, v in own.items() if n in trainable and n not in of_model}
    of_config = {n: v for n, v in own.items() if n not in training}
    config = configure(family, of_config, preset=preset)
    return Entrant(
        config=config,
        symbols=symbols,
        training=training,
        preset=preset,
        may_resize=preset is None and leaves_size_open(config, of_config),
    )
