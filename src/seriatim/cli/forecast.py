"""`seriatim forecast` and `impute`: what comes after series, and what is missing in them.

Knows options and how tables are printed; predictions are made by `Forecaster`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions
from seriatim.cli.numbers import Numbers
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.rows import check_form
from seriatim.cli.stdin_file import given_file
from seriatim.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from seriatim.tasks.column_table import ColumnTable
    from seriatim.tasks.forecasting.forecaster import Forecaster

_SHOWN = 24  # rows of a table for people


def forecast(
    model: Path,
    data: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    horizon: int,
    quantiles: Numbers = (0.1, 0.5, 0.9),
    level: Numbers = (),
    known: Path | None = None,
    update: Flag = False,
    conformal: Flag = False,
    num_samples: int = 200,
    seed: int = 0,
    page: Path | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    files: FileOptions | None = None,
    threads: int | None = None,
    csv: Flag = False,
    json: Flag = False,
) -> None:
    """Predict the coming values of the series that a model was fitted to, or of other ones.

    Args:
        model: the folder of a forecaster.
        data: series that are continued in place of those of the model; - reads stdin.
        horizon: the number of moments ahead.
        quantiles: the quantiles to compute.
        level: the probabilities, in percent, of intervals to compute in place of quantiles.
        known: a file with the known inputs of the coming moments.
        update: DATA follows what the model knows; it is kept in the model's folder.
        conformal: correct the quantiles by what they would have missed in the past of the series,
            the raw ones beside them; the correction is measured once, on DATA or on the history
            that the model keeps, and stays in the model's folder.
        num_samples: the number of paths, for a model that must be sampled.
        seed: the seed of the paths.
        page: an .html file to draw history, median and bands in (needs seriatim[report]).
        out: a .csv or .json file to write all rows to.
        threads: the number of processor threads. [default: what suits the model]
        csv: print CSV with a header.
        json: print JSON.
    """
    check_form(csv=csv, json=json)
    _check_out(out)
    if update and data is None:
        raise ConfigError("--update needs DATA: a file with the values that follow")
    reporter = Reporter(is_quiet=json or csv, unit="value")
    reporter.doing("reading")
    forecaster = loaded_forecaster(model, "forecast", threads)
    with given_file(data or Path(), files.format if files else None) as file:
        given = None if data is None else opened(forecaster, file, files)
        if update:
            reporter.doing("following the new values")
            forecaster.update(given)
            forecaster.save(model, overwrite=True)
        reporter.doing("predicting")
        before = forecaster.correction
        found = forecaster.predict(
            horizon,
            quantiles=quantiles,
            level=level or None,
            num_samples=num_samples,
            seed=seed,
            data=None if update else given,
            known=known,
            conformal=conformal,
            progress=lambda done: reporter.counted(f"{done:,} series predicted"),
        )
        if conformal and before is not forecaster.correction:
            _keep_correction(forecaster, model)
    if page is not None:
        reporter.doing("drawing the page")
        found.page().write(page)
    reporter.done()
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    show_table(found, out=out, is_csv=csv, is_json=json)
    if page is not None:
        print(f"the picture is in {page}", file=sys.stderr)


def _keep_correction(forecaster: "Forecaster", model: Path) -> None:
    """Keep the correction of bands in the folder of the model, if that can be written."""
    try:
        forecaster.save_threshold(model)
    except OutputError as error:
        print(f"note: the correction is not kept: {error}", file=sys.stderr, flush=True)


def impute(
    model: Path,
    data: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    quantiles: Numbers = (0.1, 0.5, 0.9),
    only_missing: Flag = False,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    files: FileOptions | None = None,
    threads: int | None = None,
    csv: Flag = False,
    json: Flag = False,
) -> None:
    """Fill the gaps of series: the distribution of each missing value given all others.

    Models that cannot look ahead, such as networks, fill a gap by what came before it, and say so.

    Args:
        model: the folder of a forecaster.
        data: the series; - reads stdin.
        quantiles: the quantiles to compute.
        only_missing: give the moments with a missing value only.
        out: a .csv or .json file to write all rows to.
        threads: the number of processor threads. [default: what suits the model]
        csv: print CSV with a header.
        json: print JSON.
    """
    check_form(csv=csv, json=json)
    _check_out(out)
    reporter = Reporter(is_quiet=json or csv, unit="value")
    reporter.doing("reading")
    forecaster = loaded_forecaster(model, "impute", threads)
    with given_file(data, files.format if files else None) as file:
        given = opened(forecaster, file, files)
        reporter.doing("filling gaps")
        found = forecaster.impute(given, quantiles=quantiles, only_missing=only_missing)
    reporter.done()
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    show_table(found, out=out, is_csv=csv, is_json=json)


def loaded_forecaster(model: Path, command: str, threads: int | None) -> "Forecaster":
    """The forecaster in a folder.

    Raises:
        ModelError: if there is none.
    """
    use_threads(threads)
    from seriatim.tasks.forecasting.forecaster import Forecaster
    from seriatim.tasks.registry import load_as

    return load_as(Forecaster, model, command)


def opened(forecaster: "Forecaster", file: Path, files: FileOptions | None) -> object:
    """The series in a file, read as those of training; notes are printed."""
    from seriatim.tasks.options import DataFiles

    options = files or FileOptions()
    given = forecaster.open_files(
        DataFiles(data=file, format=options.format, encoding=options.encoding)
    )
    print_notes(given)
    return given


def _check_out(out: Path | None) -> None:
    if out is not None and out.suffix.lower() not in (".csv", ".json"):
        raise ConfigError(f"--out {out}: give a name that ends in .csv or .json")


def show_table(table: "ColumnTable", *, out: Path | None, is_csv: bool, is_json: bool) -> None:
    """Print a table, all of it for programs, and write it to a file."""
    if out is not None:
        write_table(table, out)
    if is_json:
        print_json(table.to_json())
    elif is_csv:
        table.write_csv(sys.stdout)
    else:
        print(table.text(_SHOWN))
        print(table.summary())
        if out is not None:
            print(f"all {len(table):,} rows are in {out}")
        elif len(table) > _SHOWN:
            print("all rows: --csv, --json or --out FILE.csv")


def write_table(table: "ColumnTable", out: Path) -> None:
    """Write a table as .csv or .json."""
    import json

    if out.suffix.lower() == ".csv":
        table.to_csv(out)
        return
    try:
        out.write_text(json.dumps(table.to_json(), ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from None
