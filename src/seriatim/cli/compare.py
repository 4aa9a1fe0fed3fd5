"""`seriatim compare`: which model does this data need, and is the difference real?"""

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from seriatim.cli.fit_request import READING, ReadingOptions
from seriatim.cli.options import shell_families, with_training_options
from seriatim.cli.output import Flag, Reporter, print_json, use_threads
from seriatim.errors import ConfigError
from seriatim.models.options.registry import configure
from seriatim.report.terminal import format_bytes, format_duration, text_table
from seriatim.train.options import TrainingOptions

if TYPE_CHECKING:
    from seriatim.comparison.entrants import Entrant
    from seriatim.comparison.result import ModelComparison
    from seriatim.data.sources import Source
    from seriatim.train.callbacks.history import Progress

_BUDGET = Group("Budget", sort_key=1)
_KEEPING = Group("Long runs", sort_key=3)
_SHOWN = 0.005  # of a mixture: a weight below this is none
_BUDGETS = ("minutes", "steps", "epochs")  # that are training options too


@with_training_options
def compare(
    data: Path,
    /,
    *,
    models: Annotated[str | None, Parameter(alias="-m")] = None,
    seeds: int = 1,
    out: Annotated[Path | None, Parameter(group=_KEEPING)] = None,
    tokens: Annotated[float | None, Parameter(group=_BUDGET)] = None,
    operations: Annotated[float | None, Parameter(group=_BUDGET)] = None,
    parameters: Annotated[int | None, Parameter(group=_BUDGET)] = None,
    valid: Annotated[Path | None, Parameter(group=READING)] = None,
    test: Annotated[Path | None, Parameter(group=READING)] = None,
    split: Annotated[
        tuple[float, float, float] | None, Parameter(group=READING, negative_iterable=())
    ] = None,
    symbols: Annotated[str, Parameter(alias="-s", group=READING)] = "char",
    min_count: Annotated[int, Parameter(group=READING)] = 1,
    max_symbols: Annotated[int | None, Parameter(group=READING)] = None,
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=READING)
    ] = None,
    format: Annotated[str | None, Parameter(group=READING)] = None,
    encoding: Annotated[str, Parameter(group=READING)] = "utf-8",
    reading: ReadingOptions | None = None,
    resume: Annotated[Flag, Parameter(group=_KEEPING)] = False,
    overwrite: Annotated[Flag, Parameter(group=_KEEPING)] = False,
    checkpoint_minutes: Annotated[float, Parameter(group=_KEEPING)] = 1.0,
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
    **options: Any,
) -> None:
    """Train models under one budget and say which is better, and how sure that is.

    The budget is one of --minutes, --tokens, --operations, --steps and --epochs, for each model
    and each seed; without any, 2 minutes. --parameters sizes the models, with or without one.

    Args:
        data: a file (.txt, .jsonl, .csv, .tsv, text formats also .gz; .parquet) or a folder.
        models: which, with options of their own, of the model or of its training, such as
            lstm,gru:hidden_size=512,symbols=bpe:500,transformer:num_layers=2,learning_rate=0.001
            [all families]
        seeds: trained of each model. With 3 or more it is said which family beats which under
            this budget; with fewer only which model beats which on text like this.
        out: a folder for models, figures and report.html; without it nothing is kept.
        tokens: symbols that each model is trained on; models of other symbols, on as much text.
        operations: of training, in products and sums; counted models take next to none.
        parameters: that each model has, within 2 %: its width is solved for. Of counted models
            the bytes are shown.
        valid: validation text; without it a part of the data is split off.
        test: test text, likewise.
        split: shares of training, validation and test where they are split off. [0.8 0.1 0.1, of
            the last two at most 100 kB]
        symbols: byte, char, word or bpe:N, of all models that have none of their own.
        min_count: characters or words seen fewer times become <unk>.
        max_symbols: keep at most this many characters or words.
        sequences: what one sequence is: a line, a document, or all of it as one stream.
        format: of the files, instead of what their endings say.
        encoding: of the files.
        resume: go on with the comparison that stands at --out: what is finished is not trained
            again; models and seeds may come on top.
        overwrite: begin anew in the place of a comparison that stands at --out.
        checkpoint_minutes: between two checkpoints of the model under way.
        threads: of the processor; all cores if not given.
        quiet: no progress.
        json: print everything as JSON.
    """
    use_threads(threads)
    training = {name: value for name, value in options.items() if value is not None}
    budget = {name: training.pop(name, None) for name in _BUDGETS}
    seed = training.pop("seed", 0)
    who = None if models is None else parse_models(models)
    from seriatim.comparison.runner import compare as compare_models

    def source(path: Path) -> "Source":
        return (reading or ReadingOptions()).opened(
            path, sequences=sequences, format=format, encoding=encoding
        )

    voice = Voice(is_quiet=quiet or json)
    try:
        found = compare_models(
            source(data),
            who,
            **budget,
            tokens=tokens,
            operations=operations,
            parameters=parameters,
            seeds=seeds,
            seed=seed,
            symbols=symbols,
            min_count=min_count,
            max_size=max_symbols,
            valid=None if valid is None else source(valid),
            test=None if test is None else source(test),
            split=split,
            training=training,
            out=out,
            resume=resume,
            overwrite=overwrite,
            checkpoint_minutes=checkpoint_minutes,
            report=voice.progress,
            say=voice.say,
        )
    except KeyboardInterrupt:
        voice.interrupted(out)
        raise
    voice.done()
    if json:
        print_json(found.to_json())
    else:
        print(summary(found, out))


