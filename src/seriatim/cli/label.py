"""Commands for labels: what fit does with labelled sequences, and `seriatim label`."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.fit_request import FitRequest
from seriatim.cli.fit_run import fit_and_tell
from seriatim.cli.output import Flag, Reporter, print_json, use_threads
from seriatim.cli.pairs import PairFile, PairOptions, refuse
from seriatim.cli.translate import line_groups
from seriatim.errors import ConfigError
from seriatim.models.options.registry import configure_encoder
from seriatim.report.terminal import format_duration, text_table

if TYPE_CHECKING:
    from seriatim.data.pairs import Pairs
    from seriatim.tasks.labeller import Labelled


def fit_labeller(asked: FitRequest, options: PairOptions) -> None:
    """Fit a labeller and save it: `seriatim fit --task label`."""
    from seriatim.tasks.labeller import Labeller

    given = {name: value for name, value in asdict(options).items() if "column" not in name}
    texts = {"sequences": asked.sequences, **asdict(asked.reading)}
    others = {"preset": asked.preset, "init": asked.init, "max_symbols": asked.cut[1]}
    refuse(
        {**texts, **given, **others, "processes": asked.processes},
        "other tasks, and this is labelling",
    )
    found = Labeller(
        configure_encoder(
            asked.model or asked.model_options.get("encoder") or "lstm", asked.model_options
        ),
        symbols=asked.symbols or "char",
        min_count=1 if asked.cut[0] is None else asked.cut[0],
    )
    training = found.training_options(asked.training_options)
    train, valid, test = (_labelled(asked, options, path) for path in (asked.data, *asked.parts))
    if train is None:
        raise ConfigError("there is nothing to fit to: give a folder or a file of labelled text")
    fit_and_tell(found, asked, (train, valid, test), training, _summary)


def _labelled(asked: FitRequest, options: PairOptions, path: Path | None) -> "Pairs | None":
    from seriatim.data.labels import open_labelled

    if path is None:
        return None
    return open_labelled(
        path,
        format=asked.format,
        text_column=options.source_column,
        label_column=options.target_column,
        encoding=asked.encoding,
    )


def score_labels(model: Path, asked: PairFile, *, json: bool) -> None:
    """How often a labeller is right: `seriatim score` for labelled sequences."""
    from seriatim.data.labels import open_labelled
    from seriatim.tasks.labeller import Labeller

    pairs = open_labelled(
        asked.data,
        format=asked.format,
        text_column=asked.source_column,
        label_column=asked.target_column,
        encoding=asked.encoding,
    )
    found = Labeller.load(model).evaluate(pairs)
    if json:
        print_json(found.to_json())
        return
    print(_score_line(found.to_json()))
    wrong = [
        (count, found.labels[i], found.labels[j])
        for i, row in enumerate(found.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    rows = [[actual, given, str(n)] for n, actual, given in sorted(wrong, reverse=True)[:10]]
    if rows:
        print(text_table([["label", "was called", "times"], *rows], left=(0, 1)))


def label_rows(found: dict[str, Any], *, is_verified: bool) -> list[list[str]]:
    """What `seriatim info` says of a labeller."""
    names = found["labels"]
    shown = ", ".join(names[:8]) + (" .." if len(names) > 8 else "")
    rows = [
        ["task", f"labelling, a label for each {found['per']}"],
        ["encoder", ", ".join(f"{k}={v}" for k, v in found["encoder"].items() if v is not None)],
        ["labels", f"{len(names):,}: {shown}"],
        ["symbols", f"{found['symbols']['number']:,} ({found['symbols']['kind']})"],
        ["parameters", f"{found['parameters']:,}"],
    ]
    for name in ("valid", "test"):
        if name in found["training"]:
            rows.append([f"{name} part", _score_line(found["training"][name])])
    if is_verified:
        rows.append(["checksums", "all files are as they were written"])
    return rows


def _score_line(score: dict[str, Any]) -> str:
    return (
        f"{100 * score['accuracy']:.2f} % right of {score['num_labelled']:,}, macro F1 "
        f"{score['macro_f1']:.4f}, calibration error {score['calibration_error']:.4f}"
    )


def _summary(info: dict[str, Any], place: Path) -> str:
    training = info["training"]
    fitted = training["fit"]
    lines = [
        f"{info['encoder']['encoder']}: {info['parameters']:,} parameters, "
        f"{len(info['labels']):,} labels, one for each {info['per']}, fitted in "
        f"{format_duration(training['seconds'])}",
        f"{fitted['steps_done']:,} steps ({fitted['stopped']}); best after step "
        f"{fitted['best_step']:,}",
    ]
    for part in ("valid", "test"):
        if part in training:
            lines.append(f"{part}: {_score_line(training[part])}")
    lines.append(f"saved in {place}; try: seriatim label {place} FILE")
    return "\n".join(lines)


def label(
    model: Path,
    file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    encoding: str = "utf-8",
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
) -> None:
    """Label a file line by line: one line out for each line in, in order.

    A labeller of sequences writes the label of each line; one of elements reads words parted by
    spaces and writes their labels likewise.

    Args:
        model: a folder of a labeller.
        file: of sequences; -: from stdin, answered as it comes.
        encoding: of the file.
        threads: of the processor; all cores if not given.
        quiet: no progress.
        json: one JSON object a line, with probabilities.
    """
    from seriatim.tasks.labeller import Labeller

    use_threads(threads)
    labeller = Labeller.load(model)
    reporter = Reporter(is_quiet=quiet)
    began, done = time.perf_counter(), 0
    for group in line_groups(file, encoding):
        for found in labeller.label(group):
            _print(found, json=json)
        sys.stdout.flush()
        done += len(group)
        reporter.counted(f"{done:,} lines, {done / (time.perf_counter() - began):,.1f} lines/s")
    reporter.done()


def _print(found: "Labelled | list[Labelled]", *, json: bool) -> None:
    elements = found if isinstance(found, list) else [found]
    if not json:
        print(" ".join(element.label for element in elements))
    elif isinstance(found, list):
        print_json({"elements": [_record(element) for element in found]})
    else:
        print_json(_record(found))


def _record(found: "Labelled") -> dict[str, Any]:
    return {
        "label": found.label,
        "probability": found.probability,
        "others": [{"label": name, "probability": p} for name, p in found.others],
    }
