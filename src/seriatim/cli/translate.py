"""`seriatim translate` and `seriatim evaluate`: a translator at work, line by line."""

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from seriatim.cli.fit_request import PAIRS, FileOptions, PairColumns, PairFiles, one_part
from seriatim.cli.inputs import line_groups, open_input
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.errors import ConfigError, OutputError
from seriatim.report.terminal import format_duration, text_table

if TYPE_CHECKING:
    from seriatim.core.records import Json
    from seriatim.decode.settings import Decoding
    from seriatim.tasks.translation import Translation

MAX_NOTES = 10  # said one by one, the rest counted
_SEARCH = Group("Search", sort_key=1)


# ---- translate ----------------------------------------------------------------------------------


@Parameter(name="*", group=_SEARCH)
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options of the search for targets.

    Attributes:
        beam: the width of the beam; 1 is greedy search.
        alpha: the exponent of the length penalty.
        max_length: the number of symbols of a target at most. [default: by the length of the
            source]
        sample: draw samples from the model instead of searching.
        temperature: the temperature of samples: below 1 sharper, above 1 flatter.
        top_k: sample only from the k most probable symbols. [default: all]
        top_p: sample only from the fewest symbols with this probability together. [default: 1]
        seed: the seed of samples; the same seed gives the same samples.
        minimum_bayes_risk: put the one of --num-best samples first that is most like the others.
        num_groups: the number of groups of the beam that must differ, so that the n best differ.
        forbid: a text that must not occur; may be given several times.
        fuse: the folder of a language model with the symbols of the targets, whose
            log-probabilities are added.
        fuse_weight: the weight of the log-probabilities of --fuse.
    """

    beam: int = 4
    alpha: float = 0.6
    minimum_bayes_risk: Flag = False
    num_groups: int = 1
    forbid: Annotated[list[str] | None, Parameter(negative_iterable=())] = None
    fuse: Path | None = None
    fuse_weight: float = 0.2
    max_length: int | None = None
    sample: Flag = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def decoding(self, num_best: int = 1) -> "Decoding":
        """The options of the search.

        Raises:
            ConfigError: if an option is out of range.
        """
        from seriatim.decode.sampling import Sampling
        from seriatim.decode.settings import Decoding
        from seriatim.tasks.language_model import LanguageModel
        from seriatim.tasks.registry import load_as

        is_shaped = (self.temperature, self.top_k, self.top_p) != (1.0, None, None)
        if is_shaped and not self.sample:
            raise ConfigError("--temperature, --top-k and --top-p shape samples: give --sample too")
        if self.minimum_bayes_risk and not self.sample:
            raise ConfigError("--minimum-bayes-risk ranks samples: give --sample too")
        sampling = Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        return Decoding(
            beam=self.beam,
            num_best=num_best,
            alpha=self.alpha,
            max_length=self.max_length,
            sampling=sampling if self.sample else None,
            seed=self.seed,
            minimum_bayes_risk=self.minimum_bayes_risk,
            num_groups=self.num_groups,
            forbid=tuple(self.forbid or ()),
            fuse=load_as(LanguageModel, self.fuse, "--fuse") if self.fuse else None,
            fuse_weight=self.fuse_weight,
        )


_PAIRS_OF_LOSS = 200  # on which the loss of rounded weights is measured


def translate(
    model: Path,
    file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    search: SearchOptions | None = None,
    num_best: int = 1,
    require: Path | None = None,
    prefixes: Path | None = None,
    ensemble: Annotated[list[Path] | None, Parameter(negative_iterable=())] = None,
    alignment: Flag = False,
    picture: Path | None = None,
    files: FileOptions | None = None,
    source_column: str | None = None,
    precision: Literal["float32", "int8", "fp16"] = "float32",
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
) -> None:
    """Translate a file line by line: one line of output for each line, in order.

    Args:
        model: the folder of a translator.
        file: a file with one source a line; a table; -: stdin, translated line by line as it
            comes.
        num_best: the number of results of each line, as "line number ||| text ||| score", best
            first.
        require: a file with a line for each source: texts that must occur in its target,
            separated by tabs.
        prefixes: a file with a line for each source: the text with which its target begins.
        ensemble: the folders of further translators; the search follows the product of all.
        alignment: print after a tab, for each target symbol, "source-target": the positions of the
            source symbol with the most attention and of the target symbol, from 0 (with --json:
            all weights).
        picture: an SVG file to draw the alignment of the first line to.
        source_column: the column or field of the sources in a table. [source, text or the like,
            or the only one]
        precision: the precision of the weights: float32 as they were fitted, or rounded to int8 or
            fp16 for speed; what that costs on the first lines and their targets is said at the end.
        threads: the number of processor threads. [default: what suits the model]
        quiet: show no progress and no notes.
        json: print one JSON object a line.
    """
    from seriatim.tasks.precision import at_precision, rounding_loss
    from seriatim.tasks.registry import load_as
    from seriatim.tasks.translator import Translator

    decoding = (search or SearchOptions()).decoding(num_best)
    use_threads(threads)
    fitted = load_as(Translator, model, "translate")
    translator = at_precision(fitted, precision)
    others = [
        at_precision(load_as(Translator, path, "translate --ensemble"), precision)
        for path in ensemble or []
    ]
    pairs: list[tuple[str | list[str], str]] = []
    reporter = Reporter(is_quiet=quiet)
    notes = _Notes(reporter)
    began, done = time.perf_counter(), 0
    encoding = (files or FileOptions()).encoding
    required_texts = None if require is None else _required(require, encoding)
    beginnings = None if prefixes is None else _lines(prefixes, encoding)
    inputs = open_input(file, files=files, column=source_column)
    for group in inputs:
        results = translator.translate(
            group,
            decoding=decoding,
            require=None if required_texts is None else required_texts[done : done + len(group)],
            prefixes=None if beginnings is None else beginnings[done : done + len(group)],
            first=done,
            ensemble=others,
            alignment=alignment or (picture is not None and done == 0),
        )
        if picture is not None and done == 0:
            _draw(picture, results[0])
        targets = [result.text for result in results[: _PAIRS_OF_LOSS - len(pairs)]]
        pairs += zip(group, targets, strict=False)
        for number, result in enumerate(results, done + 1):
            notes.add(number, result.notes)
            _print(number, result, num_best, alignment=alignment, json=json)
        sys.stdout.flush()
        done += len(group)
        rate = done / (time.perf_counter() - began)
        reporter.counted(f"{done:,} lines translated, {rate:,.1f} lines/s")
    reporter.done()
    notes.close()
    if precision != "float32" and pairs:
        loss = rounding_loss(fitted, translator, precision, pairs)
        reporter.note(f"note: {loss.text(f'the first {len(pairs):,} pairs')}")
    for path, lines in ((require, required_texts), (prefixes, beginnings)):
        if lines is not None and len(lines) > done:
            raise ConfigError(
                f"{path} has {len(lines):,} lines, and there were {done:,} sources: give a line "
                "for each source"
            )


def _draw(path: Path, result: "Translation") -> None:
    """
    Raises:
        OutputError: the file cannot be written.
    """
    if result.alignment is None:
        return
    try:
        path.write_text(result.alignment.svg(), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write the picture to {path} ({reason})") from None


def _required(path: Path, encoding: str) -> list[list[str]]:
    """What is required of each line."""
    lines = _lines(path, encoding)
    return [[text for text in line.split("\t") if text] for line in lines]


def _lines(path: Path, encoding: str) -> list[str]:
    return [line for group in line_groups(str(path), encoding) for line in group]


def _print(
    number: int, result: "Translation", num_best: int, *, alignment: bool, json: bool
) -> None:
    if json:
        print_json(_record(result, num_best, alignment=alignment))
        return
    if num_best == 1:
        print(_line(result, alignment=alignment))
        return
    for candidate in (result, *result.others):
        print(f"{number} ||| {_line(candidate, alignment=alignment)} ||| {candidate.score:.4f}")


def _line(result: "Translation", *, alignment: bool) -> str:
    text = result.text.replace("\n", " ")
    if not alignment or result.alignment is None:
        return text
    sources = result.alignment.weights.argmax(1).tolist()
    return text + "\t" + " ".join(f"{s}-{t}" for t, s in enumerate(sources))


def _record(result: "Translation", num_best: int, *, alignment: bool) -> "Json":
    record = {
        "text": result.text,
        "log_prob": result.log_prob,
        "score": result.score,
        "is_ended": result.is_ended,
        "notes": list(result.notes),
    }
    if alignment and result.alignment is not None:
        weights = [[round(w, 4) for w in row] for row in result.alignment.weights.tolist()]
        source, target = list(result.alignment.source), list(result.alignment.target)
        record |= {"alignment": {"source": source, "target": target, "weights": weights}}
    if num_best > 1:
        record |= {"others": [_record(o, 1, alignment=False) for o in result.others]}
    return record


class _Notes:
    """What should be known of some lines, on stderr: the first few, then how many more."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._count = reporter, 0

    def add(self, number: int, notes: Iterable[str]) -> None:
        """The notes of a line."""
        for note in notes:
            self._count += 1
            if self._count <= MAX_NOTES:
                self._reporter.note(f"line {number:,}: {note}")

    def close(self) -> None:
        """Say how many were not shown."""
        if self._count > MAX_NOTES:
            self._reporter.note(f"and {self._count - MAX_NOTES:,} more such notes (see --json)")


