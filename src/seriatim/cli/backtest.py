"""`seriatim backtest`: families compared by what they would have predicted of series.

Knows options and how figures are printed; forecasts are made in `comparison.backtests`.
"""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.compare import parse_specs
from seriatim.cli.fit_request import FileOptions, SeriesColumns
from seriatim.cli.forecast import write_table
from seriatim.cli.numbers import Numbers
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.tasks.options import SeriesReading


def backtest(
    data: Path,
    /,
    *,
    horizon: int,
    models: Annotated[str, Parameter(alias="-m")] = "naive,seasonal-naive,ar,lstm",
    season_length: int | None = None,
    origins: int = 10,
    step: int | None = None,
    refit: int = 0,
    quantiles: Numbers = (0.1, 0.5, 0.9),
    level: Numbers = (),
    num_samples: int = 200,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    target_column: str | None = None,
    series: SeriesColumns | None = None,
    files: FileOptions | None = None,
    page: Path | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    threads: int | None = None,
    conformal: Flag = False,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
) -> None:
    """Compare models of series: forecasts from many origins, beside what came.

    Each model is fitted to what comes before the first origin; networks are trained for the same
    time. Figures: the weighted quantile loss (wQL), the scaled absolute error (MASE), CRPS, the log
    score in nats per value, and how often the 80 % interval held the value.

    Args:
        data: a file of series: .csv, .tsv, .jsonl, .parquet or .tsf.
        horizon: the number of moments that are predicted from each origin.
        models: families, each with options of its model, such as
            naive,ar:order=24,lstm:hidden_size=64, or folders of fitted forecasters.
        season_length: the number of moments of a season. [default: as usual for the frequency, or
            found where times are whole numbers]
        origins: the number of origins; the last is a horizon before the end of a series.
        step: the moments between two origins. [default: the horizon]
        refit: the number of origins after which models are fitted again; 0: never.
        quantiles: the quantiles to write with --out.
        level: the probabilities, in percent, of intervals in place of quantiles.
        num_samples: the number of paths, for a model that must be sampled.
        minutes: the time to train each network, in minutes. [default: 0.5, without --steps]
        steps: the number of updates of each network.
        seed: the seed of training and of paths.
        target_column: the columns of values, separated by commas. [default: y, target or value]
        page: an .html file to draw forecasts, errors and calibration in (needs seriatim[report]).
        out: a .csv or .json file to write every forecast to.
        threads: the number of processor threads. [default: what suits the model]
        conformal: correct the quantiles of each model by the errors of the earlier half of the
            origins, and show what that does to the later half, beside the raw ones.
        quiet: show no progress.
        json: print JSON.
    """
    if out is not None and out.suffix.lower() not in (".csv", ".json"):
        raise ConfigError(f"--out {out}: give a name that ends in .csv or .json")
    if refit < 0:
        raise ConfigError(f"--refit {refit}: give 0 or more")
    use_threads(threads)
    from seriatim.comparison.backtests import backtest as compared
    from seriatim.tasks.forecasting.given_series import open_part

    reading = _reading(series or SeriesColumns(), target_column)
    options = files or FileOptions()
    encoding = None if options.encoding == "utf-8" else options.encoding  # found by itself
    chosen = _models(models, season_length, reading)
    given = open_part(data, reading, format=options.format, encoding=encoding)
    print_notes(given)
    reporter = Reporter(is_quiet=quiet or json, unit="value")
    found = compared(
        given,
        chosen,
        horizon=horizon,
        season_length=season_length,
        origins=origins,
        step=step,
        refit=refit,
        quantiles=quantiles,
        level=level or None,
        num_samples=num_samples,
        minutes=minutes,
        steps=steps,
        seed=seed,
        reading=reading,
        say=reporter.doing,
    )
    if page is not None:
        reporter.doing("drawing the page")
        found.page().write(page)
    reporter.done()
    if out is not None:
        write_table(found.table(), out)
    corrected = {name: test.conformal() for name, test in found.tests.items() if conformal}
    if json:
        more = {name: figures.to_json() for name, figures in corrected.items()}
        print_json({**found.to_json(), **({"conformal": more} if conformal else {})})
        return
    print(found.text())
    for name, figures in corrected.items():
        print(f"\n{name}, quantiles corrected\n{figures}")
    for what, place in {"the page": page, "every forecast": out}.items():
        if place is not None:
            print(f"{what} is in {place}")


def _reading(series: SeriesColumns, target_column: str | None) -> "SeriesReading":
    from seriatim.tasks.options import SeriesReading

    options = series.options(target_column)
    names = {f.name for f in fields(SeriesReading)}
    return SeriesReading(**{n: getattr(options, n) for n in names})


def _models(text: str, season_length: int | None, reading: "SeriesReading") -> dict[str, Any]:
    """The models by name: families with their options, and forecasters in folders."""
    from dataclasses import asdict

    from seriatim.models.options.registry import configure
    from seriatim.tasks.forecasting.forecaster import Forecaster
    from seriatim.tasks.registry import load_as

    chosen: dict[str, Any] = {}
    folders = [piece for piece in text.split(",") if Path(piece, "config.json").is_file()]
    for folder in folders:
        chosen[Path(folder).resolve().name] = load_as(Forecaster, Path(folder), "backtest")
    rest = ",".join(piece for piece in text.split(",") if piece not in folders)
    for name, family, options in parse_specs(rest, "numbers") if rest else []:
        config = configure(family, options)
        season = None if "season_length" in options else season_length
        chosen[name] = Forecaster(config, season_length=season, **asdict(reading))
    return chosen
