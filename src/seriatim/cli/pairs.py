"""Pairs on the command line: what fit, score and info do with a translator."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Group, Parameter

from seriatim.cli.fit_request import FitRequest
from seriatim.cli.fit_run import fit_and_tell
from seriatim.cli.launch import check_processes
from seriatim.cli.output import Flag, Reporter, print_json, score_lines
from seriatim.errors import ConfigError
from seriatim.report.terminal import format_duration

if TYPE_CHECKING:
    from seriatim.data.pairs import Pairs
    from seriatim.tasks.translator import Translator

_PAIRS = Group("Pairs", sort_key=2)


@Parameter(name="*", group=_PAIRS)
@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """What `fit` is told of pairs.

    Attributes:
        source: a file of sources, line by line with --target, instead of one file of pairs.
        target: a file of targets.
        valid_source: of validation pairs, likewise.
        valid_target: likewise.
        test_source: of test pairs, likewise.
        test_target: likewise.
        source_column: of a file of pairs: the column or field of the sources; a number counts
            from 1 where there is no header. [source, or the first]
        target_column: that of the targets. [target, or the second]
        source_symbols: byte, char, nfd (characters taken apart: letters and accents, Korean
            syllables and their sounds), word, bpe or bpe:N for the sources. [as --symbols]
        joint: one alphabet for both sides.
    """

    source: Path | None = None
    target: Path | None = None
    valid_source: Path | None = None
    valid_target: Path | None = None
    test_source: Path | None = None
    test_target: Path | None = None
    source_column: str | None = None
    target_column: str | None = None
    source_symbols: str | None = None
    joint: Flag = False


def fit_translator(asked: FitRequest, options: PairOptions) -> None:
    """Fit a translator to pairs and save it: `seriatim fit --task translation`."""
    refuse({"sequences": asked.sequences, **asdict(asked.reading)}, "texts, and these are pairs")
    found = _translator(asked, options)
    found.training_options(asked.training_options)  # a mistake is better found before reading
    parts = {
        "train": _pairs(asked, options, asked.data, options.source, options.target),
        "valid": _pairs(asked, options, asked.parts[0], options.valid_source, options.valid_target),
        "test": _pairs(asked, options, asked.parts[1], options.test_source, options.test_target),
    }
    if parts["train"] is None:
        raise ConfigError("there is nothing to fit to: give a file of pairs, or --source, --target")
    check_processes(asked.processes)
    given = parts["train"], parts["valid"], parts["test"]
    fit_and_tell(found, asked, given, asked.training_options, _summary)


def _translator(asked: FitRequest, options: PairOptions) -> "Translator":
    from seriatim.tasks.translator import Translator
    from seriatim.tasks.translator_defaults import configured

    if asked.init is not None:
        given = [asked.model, asked.preset, asked.symbols, options.source_symbols]
        if any((*given, options.joint, *asked.cut, *asked.model_options.values())):
            raise ConfigError(
                "--init goes on from a translator, which has its model and symbols already: leave "
                "out --model, --preset, --symbols and the options of models"
            )
        return Translator.load(asked.init)
    return Translator(
        configured(asked.model or "seq2seq", asked.model_options, preset=asked.preset),
        symbols=asked.symbols or "bpe",
        source_symbols=options.source_symbols,
        joint=options.joint,
        min_count=1 if asked.cut[0] is None else asked.cut[0],
        max_size=asked.cut[1],
    )


def _pairs(
    asked: FitRequest,
    options: PairOptions,
    data: Path | None,
    source: Path | None,
    target: Path | None,
) -> "Pairs | None":
    from seriatim.data.pairs import open_pairs

    if (source is None) != (target is None):
        raise ConfigError("a file of sources and one of targets belong together: give both")
    if source is not None and data is not None:
        raise ConfigError(f"pairs were given twice, as {data} and as {source}: give them once")
    if source is not None and target is not None:
        return open_pairs(source, target, encoding=asked.encoding)
    if data is None:
        return None
    return open_pairs(
        data,
        format=asked.format,
        source_column=options.source_column,
        target_column=options.target_column,
        encoding=asked.encoding,
    )


def _summary(info: dict[str, Any], place: Path) -> str:
    from seriatim.metrics.score import Score

    training, options = info["training"], info["model"]["options"]
    source, target = info["source_symbols"], info["symbols"]
    fitted = training["fit"]
    lines = [
        f"{options['encoder']} to {options['decoder']}: {info['parameters']:,} parameters, "
        f"{source['number']:,} {source['kind']} symbols to {target['number']:,} {target['kind']} "
        f"symbols, fitted in {format_duration(training['seconds'])}"
    ]
    if "steps_done" in fitted:
        lines.append(
            f"{fitted['steps_done']:,} steps at {fitted['tokens_per_second']:,.0f} target "
            f"tokens/s ({fitted['stopped']}); best after step {fitted['best_step']:,}"
        )
    lines += fitted.get("notes", [])
    for part in ("valid", "test"):
        if part in training:
            shown = score_lines(Score(**training[part])).splitlines()
            lines.append(f"{part}, targets given their sources:\n  " + "\n  ".join(shown))
    lines.append(f"saved in {place}; try: seriatim translate {place} FILE")
    return "\n".join(lines)


@dataclass(frozen=True)
class PairFile:
    """Where pairs are: a file of them, or the sources in one file and the targets in another."""

    data: Path
    target: Path | None
    source_column: str | None
    target_column: str | None
    format: str | None
    encoding: str

    def opened(self) -> "Pairs":
        """The pairs."""
        from seriatim.data.pairs import open_pairs

        return open_pairs(
            self.data,
            self.target,
            format=self.format,
            source_column=self.source_column,
            target_column=self.target_column,
            encoding=self.encoding,
        )


# ---- score and info -----------------------------------------------------------------------------


def score_pairs(model: Path, asked: PairFile, *, each: bool, json: bool) -> None:
    """How well a translator predicts given targets: `seriatim score` for pairs."""
    from seriatim.tasks.translator import Translator

    translator, pairs = Translator.load(model), asked.opened()
    reporter = Reporter(is_quiet=json)
    if each:
        values = translator.log_probs(pairs, progress=reporter.scored)
        reporter.done()
        for value in values:
            print_json({"log_prob": value}) if json else print(f"{value:.6f}")
        return
    found = translator.score(pairs, progress=reporter.scored)
    reporter.done()
    if json:
        print_json(found.to_json())
    else:
        print(score_lines(found))


def info_rows(found: dict[str, Any], *, is_verified: bool) -> list[list[str]]:
    """What `seriatim info` says of a translator."""
    options = ", ".join(f"{k}={v}" for k, v in found["model"]["options"].items() if v is not None)
    sides = [f"{found[s]['number']:,} ({found[s]['kind']})" for s in ("source_symbols", "symbols")]
    rule = found["length_rule"]
    rows = [
        ["task", "translation"],
        ["family", found["model"]["family"]],
        ["options", options],
        ["source symbols", sides[0]],
        ["target symbols", sides[1] + (", the same" if found["joint"] else "")],
        ["longest target", f"{rule['slope']:g} S + {rule['extra']} symbols for a source of S"],
        ["parameters", f"{found['parameters']:,}"],
        ["fingerprint", found["fingerprint"]],
    ]
    for name, part in found["training"].get("data", {}).items():
        rows.append([f"{name} part", f"{part['pairs']:,} pairs, {part['scored']:,} target symbols"])
    for name in ("valid", "test"):
        if name in found["training"]:
            bits = found["training"][name]["bits_per_symbol"]
            rows.append([f"{name} bits", f"{bits:.4f} per target symbol"])
    if is_verified:
        rows.append(["checksums", "all files are as they were written"])
    return rows


def refuse(options: dict[str, Any], whose: str) -> None:
    """No option is left without something to belong to.

    Raises:
        ConfigError: one was given.
    """
    for name, value in options.items():
        if value:
            raise ConfigError(f"--{name.replace('_', '-')} belongs to {whose}: leave it out")
