"""What our own routes compute: scores, surprisals, next symbols, labels, translations, traces.

Each function is run by the thread that computes, calls the task as Python does, and returns what is
answered as JSON. Texts are always given in lists: in a list, no text is taken for a file name.

Knows tasks; no protocol.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seriatim.core.distributions import as_discrete
from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import Text
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError
from seriatim.serve.completions import check_size
from seriatim.serve.prompts import read_prompt
from seriatim.serve.refusals import RefusalError, bad
from seriatim.serve.scheduler import Turn
from seriatim.serve.served import ServedText
from seriatim.serve.settings import ServeSettings
from seriatim.tasks.labeller import Labelled, Labeller
from seriatim.tasks.language_model import LanguageModel
from seriatim.tasks.text_surprisal import SurprisalTable, Unit
from seriatim.tasks.translation import Translation
from seriatim.tasks.translator import Translator

_LABELLED_AT_ONCE = 16
_MAX_TRACED = 2_000  # symbols
_MAX_VALUES = 2_000_000  # numbers of a trace
_GIGABYTES = 0.25


def score(turn: Turn, served: ServedText, texts: Sequence[Text], limits: ServeSettings) -> Json:
    """The bits of each text, ends included, as `seriatim score` counts them."""
    tables = _tables(turn, served, texts, "symbol", limits)
    return {"model": served.name, "scores": [_summed(table) for table in tables]}


def _summed(table: SurprisalTable) -> Json:
    spelling = sum(row.spelling_bits for row in table)
    bits, number = table.bits - spelling, len(table)
    return {
        "bits": finite(bits),
        "symbols": number,
        "bits_per_symbol": finite(bits / number) if number else None,
        "unknown": sum(row.unknown for row in table),
        "spelling_bits": finite(spelling),
    }


def surprisal(
    turn: Turn, served: ServedText, texts: Sequence[Text], by: Unit, limits: ServeSettings
) -> Json:
    """The bits of every symbol or word of each text."""
    tables = _tables(turn, served, texts, by, limits)
    return {
        "model": served.name,
        "by": by,
        "texts": [
            [
                {
                    "text": row.text,
                    "start": row.start,
                    "end": row.end,
                    "bits": finite(row.bits),
                    "unknown": row.unknown,
                }
                for row in table
            ]
            for table in tables
        ],
    }


def _tables(
    turn: Turn, served: ServedText, texts: Sequence[Text], by: Unit, limits: ServeSettings
) -> list[SurprisalTable]:
    texts = served.texts(texts, "texts")
    # A symbol is a character at most, so a text that passes here is soon counted.
    check_size(sum(map(len, texts)) // 64, limits, "texts")
    check_size(sum(len(served.encode(text)) for text in texts), limits, "texts")
    tables = []
    for text in texts:
        turn.breathe()
        given: Any = [text] if isinstance(text, str) else [list(text)]
        tables.append(served.lm.surprisal(given, by=by, progress=turn.breathe))
    return tables


def next_symbols(
    turn: Turn, served: ServedText, prompt: Text, top: int, limits: ServeSettings
) -> Json:
    """The most probable symbols after a prompt."""
    ids = served.encode(served.texts([prompt], "prompt")[0])
    check_size(len(ids), limits, "prompt")
    read = read_prompt(
        served.model,
        ids,
        has_ends=served.end is not None,
        num_top=None,
        breathe=turn.breathe,
    )
    values, symbols = as_discrete(served.model.predict(read.state)).top(top)
    names = served.vocabulary
    pairs = zip(symbols[0].tolist(), values[0].double().exp().tolist(), strict=True)
    return {
        "model": served.name,
        "next": [
            {"id": i, "symbol": names.name(i), "text": names.decode([i]), "probability": p}
            for i, p in pairs
        ],
    }


def label(turn: Turn, task: Labeller, texts: Sequence[Text], top: int) -> list[Any]:
    """The labels of each text, or of each of its elements."""
    found: list[Any] = []
    for begin in range(0, len(texts), _LABELLED_AT_ONCE):
        turn.breathe()
        found += task.label(list(texts[begin : begin + _LABELLED_AT_ONCE]), top=top)
    return [
        [_labelled(one) for one in result] if isinstance(result, list) else _labelled(result)
        for result in found
    ]


def _labelled(one: Labelled) -> Json:
    return {
        "label": one.label,
        "probability": one.probability,
        "others": [{"label": name, "probability": p} for name, p in one.others],
    }


def translate(
    turn: Turn,
    task: Translator,
    texts: Sequence[Text],
    *,
    decoding: Decoding,
    has_alignment: bool,
    limits: ServeSettings,
) -> list[Json]:
    """The best targets of each source, with the attention to it if asked for."""
    source = task.source_vocabulary
    for text in texts:
        if source is not None and len(source.encode(text)) > limits.max_source:
            raise RefusalError(
                413, f"texts: give at most {limits.max_source:,} symbols of each", param="texts"
            )
    results = []
    for text in texts:
        turn.breathe()
        try:
            (one,) = task.translate(
                [text], decoding=decoding, alignment=has_alignment, on_advance=turn.breathe
            )
        except ConfigError:
            if not has_alignment:
                raise
            raise bad("alignment: this model has no attention to its source", "alignment") from None
        results.append(_translated(one))
    return results


def _translated(one: Translation) -> Json:
    drawn = one.alignment
    return {
        "text": one.text,
        "log_prob": one.log_prob,
        "score": one.score,
        "is_ended": one.is_ended,
        "alignment": None
        if drawn is None
        else {
            "source": list(drawn.source),
            "target": list(drawn.target),
            "weights": drawn.weights.astype(float).round(4).tolist(),
        },
        "others": [_translated(other) for other in one.others],
    }


def trace(
    turn: Turn,
    task: LanguageModel | Translator,
    text: Text,
    source: str | None,
    *,
    top: int,
    only: Sequence[str],
) -> Json:
    """What happens inside a model while it reads a text.

    Without names in `only` the answer says which there are, with their shapes; with names it has
    their values, too.
    """
    turn.breathe()
    if isinstance(task, LanguageModel):
        symbols = task._fitted()[1]
        if len(symbols.encode_prompt(text)) > _MAX_TRACED:
            raise RefusalError(413, f"text: give at most {_MAX_TRACED:,} symbols", param="text")
        read: Any = task.trace(text, top=top, only=list(only) or None, max_gigabytes=_GIGABYTES)
    else:
        if not isinstance(text, str) or source is None:
            raise bad("a translator reads a source: give source, and the target as text", "source")
        if len(source) + len(text) > _MAX_TRACED:
            raise RefusalError(
                413, f"source: give at most {_MAX_TRACED:,} characters", param="source"
            )
        read = task.trace(source, text or None, top=top, only=list(only) or None)
    return {
        "inputs": read.inputs,
        "symbols": read.symbols,
        "source": getattr(read, "source", None),
        "bits": [finite(bits) for bits in read.bits.tolist()],
        "alternatives": [
            [{"symbol": one.symbol, "probability": one.probability} for one in row]
            for row in read.alternatives
        ],
        "taps": {name: _tap(read.taps[name][0], is_wanted=bool(only)) for name in read.taps.names},
    }


def _tap(value: torch.Tensor, *, is_wanted: bool) -> Json:
    """A recorded tensor of one row."""
    shape = list(value.shape)
    if not is_wanted:
        return {"shape": shape}
    if value.numel() > _MAX_VALUES:
        raise RefusalError(413, f"a trace has at most {_MAX_VALUES:,} numbers: give a shorter text")
    numbers = np.nan_to_num(value.double().cpu().numpy(), posinf=0.0, neginf=0.0)
    return {"shape": shape, "values": numbers.round(4).tolist()}


def check_characters(texts: Sequence[Text], limits: ServeSettings) -> None:
    """Refuse texts of more characters, or lists of more elements, than symbols are allowed."""
    check_size(sum(map(len, texts)), limits, "texts")


def finite(value: float) -> float | None:
    """A number as JSON has it: what is infinite is null."""
    return value if math.isfinite(value) else None
