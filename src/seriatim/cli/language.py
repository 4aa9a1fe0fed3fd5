"""Commands that use a fitted model: score, generate, next, surprisal, info, check."""

import itertools
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.fit_request import ReadingOptions
from seriatim.cli.label import label_rows, score_labels
from seriatim.cli.output import Flag, Reporter, print_json, score_lines, use_threads
from seriatim.cli.pairs import PairFile, info_rows, refuse, score_pairs
from seriatim.errors import ContractError
from seriatim.report.terminal import format_bytes, text_table

if TYPE_CHECKING:
    from seriatim.data.sources import Source
    from seriatim.tasks.language_model import LanguageModel

_ROWS = {"translation": info_rows, "labelling": label_rows}


def score(
    model: Path,
    data: Path,
    /,
    *,
    target: Path | None = None,
    each: Flag = False,
    restart_every: int | None = None,
    format: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    encoding: str = "utf-8",
    reading: ReadingOptions | None = None,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """How well a model predicts a text, in bits.

    Args:
        model: a model folder.
        data: what to score: a file or a folder, read as the training text was; of a translator,
            a file of pairs, or of sources; of a labeller, labelled text.
        target: of a translator: a file of targets, line by line with the sources.
        each: of a translator: ln p of every target given its source, one a line; of a model of
            lines or documents: the surprise of each, in bits, and where it is highest.
        restart_every: of a stream: forget everything every so many symbols.
        format: of the files, instead of what their endings say.
        source_column: of a translator or labeller: the column or field of the sources.
        target_column: likewise, of the targets or labels.
        encoding: of the files.
        threads: of the processor; all cores if not given.
        json: print JSON.
    """
    from seriatim.tasks import storage
    from seriatim.tasks.language_model import LanguageModel

    use_threads(threads)
    task = storage.read_config(model).get("task")
    asked = PairFile(data, target, source_column, target_column, format, encoding)
    if task in ("translation", "labelling"):
        texts = {"restart_every": restart_every, **asdict(reading or ReadingOptions())}
        refuse(texts, f"texts, and this model is for {task}")
        if task == "translation":
            score_pairs(model, asked, each=each, json=json)
            return
        refuse({"target": target, "each": each}, "translators, and this is a labeller")
        score_labels(model, asked, json=json)
        return
    pairs = {"target": target, "source_column": source_column, "target_column": target_column}
    refuse(pairs, "translators, and this is a model of texts")
    refuse({"restart_every": restart_every if each else None}, "streams, which have no each")
    lm = LanguageModel.load(model)
    source = (reading or ReadingOptions()).opened(
        data, sequences=lm.sequences, format=format, encoding=encoding
    )
    reporter = Reporter(is_quiet=json)
    if each:
        _print_each(lm, source, reporter, json=json)
        return
    found = lm.score(source, restart_every=restart_every, progress=reporter.scored)
    reporter.done()
    if json:
        print_json(found.to_json())
    else:
        print(score_lines(found))


def _print_each(lm: "LanguageModel", source: "Source", reporter: Reporter, *, json: bool) -> None:
    """A line for each sequence, with tabs between the figures, or a JSON record."""
    from seriatim.tasks.sequence_surprisal import sequence_surprises

    found = sequence_surprises(lm, source, progress=reporter.scored)
    for number, each in enumerate(found):
        if not number:
            reporter.done()
        if json:
            print_json(each.to_json())
            continue
        if not number:
            print("number\tbits\tsymbols\tbits per symbol\thighest\tat\tsymbol")
        figures = f"{each.bits:.3f}\t{each.symbols}\t{each.bits_per_symbol:.4f}"
        print(f"{each.number}\t{figures}\t{each.highest:.3f}\t{each.at}\t{each.symbol}")


def generate(
    model: Path,
    prompt: str = "",
    /,
    *,
    length: Annotated[int, Parameter(alias="-n")] = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Sample text from a model; it appears as it is sampled.

    Args:
        model: a model folder.
        prompt: what stands before.
        length: symbols at most; a model of lines or documents ends by itself.
        temperature: below 1 sharper, above 1 flatter, 0 always the most probable.
        top_k: only the k most probable.
        top_p: only the fewest that make up this share.
        min_p: only those of at least this share of the most probable one.
        seed: the same seed gives the same text.
        threads: of the processor; all cores if not given.
        json: print JSON at the end.
    """
    from seriatim.decode.sampling import Sampling
    from seriatim.tasks.language_model import LanguageModel

    use_threads(threads)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    pieces = LanguageModel.load(model).generating(prompt, length, seed=seed, sampling=sampling)
    if json:
        print_json({"prompt": prompt, "text": "".join(pieces), "seed": seed})
        return
    for piece in itertools.chain([prompt + next(pieces, "")], pieces):
        print(piece, end="", flush=True)
    print()


def next_symbols(
    model: Path,
    prompt: str = "",
    /,
    *,
    top: Annotated[int, Parameter(alias="-k")] = 10,
    json: Flag = False,
) -> None:
    """The most probable next symbols after a prompt.

    Args:
        model: a model folder.
        prompt: what stands before.
        top: how many.
        json: print JSON.
    """
    from seriatim.tasks.language_model import LanguageModel

    found = LanguageModel.load(model).next(prompt, top)
    if json:
        print_json([{"symbol": p.symbol, "probability": p.probability} for p in found])
    else:
        print(
            text_table(
                [["symbol", "probability"], *([p.symbol, f"{p.probability:.4f}"] for p in found)]
            )
        )


def surprisal(
    model: Path,
    text: str | None = None,
    /,
    *,
    file: Path | None = None,
    encoding: str = "utf-8",
    json: Flag = False,
) -> None:
    """The bits of every symbol of a text, its end included.

    Args:
        model: a model folder.
        text: the text itself; without it and without --file it is read from stdin.
        file: read the text from here.
        encoding: of the file.
        json: print JSON.
    """
    from seriatim.tasks.language_model import LanguageModel

    lm = LanguageModel.load(model)
    found = lm.surprisal(_text(text, file, encoding))
    total = sum(s.bits for s in found)
    if json:
        print_json(
            {"bits": total, "symbols": [{"symbol": s.symbol, "bits": s.bits} for s in found]}
        )
        return
    print(text_table([["symbol", "bits"], *([s.symbol, f"{s.bits:.3f}"] for s in found)]))
    print(f"{total:.3f} bits in all, {total / max(len(found), 1):.3f} per symbol")


def _text(text: str | None, file: Path | None, encoding: str) -> str:
    from seriatim.data.files import read_blocks
    from seriatim.errors import ConfigError

    if text is not None and file is not None:
        raise ConfigError("a text and --file were given: give one of them")
    if file is not None:
        return "".join(read_blocks(file, encoding))
    return sys.stdin.read() if text is None else text


def info(model: Path, /, *, verify: Flag = False, json: Flag = False) -> None:
    """What a model folder holds, and how it came about.

    Args:
        model: a model folder.
        verify: read all of it and compare the checksums.
        json: print JSON.
    """
    from seriatim.tasks import storage
    from seriatim.tasks.registry import load

    if verify:
        storage.verify(model)
    found = load(model).info()
    if json:
        print_json({**found, "verified": verify})
        return
    if found["task"] in _ROWS:
        print(text_table(_ROWS[found["task"]](found, is_verified=verify), left=(0, 1)))
        return
    options = ", ".join(f"{k}={v}" for k, v in found["model"]["options"].items() if v is not None)
    reach = "unbounded" if found["reach"] is None else f"{found['reach']:,} symbols"
    rows = [
        ["family", found["model"]["family"]],
        ["options", options],
        ["symbols", f"{found['symbols']['number']:,} ({found['symbols']['kind']})"],
        ["sequences", str(found["sequences"])],
        ["parameters", f"{found['parameters']:,}"],
        ["state after 512", format_bytes(found["state_bytes"])],
        ["looks back", reach],
        ["fingerprint", found["fingerprint"]],
    ]
    for name, part in found["training"].get("data", {}).items():
        rows.append(
            [f"{name} part", f"{part['symbols']:,} symbols in {part['sequences']:,} sequences"]
        )
    for name in ("valid", "test"):
        if name in found["training"]:
            rows.append(
                [f"{name} bits", f"{found['training'][name]['bits_per_symbol']:.4f} per symbol"]
            )
    if verify:
        rows.append(["checksums", "all files are as they were written"])
    print(text_table(rows, left=(0, 1)))


def check(model: Path, /, *, budget: float = 60.0, json: Flag = False) -> None:
    """Hold a model to the laws of the contract, in float64.

    Args:
        model: a model folder.
        budget: seconds that enumeration may take, about.
        json: print JSON.
    """
    from seriatim.errors import ConfigError
    from seriatim.tasks.labeller import Labeller
    from seriatim.tasks.registry import load

    found = load(model)
    if isinstance(found, Labeller):
        raise ConfigError("a labeller folds no sequence, so the laws do not speak of it")
    report = found.check(budget_s=budget)
    if json:
        laws = [
            {"law": r.number, "claim": r.claim, "holds": r.holds, "note": r.note}
            for r in report.results
        ]
        print_json({"ok": report.ok, "seconds": report.seconds, "laws": laws})
    else:
        print(report)
    if not report.ok:
        broken = ", ".join(map(str, report.broken))
        raise ContractError(f"the model breaks law {broken}: see above")