# ---- evaluate -----------------------------------------------------------------------------------


def evaluate(
    model: Path,
    data: Path | None = None,
    /,
    *,
    source: Annotated[Path | None, Parameter(group=PAIRS)] = None,
    target: Annotated[list[Path] | None, Parameter(group=PAIRS, negative_iterable=())] = None,
    each_pair: Flag = False,
    search: SearchOptions | None = None,
    ensemble: Annotated[list[Path] | None, Parameter(negative_iterable=())] = None,
    files: FileOptions | None = None,
    columns: PairColumns | None = None,
    lowercase: Flag = False,
    tokenize: str | None = None,
    allow_unknown: Flag = False,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Translate the sources of pairs and compare the results with their targets.

    Args:
        model: the folder of a translator.
        data: a file of pairs.
        source: a file of sources, line by line with --target, in place of DATA.
        target: a file of targets, line by line with the sources; given several times, each holds
            one more reference of every source.
        each_pair: count every pair by itself; otherwise the targets of equal sources are
            references of one source, which counts once, by the closest of them.
        ensemble: the folders of further translators; the search follows the product of all.
        lowercase: compute BLEU and chrF in lower case.
        tokenize: sacrebleu's tokenizer for BLEU; none for text that is tokenized already. [default:
            13a]
        allow_unknown: evaluate even if more than half of the symbols are unknown.
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    from seriatim.tasks.registry import load_as
    from seriatim.tasks.translator import Translator

    decoding = (search or SearchOptions()).decoding()
    use_threads(threads)
    translator = load_as(Translator, model, "evaluate")
    others = [load_as(Translator, path, "evaluate --ensemble") for path in ensemble or []]
    reporter = Reporter(is_quiet=json)
    if each_pair and len(target or ()) > 1:
        raise ConfigError("--each-pair counts pairs one by one: give one --target")
    targets: list[Path | None] = [*target] if target else [None]
    sides = asdict(columns or PairColumns())
    opened = [
        one_part(
            "evaluate MODEL", data, files, None, PairFiles(source=source, target=path, **sides)
        ).open_pairs()
        for path in targets
    ]
    print_notes(*opened)
    quality = translator.evaluate(
        opened[0] if len(opened) == 1 else [pair for pairs in opened for pair in pairs.pairs()],
        decoding=decoding,
        ensemble=others,
        lowercase=lowercase,
        tokenize=tokenize,
        each_pair=each_pair,
        allow_unknown=allow_unknown,
        progress=lambda done: reporter.counted(f"{done:,} sources translated"),
    )
    reporter.done()
    if json:
        print_json(quality.to_json())
        return
    rows = [
        ["exact match", f"{100 * quality.exact_match:.2f} %"],
        ["symbol error rate", f"{100 * quality.symbol_error_rate:.2f} %"],
        ["word error rate", f"{100 * quality.word_error_rate:.2f} %"],
        ["character error rate", f"{100 * quality.character_error_rate:.2f} %"],
    ]
    scores = [("BLEU", quality.bleu), ("chrF", quality.chrf)]
    named = zip([(n, v) for n, v in scores if v is not None], quality.signatures, strict=True)
    rows += [[name, f"{value:.2f}  ({signature})"] for (name, value), signature in named]
    counted = f"{quality.pairs:,} with {quality.references:,} references"
    rows.append(["sources", f"{counted} in {format_duration(quality.seconds)}"])
    print(text_table(rows, left=(0, 1)))
    for note in quality.notes:
        reporter.note(note)
