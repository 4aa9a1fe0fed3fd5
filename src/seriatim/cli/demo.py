"""`seriatim demo`: six families trained on real text and compared, with samples, in minutes."""

import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.compare import ComparisonReporter
from seriatim.cli.output import Flag, print_json, use_threads
from seriatim.models.options.registry import configure
from seriatim.report.terminal import format_bytes, text_row, text_table

if TYPE_CHECKING:
    from seriatim.comparison.record import ComparisonRecord, RunRecord
    from seriatim.data.sources import Source
    from seriatim.tasks.language_model import LanguageModel

# Sizes that train well in half a minute on two cores, in the order of the README's table.
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "markov": {"order": 7},
    "autoregressive": {"window": 12, "embedding_size": 32, "hidden_size": 384},
    "rnn": {"hidden_size": 384, "embedding_size": 64},
    "lstm": {"hidden_size": 256, "embedding_size": 64},
    "gru": {"hidden_size": 256, "embedding_size": 64},
    "transformer": {"model_size": 128, "num_layers": 3, "num_heads": 4, "context": 64},
}
# Small batches: in so little time, more updates are worth more than higher throughput.
_TRAINING: Mapping[str, Any] = {"batch_size": 16, "length": 64, "warmup": 50}
_RATES = {"lstm": 6e-3, "gru": 4e-3, "transformer": 3e-3}
_BYTES = 4_000_000
_ALONE = "lstm"  # the family that is given more time


