"""`seriatim demo`: six families trained on real text, compared, and talking, in minutes."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.output import Flag, Reporter, print_json, size, use_threads
from seriatim.errors import DataError
from seriatim.families.configuration import ModelConfig, configure

if TYPE_CHECKING:
    from seriatim.data.readers import Source
    from seriatim.data.symbols import Symbols
    from seriatim.tasks.language import LanguageModel

# Sizes that reach a fair figure in half a minute on two cores; the order of the README's table.
FAMILIES: dict[str, dict[str, Any]] = {
    "markov": {"order": 7},
    "autoregressive": {"window": 12, "embedding_size": 32, "hidden_size": 384},
    "rnn": {"hidden_size": 384, "embedding_size": 64},
    "lstm": {"hidden_size": 256, "embedding_size": 64},
    "gru": {"hidden_size": 256, "embedding_size": 64},
    "transformer": {"model_size": 128, "num_layers": 3, "num_heads": 4, "context": 64},
}
# Small batches: with so little time, more updates are worth more than a fuller machine.
_TRAINING: dict[str, Any] = {"batch_size": 16, "length": 64, "warmup": 50}
_RATES = {"lstm": 6e-3, "gru": 4e-3, "transformer": 3e-3}
_BYTES = 4_000_000


def demo(
    file: Path | None = None,
    /,
    *,
    minutes: Annotated[float, Parameter(alias="-m")] = 2.0,
    out: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Six families on real text, compared, in minutes.

    Args:
        file: a text; without it, source code of Python's own standard library.
        minutes: for training, shared by the five families that are trained by gradients.
        out: a folder to keep the models in.
        seed: of everything.
        threads: of the processor; all cores if not given.
        json: print JSON.
    """
    from seriatim.data.alphabets import fit_symbols
    from seriatim.data.readers import open_source
    from seriatim.data.splits import split_source

    use_threads(threads)
    source = open_source(file if file is not None else list(standard_library()), sequences="stream")
    parts, _ = split_source(source, (0.975, 0.0125, 0.0125))
    train, valid, test = parts
    if train is None or valid is None or test is None:
        raise DataError(f"{source.name} is too short for a demo: give a longer text")
    symbols = fit_symbols("byte", [], sequences="stream")
    reporter = Reporter(is_quiet=json)
    what = source.name if file is not None else "source code of Python's standard library"
    if not json:
        print(f"Text: {what}. Symbols: its bytes. Each family gets the same text.\n")
    fitted: dict[str, LanguageModel] = {}
    each = minutes / (len(FAMILIES) - 1)
    for family, options in FAMILIES.items():
        config = configure(family, options)
        fitted[family] = _fit(config, symbols, (train, valid, test), each, seed, reporter)
        if out is not None:
            fitted[family].save(out / family, overwrite=True)
        if not json:
            print(_row(_figures(fitted[family])) if len(fitted) > 1 else _head(fitted[family]))
    if json:
        samples = {name: _sample(lm, seed) for name, lm in fitted.items()}
        print_json([{**_figures(lm), "sample": samples[name]} for name, lm in fitted.items()])
        return
    for name, lm in fitted.items():
        print(f"\n--- {name} " + "-" * (70 - len(name)))
        print(_sample(lm, seed))
    _say_what_next(file, out)


def standard_library() -> Iterator[Path]:
    """Modules of Python's standard library, in the order of their names, of 4 MB in all."""
    total = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        total += path.stat().st_size
        if total > _BYTES:
            return
        yield path


def _fit(
    config: ModelConfig,
    symbols: "Symbols",
    parts: "tuple[Source, Source, Source]",
    minutes: float,
    seed: int,
    reporter: Reporter,
) -> "LanguageModel":
    from seriatim.tasks.language import LanguageModel

    train, valid, test = parts
    named = Reporter(is_quiet=reporter.is_quiet, prefix=f"{config.family}: ")
    lm = LanguageModel(config, symbols=symbols)
    rate = {"learning_rate": _RATES[config.family]} if config.family in _RATES else {}
    options = lm.training_options({**_TRAINING, **rate, "minutes": minutes, "seed": seed})
    lm.fit(train, valid=valid, test=test, options=options, report=named.progress, say=named.say)
    named.done()
    return lm


_COLUMNS = {
    "family": 14,
    "parameters": 11,
    "state": 9,
    "seconds": 8,
    "tokens/s": 11,
    "bits/char": 10,
    "perplexity": 11,
}


def _figures(lm: "LanguageModel") -> dict[str, Any]:
    info = lm.info()
    fitted, test = info["training"]["fit"], info["training"]["test"]
    counted = info["training"]["data"]["train"]["symbols"]
    return {
        "family": info["model"]["family"],
        "parameters": info["parameters"],
        "state_bytes": info["state_bytes"],
        "seconds": info["training"]["fit_seconds"],
        "tokens_per_second": fitted.get("tokens_per_second")
        or counted / info["training"]["fit_seconds"],
        "bits_per_character": test["bits_per_character"],
        "perplexity": test["perplexity"],
    }


def _head(lm: "LanguageModel") -> str:
    first, *others = _COLUMNS.items()
    names = [first[0].ljust(first[1]), *(name.rjust(width) for name, width in others)]
    return "".join(names) + "\n" + _row(_figures(lm))


def _row(figures: dict[str, Any]) -> str:
    cells = [
        f"{figures['parameters']:,}",
        size(figures["state_bytes"]),
        f"{figures['seconds']:.1f}",
        f"{figures['tokens_per_second']:,.0f}",
        f"{figures['bits_per_character']:.3f}",
        f"{figures['perplexity']:.3f}",
    ]
    widths = list(_COLUMNS.values())
    numbers = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    return "".join([str(figures["family"]).ljust(widths[0]), *numbers])


def _sample(lm: "LanguageModel", seed: int) -> str:
    from seriatim.decode.sample import Sampling

    return lm.generate("def ", 240, seed=seed, sampling=Sampling(temperature=0.7))


def _say_what_next(file: Path | None, out: Path | None) -> None:
    text = "YOUR.txt" if file is None else str(file)
    print(
        f"""
"state" is what a family keeps of a sequence of 512 symbols; bits per character are on text that
was not trained on, less is better. Next:

  seriatim fit {text} --model lstm --minutes 5 --out model/     a model of your own text
  seriatim generate model/ "Once upon"                          let it talk
  seriatim score model/ OTHER.txt                               bits and perplexity of other text
  seriatim fit --help                                           every family and option"""
    )
    if out is not None:
        print(f"\nThe models are in {out}: seriatim generate {out / 'lstm'}")
