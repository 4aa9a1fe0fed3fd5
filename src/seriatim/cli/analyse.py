"""`seriatim context` and `seriatim robustness`: what a model makes of the past, and of damage."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from seriatim.cli.fit_request import ReadingOptions
from seriatim.cli.output import Flag, Reporter, print_json, use_threads
from seriatim.errors import ConfigError
from seriatim.report.terminal import text_table

if TYPE_CHECKING:
    from seriatim.analysis.context.curve import ContextCurve
    from seriatim.analysis.context.measure import EffectiveContext
    from seriatim.analysis.robustness.measure import Robustness
    from seriatim.core.records import Json
    from seriatim.tasks.base import AnyTask


def context(
    model: Path,
    data: Path,
    /,
    *,
    contexts: Annotated[
        tuple[int, ...], Parameter(consume_multiple=True, negative_iterable=(), show_default=False)
    ] = (),
    categories: Flag = False,
    shuffled: Flag = False,
    replaced: Flag = False,
    gradients: Flag = False,
    limit: int = 100_000,
    seed: int = 0,
    reading: ReadingOptions | None = None,
    format: str | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """How far back a model looks on a text.

    Bits per symbol against the number of elements that the model may see, and the effective
    context: the smallest number with which the bits are within 1 % of what they are with
    everything.

    Args:
        model: a model folder.
        data: a file or a folder, read as the training text was.
        contexts: numbers of elements to show, rising. [1 to 512]
        categories: also by category of symbol: letters, digits, punctuation, spaces; of words,
            by frequency.
        shuffled: with everything further back shuffled, too.
        replaced: with everything further back replaced by another place of the text, too.
        gradients: the influence of each past position, and gradients through time, too.
        limit: only the first so many symbols are looked at.
        seed: of the places that are looked at.
        format: of the files, instead of what their endings say.
        encoding: of the files.
        threads: of the processor; all cores if not given.
        json: print JSON.
    """
    from seriatim.analysis.context.measure import CONTEXTS, sentence
    from seriatim.tasks.language_model import LanguageModel

    use_threads(threads)
    _check_limit(limit)
    reading = reading or ReadingOptions()
    lm = LanguageModel.load(model)
    source = reading.opened(data, sequences=lm.sequences, format=format, encoding=encoding)
    reporter = Reporter(is_quiet=json)
    found = lm.effective_context(
        source,
        contexts=contexts or CONTEXTS,
        categories=categories,
        shuffled=shuffled,
        replaced=replaced,
        gradients=gradients,
        limit=limit,
        seed=seed,
        progress=_told(reporter, "looking back"),
    )
    reporter.done()
    if json:
        print_json(found.to_json())
    else:
        print(_context_lines(found) + "\n" + sentence(found))


def robustness(
    model: Path,
    data: Path,
    /,
    *,
    target: Path | None = None,
    figure: Literal["chrf", "bleu", "exact-match", "character-errors"] | None = None,
    limit: int | None = None,
    seeds: int | None = None,
    seed: int = 0,
    source_column: str | None = None,
    target_column: str | None = None,
    reading: ReadingOptions | None = None,
    format: str | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """What trimmed, missing and permuted elements do to a model's predictions.

    Of a model of texts: bits per symbol of what was not touched itself. Of a translator: the
    figure of its output, when the sources are damaged.

    Args:
        model: a model folder.
        data: a file or a folder, read as the training text was; of a translator, a file of
            pairs, or of sources.
        target: of a translator: a file of targets, line by line with the sources.
        figure: of a translator: what its outputs are measured by. [chrf]
        limit: about so many symbols, or so many pairs, are looked at. [20,000; 200]
        seeds: how many times chance damages each sequence. [3; 1]
        seed: of the first of them.
        source_column: of a translator: the column or field of the sources.
        target_column: likewise, of the targets.
        format: of the files, instead of what their endings say.
        encoding: of the files.
        threads: of the processor; all cores if not given.
        json: print JSON.
    """
    from seriatim.tasks.options import DataFiles
    from seriatim.tasks.registry import load

    use_threads(threads)
    _check_limit(limit)
    task: AnyTask = load(model)
    files = DataFiles(
        data=data,
        target=target,
        source_column=source_column,
        target_column=target_column,
        format=format,
        encoding=encoding,
        **asdict(reading or ReadingOptions()),
    )
    reporter = Reporter(is_quiet=json)
    options = {"figure": figure, "limit": limit, "seeds": seeds}
    given: Json = {name: value for name, value in options.items() if value is not None}
    found = task.robustness(
        task.open_files(files), seed=seed, progress=_told(reporter, "damaging"), **given
    )
    reporter.done()
    if json:
        print_json(found.to_json())
    else:
        print(_robustness_lines(found))


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} leaves nothing to look at: give 1 or more")


def _told(reporter: Reporter, doing: str) -> Callable[[float], None]:
    return lambda share: reporter.counted(f"{doing}: {share:.0%}")


# ---- tables -------------------------------------------------------------------------------------


def _context_lines(found: "EffectiveContext") -> str:
    curve, categories = found.curve, found.categories
    head = ["elements seen", "bits per symbol", "95 %", "more than full"]
    rows = [head, _row("none", curve, 0)]
    rows += [_row(str(k), curve, k) for k in found.contexts]
    low, high = curve.full_interval
    rows.append(["everything", f"{curve.full:.4f}", f"{low:.4f} to {high:.4f}", ""])
    parts = [text_table(rows)]
    if categories:
        head = ["kind", "symbols", "bits", "looks back"]
        lines = [[n, f"{c.targets:,}", f"{c.full:.4f}", _back(c)] for n, c in categories.items()]
        parts.append(text_table([head, *lines]))
    disturbed = {"shuffled": found.shuffled, "replaced": found.replaced}
    if found.disturbed_at:
        given: Json = {name: c for name, c in disturbed.items() if c is not None}
        head = ["true elements", *(f"rest {name}" for name in given), "rest not seen"]
        lines = [
            [str(k), *(f"{c.bits[k]:.4f}" for c in given.values()), f"{curve.bits[k]:.4f}"]
            for k in found.disturbed_at
        ]
        parts.append(text_table([head, *lines]))
    if found.influence is not None or found.decay is not None:
        parts.append(_gradient_lines(found))
    return "\n\n".join(parts) + "\n"


def _row(name: str, curve: "ContextCurve", k: int) -> list[str]:
    low, high = curve.intervals[k]
    bits = curve.bits[k]
    more = f"{bits / curve.full - 1:.1%}" if curve.full > 0 else ""
    return [name, f"{bits:.4f}", f"{low:.4f} to {high:.4f}", "0.0%" if more == "-0.0%" else more]


def _back(curve: "ContextCurve") -> str:
    most = len(curve.bits) - 1
    low, high = (f"over {most}" if k is None else str(k) for k in curve.effective_interval)
    k = f"over {most}" if curve.effective is None else str(curve.effective)
    return f"{k} ({low} to {high})"


def _gradient_lines(found: "EffectiveContext") -> str:
    shown = [d for d in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if d <= found.contexts[-1]]
    columns: list[tuple[str, list[float], str]] = []
    if found.influence is not None:
        how = f"influence by {found.influence.how}"
        columns.append((how, (100 * found.influence.share).tolist(), "{:.2f} %"))
    if found.decay is not None:
        for layer, norms in found.decay.layers.items():
            columns.append((f"gradient, layer {layer}", norms.tolist(), "{:.3g}"))
    rows = [["distance", *(name for name, _, _ in columns)]]
    for d in shown:
        cells = [
            form.format(values[d - 1]) if d <= len(values) else "" for _, values, form in columns
        ]
        rows.append([str(d), *cells])
    return text_table(rows)


def _robustness_lines(found: "Robustness") -> str:
    from seriatim.analysis.robustness.measure import sentence

    head = ["perturbation", "strength", found.metric, "95 %", "intact", "by chance", ""]
    rows = [head]
    for t in found.perturbations:
        better = (t.bits < t.intact) == found.is_loss
        rows.append(
            [
                t.kind,
                f"{t.strength:g}",
                f"{t.bits:.4f}",
                f"{t.interval[0]:.4f} to {t.interval[1]:.4f}",
                f"{t.intact:.4f}",
                f"{t.chance[0]:.4f} to {t.chance[1]:.4f}",
                "" if not t.is_seen else "better" if better else "worse",
            ]
        )
    return text_table(rows) + "\n\n" + sentence(found)
