"""`seriatim generate`: one text as it is sampled, or several samples of many prompts."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions, ReadingOptions
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.prompts import given_prompt, parse_events
from seriatim.cli.rounding import Precision, note_rounding
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.data.vocab.vocabulary import Text
    from seriatim.tasks.language_model import LanguageModel

_GROUP = 32  # prompts of a file that are continued at once


def generate(
    model: Path,
    /,
    *prompt: str,
    file: Path | None = None,
    prompts: Path | None = None,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    length: Annotated[int, Parameter(alias="-n")] = 500,
    samples: int | None = None,
    stop: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
    beam: int | None = None,
    num_best: int = 1,
    precision: Precision = "float32",
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Sample text from a model; a single text appears as it is sampled.

    Args:
        model: a model folder.
        prompt: the text that is continued, in quotes; several texts are continued one by one. For
            a model of events one event, or a JSON list of events, and each event is then printed
            on a line of its own.
        file: a file that holds one prompt, or with --column its events.
        prompts: a file with a prompt on each line, or a table with one in each row.
        length: the number of symbols at most; a model of lines or documents ends by itself.
        samples: the number of texts for each prompt. [default: 1]
        stop: a text before which the continuation ends; may be given several times.
        temperature: the divisor of the scores: below 1 sharper, above 1 flatter, 0 always the
            most probable symbol.
        top_k: sample only from the k most probable symbols. [default: all]
        top_p: sample only from the fewest symbols with this probability together. [default: 1]
        min_p: sample only from symbols with at least this fraction of the probability of the most
            probable one. [default: 0]
        seed: the seed; the same seed gives the same text.
        beam: the width of a beam: print the most probable texts that it finds in place of samples.
        num_best: the number of texts that the beam prints for each prompt.
        precision: the precision of the weights: float32 as they were fitted, or rounded to int8 or
            fp16 for speed; what that costs on this text is said at the end.
        threads: the number of processor threads. [default: all cores]
        json: print a JSON object for each text, one a line.
    """
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.precision import as_sequence, at_precision
    from seriatim.tasks.registry import load_as

    use_threads(threads)
    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    fitted = load_as(LanguageModel, model, "generate")
    lm = at_precision(fitted, precision)
    options: dict[str, Any] = {
        "length": length,
        "stop": stop,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "seed": seed,
    }
    if beam is None and num_best != 1:
        raise ConfigError("--num-best needs --beam N; for several samples give --samples N")
    if length == 0:
        raise ConfigError("--length 0 samples nothing: give 1 or more")
    if beam is not None and beam < 1:
        raise ConfigError(f"--beam {beam}: give 1 (greedy search) or more")
    if beam is not None:
        _check_no_sampling(options, samples)
    if prompts is None and len(prompt) <= 1:
        start = given_prompt(lm, prompt[0] if prompt else None, file, files, reading)
        if samples is None and beam is None and not json:
            said = _stream(start, lm.generating(start, **options), reporter)
            if precision != "float32" and said:
                note_rounding(fitted, lm, precision, as_sequence(start, said), "this text")
            return
        starts: Iterator[list[Text]] = iter([[start]])
    elif file is not None or (prompts is not None and prompt):
        raise ConfigError("prompts were given twice: as texts, with --file or with --prompts")
    else:
        starts = _prompts(lm, prompts, prompt, files, reading)
    if beam is None:
        texts = _print_all(lm, starts, samples, options, reporter, as_json=json)
    else:
        texts = _print_best(lm, starts, length, beam, num_best, reporter, as_json=json)
    reporter.done()
    if precision != "float32" and texts:
        note_rounding(fitted, lm, precision, texts, "these texts")


def _stream(start: "str | Sequence[str]", pieces: Iterator[str], reporter: Reporter) -> list[str]:
    """Print a prompt and what is sampled after it as it comes; returns the latter."""
    end = "" if isinstance(start, str) else "\n"
    said = []
    reporter.done()
    for piece in itertools.chain([start] if isinstance(start, str) else start, pieces):
        print(piece, end=end, flush=True)
        said.append(piece)
    if isinstance(start, str):
        print()
        return said[1:]
    return said[len(start) :]