class Voice:
    """Progress of many models on stderr, each under its name."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._reporter = Reporter(is_quiet=is_quiet)
        self._name = ""

    def progress(self, name: str, p: "Progress") -> None:
        if name != self._name:
            self._reporter.done()
            self._reporter, self._name = Reporter(is_quiet=self._is_quiet, prefix=f"{name}: "), name
        self._reporter.progress(p)

    def say(self, sentence: str) -> None:
        self._reporter.done()
        self._reporter, self._name = Reporter(is_quiet=self._is_quiet), ""
        self._reporter.say(sentence)

    def interrupted(self, out: Path | None) -> None:
        self.done()
        if out is None:
            sentence = "cut short, and nothing is kept: give --out to be able to go on"
        else:
            sentence = f"cut short; what is finished is kept in {out}: the same command with "
            sentence += "--resume goes on"
        Reporter().note(sentence)

    def done(self) -> None:
        self._reporter.done()


def parse_models(text: str) -> "dict[str, Entrant]":
    """`lstm,gru:hidden_size=512,symbols=bpe:500` as models by name.

    What has no colon before its first `=` is an option of the model before it. A family that comes
    once is called by its name alone; one that comes again, by its options too.

    Raises:
        ConfigError: no such model, option or value.
    """
    found: list[tuple[str, dict[str, str], str]] = []
    for piece in text.split(","):
        head, _, rest = piece.strip().partition(":")
        if "=" in head:
            if not found:
                raise ConfigError(f"{piece!r} is an option without a model before it: {_SYNTAX}")
            found[-1] = _with_option(found[-1], piece.strip())
            continue
        if head not in shell_families():
            raise ConfigError(
                f"there is no model {head!r}: choose among {', '.join(shell_families())}; {_SYNTAX}"
            )
        found.append((head, {}, head))
        if rest:
            found[-1] = _with_option(found[-1], rest)
    families = [family for family, _, _ in found]
    named: dict[str, Entrant] = {}
    for family, options, whole in found:
        name = family if families.count(family) == 1 else whole
        if name in named:
            raise ConfigError(f"{whole} comes twice: leave one out, or give it other options")
        named[name] = _entrant(family, options)
    return named


_SYNTAX = "write FAMILY:OPTION=VALUE,OPTION=VALUE,FAMILY, such as lstm,markov:order=5"


def _with_option(
    model: tuple[str, dict[str, str], str], piece: str
) -> tuple[str, dict[str, str], str]:
    family, options, whole = model
    name, is_given, value = piece.partition("=")
    if not is_given or not value:
        raise ConfigError(f"{piece!r} is no option: {_SYNTAX}")
    name = name.strip().replace("-", "_")
    return family, {**options, name: value.strip()}, whole + (":" if not options else ",") + piece


def _entrant(family: str, options: Mapping[str, str]) -> "Entrant":
    from seriatim.comparison.entrants import Entrant

    own = dict(options)
    preset, symbols = own.pop("preset", None), own.pop("symbols", None)
    config = shell_families()[family]
    known = {f.name for f in fields(TrainingOptions)} - {*_BUDGETS, "seed"}
    of_model = {f.name for f in fields(config)}  # type: ignore[arg-type]
    training = {n: v for n, v in own.items() if n in known and n not in of_model}
    of_config = {n: v for n, v in own.items() if n not in training}
    return Entrant(
        config=configure(family, of_config, preset=preset),
        symbols=symbols,
        training=training,
        preset=preset,
    )


# ---- what is printed ----------------------------------------------------------------------------


def summary(found: "ModelComparison", out: Path | None) -> str:
    """A comparison for people."""
    record = found.to_json()
    lines = [_heading(record), "", _table(record), ""]
    lines += [f"{m['name']} was not run: {m['reason']}" for m in record["models"] if m["reason"]]
    lines += conclusions(record)
    overhead = record["overhead"]
    lines += [
        "",
        f"{format_duration(overhead['training_seconds'])} of training, "
        f"{format_duration(overhead['other_seconds'])} of everything else.",
    ]
    if out is not None:
        if (out / "report.html").is_file():
            lines.append(f"report: {out / 'report.html'}")
        lines.append(f"kept in {out}; try: seriatim generate {_model_folder(record)}")
    return "\n".join(lines)


def conclusions(record: Mapping[str, Any]) -> list[str]:
    """What is said of the models beyond their figures, in lines."""
    lines = _said(record["texts"], record) + _said(record["families"], record)
    lines += [f"note: {note}" for note in record["notes"]]
    lines = ["Neighbours in the order of their bits:", *lines, "", *_mixture(record)]
    return [*lines, record["recommendation"]["sentence"]]


def _heading(record: Mapping[str, Any]) -> str:
    data = record["data"]
    return (
        f"{data['name']}: {data['characters']['train']:,} characters of training, "
        f"{data['characters']['test']:,} of test; {record['budget']['sentence']}."
    )


def _table(record: Mapping[str, Any]) -> str:
    unit = record["metric"].removeprefix("bits per ")
    has_seeds = any(len(m["seeds"]) > 1 for m in record["models"])
    head = ["model", f"bits/{unit}", "95 %", "parameters", "bytes", "state of 1", "of 512"]
    head += ["trained/s", "generated/s", "operations", "time"]
    rows = [head + (["seeds"] if has_seeds else [])]
    ok = sorted((m for m in record["models"] if m["status"] == "ok"), key=lambda m: m["bits"])
    for m in ok:
        rows.append(_row(m) + ([_seeds(m)] if has_seeds else []))
    for m in record["models"]:
        if m["status"] != "ok":
            rows.append([m["name"], "not run", *[""] * (len(rows[0]) - 2)])
    return text_table(rows)


def _row(m: Mapping[str, Any]) -> list[str]:
    low_high = "" if m["interval"] is None else f"{m['interval'][0]:.3f} to {m['interval'][1]:.3f}"
    states = dict(m["state_bytes"])
    return [
        m["name"],
        f"{m['bits']:.4f}",
        low_high,
        "counts" if m["is_counted"] else f"{m['parameters']:,}",
        format_bytes(m["bytes"]),
        format_bytes(states[min(states)]),
        format_bytes(states[max(states)]),
        f"{m['train_symbols_per_second']:,.0f}",
        f"{m['generate_symbols_per_second']:,.0f}",
        f"{m['operations_per_symbol']:,.0f}",
        format_duration(m["train_seconds"]),
    ]


def _seeds(m: Mapping[str, Any]) -> str:
    bits = [s["bits"] for s in m["seeds"]]
    return f"{min(bits):.4f} to {max(bits):.4f}" if len(bits) > 1 else "1"


def _said(found: list[dict[str, Any]], record: Mapping[str, Any]) -> list[str]:
    """The statements of neighbours in the order of the bits: who is next to whom, and how sure."""
    if not found:
        return []
    ok = [m for m in record["models"] if m["status"] == "ok"]
    bits = {m["name"]: sum(s["bits"] for s in m["seeds"]) / len(m["seeds"]) for m in ok}
    order = sorted({s["a"] for s in found} | {s["b"] for s in found}, key=lambda n: bits[n])
    pairs = {frozenset((s["a"], s["b"])): s["sentence"] for s in found}
    return [f"  {pairs[frozenset(pair)]}" for pair in pairwise(order)]


def _mixture(record: Mapping[str, Any]) -> list[str]:
    mixed = record["mixture"]
    if mixed is None:
        return []
    unit = record["metric"].removeprefix("bits per ")
    weights = sorted(mixed["weights"].items(), key=lambda item: -item[1])
    parts = ", ".join(
        f"{name} {weight:.0%} (without it {mixed['adds'][name]:+.4f})"
        for name, weight in weights
        if weight >= _SHOWN
    )
    left_out = [name for name, weight in weights if weight < _SHOWN]
    if left_out:
        parts += f"; nothing of {', '.join(left_out)}"
    if mixed["left_out"]:
        parts += f"; of other symbols, and left out: {', '.join(mixed['left_out'])}"
    return [f"The best mixture of all: {mixed['bits']:.4f} bits per {unit}: {parts}.", ""]


def _model_folder(record: Mapping[str, Any]) -> str:
    named = {m["name"]: m["folder"] for m in record["models"]}
    return str(named[record["recommendation"]["model"]])
