"""`seriatim context` and `seriatim robustness`: what a model makes of the past, and of damage."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions, PairFiles, ReadingOptions, one_part
from seriatim.cli.numbers import WholeNumbers
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.analysis.context.series import SeriesContext
    from seriatim.core.records import Json
    from seriatim.tasks.base import AnyTask
    from seriatim.tasks.options import DataFiles


def context(
    model: Path,
    data: Path,
    /,
    *,
    contexts: Annotated[WholeNumbers, Parameter(show_default=False)] = (),
    categories: Flag = False,
    shuffled: Flag = False,
    replaced: Flag = False,
    gradients: Flag = False,
    limit: int | None = None,
    seed: int = 0,
    reading: ReadingOptions | None = None,
    files: FileOptions | None = None,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """How far back a model looks on a text or on series.

    Prints bits per symbol against the number of symbols that the model may see, and the effective
    context: the smallest number with which the bits are within 1 % of those with the whole past.
    For a forecaster: bits per value, and within 0.01 of those with the longest past.

    Args:
        model: the folder of a language model or a forecaster.
        data: a file or a folder, read as the training data was.
        contexts: the numbers of symbols, or moments, of context to show, in rising order.
            [default: 1 to 512; 0 to 336 moments]
        categories: show the bits by category too: letters, digits, punctuation, spaces; for words,
            by frequency.
        shuffled: show the bits with everything further back shuffled too.
        replaced: show the bits with everything further back replaced by other text too.
        gradients: show the influence of each past position and the gradient through time too.
        limit: the number of symbols that are read, from the beginning, or of moments that are
            predicted. [default: 100,000 symbols; 1,000 moments]
        seed: the seed of the positions that are sampled.
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    from seriatim.analysis.context.text import summary, tables
    from seriatim.analysis.settings import CONTEXT_LIMIT, CONTEXTS
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as
    from seriatim.tasks.storage import read_header

    use_threads(threads)
    _check_limit(limit)
    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    if read_header(model).task == "forecasting":
        curves = {"categories": categories, "shuffled": shuffled, "replaced": replaced}
        for name, is_asked in {**curves, "gradients": gradients}.items():
            if is_asked:
                raise ConfigError(f"--{name} is for texts, not for a forecaster: leave it out")
        part = one_part("context MODEL", data, files, reading, None)
        found = _context_of_series(model, part, contexts, limit, seed, reporter)
        print_json(found.to_json()) if json else print("\n".join(found.lines()))
        return
    lm = load_as(LanguageModel, model, "context")
    source = (reading or ReadingOptions()).opened(data, sequences=lm.sequences, files=files)
    print_notes(source)
    reporter.doing("measuring")
    result = lm.effective_context(
        source,
        contexts=contexts or CONTEXTS,
        categories=categories,
        shuffled=shuffled,
        replaced=replaced,
        gradients=gradients,
        limit=limit or CONTEXT_LIMIT,
        seed=seed,
        progress=lambda fraction: reporter.counted(f"measuring: {fraction:.0%}"),
    )
    reporter.done()
    if json:
        print_json(result.to_json())
    else:
        print(f"{tables(result)}\n\n{summary(result)}")


def _context_of_series(
    model: Path,
    part: "DataFiles",
    contexts: tuple[int, ...],
    limit: int | None,
    seed: int,
    reporter: Reporter,
) -> "SeriesContext":
    from seriatim.tasks.forecasting.forecaster import Forecaster

    forecaster = Forecaster.load(model)
    given = forecaster.open_files(part)
    print_notes(given)
    reporter.doing("measuring")
    found = forecaster.effective_context(
        given,
        contexts=contexts,
        limit=limit,
        seed=seed,
        progress=lambda fraction: reporter.counted(f"measuring: {fraction:.0%}"),
    )
    reporter.done()
    return found


def robustness(
    model: Path,
    data: Path | None = None,
    /,
    *,
    metric: Literal["chrf", "bleu", "exact-match", "character-errors"] | None = None,
    limit: int | None = None,
    seeds: int | None = None,
    seed: int = 0,
    pairs: PairFiles | None = None,
    reading: ReadingOptions | None = None,
    files: FileOptions | None = None,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """How much worse a model predicts when symbols are trimmed, missing or permuted.

    For a language model: bits per symbol of the undamaged part. For a translator: a metric of its
    output when the sources are damaged.

    Args:
        model: the folder of a language model or a translator.
        data: a file or a folder, read as the training text was; for a translator, a file of
            pairs.
        metric: for a translator, the metric of its output. [default: chrf]
        limit: about how many symbols, or how many pairs, are measured. [default: 20,000
            symbols; 200 pairs]
        seeds: how many times each sequence is damaged at random. [default: 3 for a text; 1 for
            pairs]
        seed: the first seed.
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    from seriatim.analysis.robustness.text import summary, table
    from seriatim.tasks.registry import load

    use_threads(threads)
    _check_limit(limit)
    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    task: AnyTask = load(model)
    options = {"metric": metric, "limit": limit, "seeds": seeds}
    chosen: Json = {name: value for name, value in options.items() if value is not None}
    opened = task.open_files(one_part("robustness MODEL", data, files, reading, pairs))
    print_notes(opened)
    reporter.doing("measuring")
    result = task.robustness(
        opened,
        seed=seed,
        progress=lambda fraction: reporter.counted(f"measuring: {fraction:.0%}"),
        **chosen,
    )
    reporter.done()
    if json:
        print_json(result.to_json())
    else:
        print(f"{table(result)}\n\n{summary(result)}")


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give 1 or more")