def _prompts(
    lm: "LanguageModel",
    path: Path | None,
    texts: Sequence[str],
    files: FileOptions | None,
    reading: ReadingOptions | None,
) -> "Iterator[list[Text]]":
    """The prompts in groups: of a file, or those of the command line."""
    if path is None:
        if reading is not None and reading != ReadingOptions():
            raise ConfigError("columns belong to a file: give --prompts too")
        if not any(" " in text for text in texts):
            print(
                f"note: {len(texts)} prompts, one for each word; put a text of several words in "
                "quotes",
                file=sys.stderr,
            )
        found: Iterator[Text] = iter(texts)
    else:
        source = (reading or ReadingOptions()).opened(path, sequences="line", files=files)
        print_notes(source)
        found = source.texts()
    if lm.reads_events:
        found = (parse_events(text) if isinstance(text, str) else text for text in found)
        found = ([text] if isinstance(text, str) else text for text in found)
    while group := list(itertools.islice(found, _GROUP)):
        yield group


def _print_all(
    lm: "LanguageModel",
    groups: "Iterator[list[Text]]",
    samples: int | None,
    options: dict[str, Any],
    reporter: Reporter,
    *,
    as_json: bool,
) -> "list[Text]":
    """Print every sample of every prompt, texts of several lines under a heading; returns them."""
    number, printed = 0, []
    for group in groups:
        reporter.doing(f"continuing prompt {number + 1:,} and on")
        texts_of = lm.generate(group, samples=1 if samples is None else samples, **options)
        reporter.done()
        for start, texts in zip(group, texts_of, strict=True):
            number += 1
            printed += texts
            for sample, text in enumerate(texts):
                if as_json:
                    drawn = {"sample": sample, "seed": options["seed"]}
                    print_json({**_record(start, text), **drawn})
                    continue
                if lm.sequences != "line":
                    print(f"--- prompt {number:,}, sample {sample + 1:,}")
                print(text if isinstance(text, str) else "\n".join(text))
        sys.stdout.flush()
    return printed


def _check_no_sampling(options: Mapping[str, Any], samples: int | None) -> None:
    """Raise a ConfigError if anything of sampling was asked for beside a beam."""
    usual = {"length": options["length"], "temperature": 1.0, "seed": 0}
    given = [f"--{name.replace('_', '-')}" for name, x in options.items() if x != usual.get(name)]
    given += ["--samples"] * (samples is not None)
    if given:
        raise ConfigError(
            f"--beam prints the most probable texts and samples none, so it does not go with "
            f"{' and '.join(given)}: leave out one or the other"
        )


def _print_best(
    lm: "LanguageModel",
    groups: "Iterator[list[Text]]",
    length: int,
    beam: int,
    num_best: int,
    reporter: Reporter,
    *,
    as_json: bool,
) -> "list[Text]":
    """Print the most probable texts of every prompt with their ln p; returns them."""
    printed: list[Text] = []
    for number, start in enumerate(itertools.chain.from_iterable(groups), 1):
        reporter.doing(f"searching after prompt {number:,}")
        found = lm.beam(start, length, beam=beam, num_best=num_best)
        reporter.done()
        for rank, best in enumerate(found, start=1):
            printed.append(best.text)
            if as_json:
                record = {**_record(start, best.text), "rank": rank}
                print_json({**record, "log_prob": best.log_prob, "is_ended": best.is_ended})
                continue
            text = best.text if isinstance(best.text, str) else "\n".join(best.text)
            print(text if num_best == 1 else f"{best.log_prob:.3f}\t{text}")
        sys.stdout.flush()
    return printed


def _record(start: "Text", text: "Text") -> dict[str, object]:
    if isinstance(start, str) and isinstance(text, str):
        return {"prompt": start, "text": text[len(start) :]}
    return {"prompt": list(start), "symbols": list(text)}