def demo(
    file: Path | None = None,
    /,
    *,
    minutes: Annotated[float, Parameter(alias="-m")] = 2.0,
    longer: float | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    seed: int = 0,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Train and compare six families on real text, in minutes.

    Args:
        file: a text. [default: source code of Python's own standard library]
        minutes: the time for training, in minutes, shared by the five families that are trained by
            gradients.
        longer: the time for one network alone afterwards, in minutes, to see whether it then does
            better than counting. [default: 0.75 times --minutes]
        out: a folder for the models and the report. [default: a new one for temporary files]
        seed: the seed of the training and of the samples.
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    from seriatim.comparison.entrants import Entrant
    from seriatim.comparison.runner import ComparisonCallbacks, compare
    from seriatim.comparison.text import conclusions
    from seriatim.data.sources import open_source

    use_threads(threads)
    source = open_source(file if file is not None else list(standard_library()), sequences="stream")
    out = Path(tempfile.mkdtemp(prefix="seriatim-demo-")) if out is None else out
    reporter, table, samples = ComparisonReporter(is_quiet=json), _Table(is_quiet=json), {}
    text = source.name if file is not None else "source code of Python's standard library"
    table.say(f"Text: {text}. Symbols: bytes. Every family is trained on the same text.\n")

    def finished(lm: "LanguageModel", record: "RunRecord") -> None:
        reporter.done()
        table.row(record)
        samples[record.name] = _sample(lm, "" if file is not None else "def ", seed)

    split = (0.975, 0.0125, 0.0125)
    comparison = compare(
        source,
        {
            name: Entrant(config=configure(name, options), training=_rate(name))
            for name, options in FAMILIES.items()
        },
        minutes=minutes / (len(FAMILIES) - 1),
        seed=seed,
        symbols="byte",
        split=split,
        options=_TRAINING,
        out=out,
        overwrite=True,
        callbacks=ComparisonCallbacks(reporter.progress, reporter.say, finished, reporter.counted),
    )
    reporter.done()
    alone = _train_alone(source, split, longer or 0.75 * minutes, seed, reporter)
    alone.save(out / "alone", overwrite=True)
    if json:
        more = {"samples": samples, "alone": alone.training.to_json(), "out": str(out)}
        print_json({**comparison.to_json(), **more})
        return
    for name, sample in samples.items():
        print(f"\n--- {name} " + "-" * (70 - len(name)))
        print(sample)
    print("\n" + "\n".join(conclusions(comparison.record)))
    print("\n" + _with_more_time(alone, comparison.record))
    _say_what_next(file, out)


def _train_alone(
    source: "Source",
    split: tuple[float, float, float],
    minutes: float,
    seed: int,
    reporter: ComparisonReporter,
) -> "LanguageModel":
    """One network on the same text, with a budget of its own that chooses all the rest."""
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.train.callbacks.callbacks import Callbacks

    reporter.say(f"one network alone, for {60 * minutes:.0f} s")
    callbacks = Callbacks(
        progress=lambda progress: reporter.progress(_ALONE, progress), message=reporter.say
    )
    lm = LanguageModel(_ALONE, symbols="auto")
    lm.fit(source, split=split, minutes=minutes, seed=seed, callbacks=callbacks)
    reporter.done()
    return lm


def _with_more_time(lm: "LanguageModel", record: "ComparisonRecord") -> str:
    """Which of them wins at the other budget, in a sentence."""
    from seriatim.comparison.record import ModelResult

    training = lm.training
    assert training.fit is not None
    assert training.vocabulary is not None
    own = training.scores["test"].bits_per_character
    counted = next(
        model.bits_per_character
        for model in record.models
        if isinstance(model, ModelResult) and model.is_counted
    )
    start = (
        f"With {training.fit.seconds:.0f} s and symbols of its own choice "
        f"({training.vocabulary.size:,} of {training.vocabulary.kind}), {_ALONE} needs "
    )
    if own is None or counted is None:
        return f"{start}bits that cannot be compared by character."
    verdict = "now the network wins." if own < counted else "counting still wins."
    return f"{start}{own:.3f} bits per character, counting {counted:.3f}: {verdict}"


def _rate(family: str) -> dict[str, float]:
    return {"learning_rate": _RATES[family]} if family in _RATES else {}


def standard_library() -> Iterator[Path]:
    """Modules of Python's standard library, in the order of their names, 4 MB in total."""
    total = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        total += path.stat().st_size
        if total > _BYTES:
            return
        yield path


# The columns of the table and their widths; "autoregressive" is the longest name.
_COLUMNS = {
    "family": 14,
    "parameters": 10,
    "state": 8,
    "seconds": 7,
    "tokens/s": 10,
    "bits per character": 18,
    "perplexity": 10,
}


class _Table:
    """The table of the families; each row is printed as soon as its model is finished."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._has_head = False
        self._widths = list(_COLUMNS.values())

    def say(self, sentence: str) -> None:
        if not self._is_quiet:
            print(sentence, flush=True)

    def row(self, record: "RunRecord") -> None:
        assert record.cost is not None  # there is one seed, and it is the first
        if not self._has_head:
            self.say(text_row(list(_COLUMNS), self._widths))
            self._has_head = True
        self.say(
            text_row(
                [
                    record.name,
                    f"{record.parameters:,}",
                    format_bytes(dict(record.cost.state_bytes)[512]),
                    f"{record.train_seconds:.1f}",
                    f"{record.train_symbols_per_second:,.0f}",
                    f"{record.bits_per_character:.3f}",
                    f"{2**record.bits_per_symbol:.3f}",
                ],
                self._widths,
            )
        )


def _sample(lm: "LanguageModel", prompt: str, seed: int) -> str:
    return lm.generate(prompt, 240, seed=seed, temperature=0.7)


def _say_what_next(file: Path | None, out: Path) -> None:
    text = "YOUR.txt" if file is None else str(file)
    models = out / "models"
    commands = [
        [f"  seriatim compare {text} --minutes 2 --out compared/", "find the family for your text"],
        [
            f"  seriatim fit {text} --model lstm --minutes 5 --out model/",
            "fit a model to your text",
        ],
        ['  seriatim generate model/ "Once upon"', "sample text from it"],
        ["  seriatim score model/ OTHER.txt", "measure it on other text"],
        ["  seriatim fit --help-all", "all families and options"],
    ]
    print(
        f"""
"state" is what a family keeps of a sequence of 512 symbols. Bits per character and perplexity
are measured on text that no model was trained on; lower is better. Next:

{text_table(commands, left=(0, 1))}

The models are in {models}: seriatim generate {models / "lstm"}"""
    )
    report = out / "report.html"
    if report.is_file():
        print(f"The comparison as a page with pictures: {report}")
    else:
        print('For a report with pictures: pip install "seriatim[report]"')
