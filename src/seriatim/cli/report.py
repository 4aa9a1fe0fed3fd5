"""`seriatim report`: the page of a comparison, with how far back its models look."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions, ReadingOptions
from seriatim.cli.output import Flag, Reporter, use_threads
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.comparison.record import ComparisonRecord
    from seriatim.data.sources import Source
    from seriatim.tasks.language_model import LanguageModel

_LIMIT = 20_000


def report(
    folder: Path,
    text: Path | None = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    models: str | None = None,
    limit: int | None = None,
    reading: ReadingOptions | None = None,
    files: FileOptions | None = None,
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
) -> None:
    """Write the page of a comparison again, with how far back its models look on a text.

    With a text, the effective context (by category of symbols, with shuffled and replaced pasts,
    gradients through time) and the robustness of every saved model are measured on it and saved
    beside the models. A report without a text shows those that were measured before.

    Args:
        folder: the folder that seriatim compare --out has written.
        text: a file or a folder with text that no model was trained on.
        out: the page to write. [default: FOLDER/report.html]
        models: the models to measure on the text, such as lstm,markov. [default: all]
        limit: about how many symbols of the text are read. [default: 20,000]
        threads: the number of processor threads. [default: what suits the model]
        quiet: show no progress.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give 1 or more")
    if text is None and (models is not None or limit is not None):
        raise ConfigError("--models and --limit need a text: seriatim report FOLDER TEXT")
    use_threads(threads)
    from seriatim.analysis.context.result import ContextRecord
    from seriatim.analysis.robustness.result import Robustness
    from seriatim.comparison.page import compare_report
    from seriatim.comparison.result import ModelComparison
    from seriatim.comparison.store import CONTEXT, ROBUSTNESS, load_analyses

    comparison = ModelComparison.load(folder)
    if text is not None:
        reading, reporter = reading or ReadingOptions(), Reporter(is_quiet=quiet)
        for name in _chosen(comparison.record, models):
            lm = comparison.model(name)
            source = reading.opened(text, sequences=lm.sequences, files=files)
            _measure(folder, name, lm, source, limit or _LIMIT, reporter)
    names = comparison.record.names
    page = compare_report(
        comparison.record,
        contexts=load_analyses(ContextRecord, folder / CONTEXT, names),
        robustness=load_analyses(Robustness, folder / ROBUSTNESS, names),
    )
    print(page.write(out or folder / "report.html"))


def _chosen(comparison: "ComparisonRecord", models: str | None) -> list[str]:
    """The names of the models to measure: all that were saved, or those given."""
    saved = [model.name for model in comparison.ranked if model.folder is not None]
    names = saved if models is None else [name.strip() for name in models.split(",")]
    for name in names:
        if name not in saved:
            raise ConfigError(
                f"--models: there is no model {name} here; choose from {', '.join(saved)}"
            )
    return names


def _measure(
    folder: Path, name: str, lm: "LanguageModel", source: "Source", limit: int, reporter: Reporter
) -> None:
    from seriatim.comparison.store import CONTEXT, ROBUSTNESS, save_analysis

    def progress(what: str) -> Callable[[float], None]:
        reporter.say(f"{name}: measuring {what}")
        return lambda fraction: reporter.counted(f"{name}: measuring {what}: {fraction:.0%}")

    context = lm.effective_context(
        source,
        categories=True,
        shuffled=True,
        replaced=True,
        gradients=True,
        limit=limit,
        progress=progress("the effective context"),
    )
    save_analysis(folder / CONTEXT, name, context.to_json())
    robustness = lm.robustness(source, limit=limit, progress=progress("robustness"))
    save_analysis(folder / ROBUSTNESS, name, robustness.to_json())
    reporter.done()
