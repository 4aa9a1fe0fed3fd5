"""Commands that use a fitted model: score, next, info, check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions, PairFiles, ReadingOptions, one_part
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.prompts import given_prompt
from seriatim.cli.rounding import Precision, note_rounding
from seriatim.cli.rows import RowPrinter, check_form
from seriatim.cli.stdin_file import given_part
from seriatim.errors import ConfigError, ContractError
from seriatim.report.terminal import text_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seriatim.tasks.base import AnyTask
    from seriatim.tasks.protocols import EachScore


def score(
    model: Path,
    data: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    pairs: PairFiles | None = None,
    each: Flag = False,
    restart_every: int | None = None,
    exact: Flag = False,
    limit: int | None = None,
    allow_unknown: Flag = False,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    precision: Precision = "float32",
    threads: int | None = None,
    csv: Flag = False,
    json: Flag = False,
) -> None:
    """How well a model predicts data: a text in bits, labels by accuracy.

    Args:
        model: a model folder.
        data: the data to score: a file or a folder, read as the training data was; for a
            translator, a file of pairs; for a labeller, labelled text; - reads stdin.
        each: for a translator: ln p of every target given its source, one a line; for a language
            model of lines or documents: the surprisal of each, in bits, where it is highest, and
            the verdict by the threshold of the model, if it has one.
        restart_every: for a language model of a stream: reset the state every so many symbols.
        exact: read every sequence through one state, from its beginning to its end; otherwise a
            model of unbounded reach reads one of more than 16,384 symbols in pieces side by side,
            each after a warm-up of 256 symbols that are not counted.
        limit: the most symbols to score, about, from all over the data. [default: all]
        allow_unknown: score data even if more than half of its symbols are unknown.
        precision: the precision of the weights: float32 as they were fitted, or rounded to int8 or
            fp16 for speed; what that costs is shown too.
        threads: the number of processor threads. [default: what suits the model]
        csv: print the rows of --each as CSV with a header.
        json: print JSON.
    """
    from seriatim.tasks.precision import at_precision
    from seriatim.tasks.registry import load

    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give 1 or more")
    use_threads(threads)
    check_form(csv=csv, json=json)
    reporter = Reporter(is_quiet=json or csv)
    reporter.doing("reading")
    part = one_part("score MODEL", data, files, reading, pairs)
    fitted: AnyTask = load(model)
    task = at_precision(fitted, precision)
    if csv and not (each and task.each_columns):
        raise ConfigError("--csv prints the rows of --each for a language model: leave it out")
    if each and restart_every is not None:
        raise ConfigError("--restart-every is for streams, which have no sequences for --each")
    with given_part(part, part.format or task.table_format) as given:
        opened = task.open_files(given)
        print_notes(opened)
        if each:
            scores = task.score_each(opened, allow_unknown=allow_unknown, progress=reporter.scored)
            _print_each(scores, task, reporter, is_csv=csv, is_json=json)
            return
        result = task.score(
            opened,
            restart_every=restart_every,
            exact=exact,
            limit=limit,
            allow_unknown=allow_unknown,
            progress=reporter.scored,
        )
        reporter.done()
        if precision != "float32":
            note_rounding(fitted, task, precision, opened, "this data", limit)
    if json:
        print_json(result.to_json())
    else:
        print("\n".join(task.describe_score(result)))


def _print_each(
    scores: "Iterator[EachScore]",
    task: "AnyTask",
    reporter: Reporter,
    *,
    is_csv: bool,
    is_json: bool,
) -> None:
    """A line for each sequence or pair."""
    printer = RowPrinter(task.each_columns, is_csv=is_csv)
    for number, score in enumerate(scores):
        if number == 0:
            reporter.done()
            printer.head(is_shown=bool(task.each_columns) and not is_json)
        if is_json:
            print_json(score.to_json())
        elif is_csv:
            record = score.to_json()
            printer.row([record[name] for name in task.each_columns])
        else:
            print(score.text())


def next_symbols(
    model: Path,
    prompt: str | None = None,
    /,
    *,
    file: Path | None = None,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    top: Annotated[int, Parameter(alias="-k")] = 10,
    json: Flag = False,
) -> None:
    """The most probable next symbols after a prompt.

    Args:
        model: a model folder.
        prompt: the text before the next symbol; for a model of events one event, or a JSON list
            of events.
        file: a file that holds the prompt, or with --column its events.
        top: the number of symbols to show.
        json: print JSON.
    """
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as

    if top < 1:
        raise ConfigError(f"--top {top}: give 1 or more")
    lm = load_as(LanguageModel, model, "next")
    predictions = lm.next(given_prompt(lm, prompt, file, files, reading), top)
    if json:
        print_json([{"symbol": p.symbol, "probability": p.probability} for p in predictions])
    else:
        print(
            text_table(
                [
                    ["symbol", "probability"],
                    *([p.symbol, f"{p.probability:.4f}"] for p in predictions),
                ]
            )
        )


def info(model: Path, /, *, verify: Flag = False, json: Flag = False) -> None:
    """What a model folder holds, and how the model came about.

    Args:
        model: a model folder.
        verify: read all of it and compare the checksums.
        json: print JSON.
    """
    from seriatim.tasks import storage
    from seriatim.tasks.registry import load

    if verify:
        storage.verify(model)
    task: AnyTask = load(model)
    if json:
        print_json({**task.info(), "verified": verify})
        return
    rows = [*task.describe(), *([("checksums", "all files are as written")] if verify else [])]
    print(text_table(rows, left=(0, 1)))


def check(model: Path, /, *, seconds: float = 60.0, json: Flag = False) -> None:
    """Check a model against the laws of the contract, in float64.

    Args:
        model: a model folder.
        seconds: the time that enumeration may take, about, in seconds.
        json: print JSON.
    """
    from seriatim.tasks.registry import load

    if seconds < 0:
        raise ConfigError(f"--seconds {seconds:g}: give 0 or more")
    report = load(model).check(seconds=seconds)
    if json:
        laws = [
            {"law": r.number, "claim": r.claim, "holds": r.holds, "note": r.note}
            for r in report.results
        ]
        print_json({"ok": report.ok, "seconds": report.seconds, "laws": laws})
    else:
        print(report)
    if not report.ok:
        broken = ", ".join(map(str, report.broken))
        raise ContractError(f"the model breaks law {broken}: see above")
