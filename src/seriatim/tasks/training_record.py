"""How a model came about: the record that a task keeps, writes to training.json and reads back.

Knows plain values; no model, no text.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

from seriatim.core.records import Json, from_json, read_json
from seriatim.data.corpus import Corpus
from seriatim.data.pairs import PairCorpus
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.metrics.score import Score
from seriatim.train.callbacks.history import History

FactsT = TypeVar("FactsT")
ScoreT = TypeVar("ScoreT")


@dataclass(frozen=True)
class CorpusFacts:
    """The size of a text.

    Attributes:
        sequences: the number of sequences; 1 for a stream.
        symbols: the number of symbols.
        scored: the number of predicted symbols, ends of sequences included.
        unknown: the number of symbols outside the vocabulary.
        characters: the length of the text in characters.
        bytes: the length of the text in bytes.
        fingerprint: a hash of the symbols.
    """

    sequences: int
    symbols: int
    scored: int
    unknown: int
    characters: int
    bytes: int
    fingerprint: str

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The facts of a corpus."""
        return cls(
            sequences=corpus.num_sequences,
            symbols=corpus.num_tokens,
            scored=corpus.num_scored,
            unknown=corpus.num_unknown,
            characters=corpus.num_characters,
            bytes=corpus.num_bytes,
            fingerprint=corpus.fingerprint,
        )


@dataclass(frozen=True)
class SideFacts:
    """The size of the sources, or of the targets, of pairs."""

    symbols: int
    unknown: int
    characters: int

    @classmethod
    def of(cls, side: Corpus) -> Self:
        """The facts of one side."""
        return cls(side.num_tokens, side.num_unknown, side.num_characters)


@dataclass(frozen=True)
class PairFacts:
    """The size of pairs.

    Attributes:
        pairs: the number of pairs.
        scored: the number of predicted target symbols, ends included.
        longest_source: the number of symbols of the longest source.
        longest_target: the number of symbols of the longest target.
        source: the size of the sources.
        target: the size of the targets.
        fingerprint: a hash of both sides.
    """

    pairs: int
    scored: int
    longest_source: int
    longest_target: int
    source: SideFacts
    target: SideFacts
    fingerprint: str

    @classmethod
    def of(cls, corpus: PairCorpus) -> Self:
        """The facts of a corpus of pairs."""
        return cls(
            pairs=corpus.num_pairs,
            scored=corpus.num_scored,
            longest_source=_longest(corpus.source),
            longest_target=_longest(corpus.target),
            source=SideFacts.of(corpus.source),
            target=SideFacts.of(corpus.target),
            fingerprint=corpus.fingerprint,
        )


def _longest(corpus: Corpus) -> int:
    return int(np.diff(corpus.offsets).max(initial=0))


@dataclass(frozen=True)
class LabelledFacts:
    """The number of labelled sequences."""

    sequences: int


@dataclass(frozen=True)
class VocabularyFacts:
    """The kind and the size of a vocabulary."""

    kind: str
    size: int

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Self:
        """The facts of a vocabulary."""
        return cls(vocabulary.kind, vocabulary.num_symbols)


@dataclass(frozen=True)
class TrainingRecord(Generic[FactsT, ScoreT]):
    """How a model came about; the empty record belongs to a model that is not fitted.

    Attributes:
        data: the size of each part, by the names "train", "valid" and "test".
        split: how the parts were split off one text; None: they were given.
        notes: how the data was read where that cannot be known.
        vocabulary: the vocabulary (of a translator: that of the targets).
        source_vocabulary: the vocabulary of a translator's sources.
        run: what was fitted, how and on what, in the sections "model", "options" and "data", so
            that a finished run is not taken for another one; None: not recorded.
        seed: the seed of weights, data order and dropout.
        choice: what was chosen for a budget in minutes; None: nothing was.
        fit: the history of training; None for models fitted in closed form.
        closed_form: facts about a fit in closed form, such as n-gram counts.
        imported: facts about a file of another tool that the model was read from.
        error: the message of the error that ended training; the model holds the best weights
            before it.
        scores: the scores of the parts "valid" and "test".
        not_scored: the reason why a part has no score.
        fit_seconds: the time that training took.
        scoring_seconds: the time that the final scores took.
        seconds: the time that everything took, reading and scoring included.
    """

    data: Mapping[str, FactsT] = field(default_factory=dict)
    split: Json | None = None
    notes: tuple[str, ...] = ()
    vocabulary: VocabularyFacts | None = None
    source_vocabulary: VocabularyFacts | None = None
    run: Mapping[str, Json] | None = None
    seed: int | None = None
    choice: Json | None = None
    fit: History | None = None
    closed_form: Json | None = None
    imported: Json | None = None
    error: str | None = None
    scores: Mapping[str, ScoreT] = field(default_factory=dict)
    not_scored: str | None = None
    fit_seconds: float = 0.0
    scoring_seconds: float = 0.0
    seconds: float = 0.0

    def __repr__(self) -> str:
        steps = "" if self.fit is None else f", {self.fit.steps_done:,} steps"
        scores = "".join(f", {part}: {score!r}" for part, score in self.scores.items())
        return f"TrainingRecord({self.seconds:.0f} s{steps}{scores})"

    @property
    def judging_fraction(self) -> float | None:
        """The fraction of all seconds that went into evaluations and final scores; None: of a model
        that was not trained."""
        if self.fit is None or self.seconds <= 0.0:
            return None
        return (self.fit.evaluating_seconds + self.scoring_seconds) / self.seconds

    @property
    def is_cut_short(self) -> bool:
        """Whether training was interrupted, so that it can be resumed."""
        return self.fit is not None and self.fit.stopped in ("interrupted", "stopped")

    def with_score(self, part: str, score: ScoreT) -> Self:
        """The record with the score of one more part."""
        return replace(self, scores={**self.scores, part: score})

    def to_json(self) -> Json:
        """The record as a JSON object; numbers that are not finite become null."""
        return {name: _finite(value) for name, value in asdict(self).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


# ---- reading ------------------------------------------------------------------------------------


def read_training(
    kind: type[TrainingRecord[FactsT, ScoreT]], path: Path, version: int
) -> TrainingRecord[FactsT, ScoreT]:
    """The record in a training.json.

    Args:
        kind: the record of the task, such as `TrainingRecord[CorpusFacts, Score]`.
        path: the file.
        version: the format of the folder; records of format 1 are converted.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    content = read_json(path)
    if version < 2:
        content = dict(_from_format_1(content))
    for score in dict(content.get("scores") or {}).values():
        for name in _NEVER_NULL.intersection(score):
            if score[name] is None:
                score[name] = math.inf
    return from_json(kind, content, name=str(path))


_NEVER_NULL = {"nats", "nats_per_symbol", "bits_per_symbol", "perplexity", "symbols_per_second"}


def _from_format_1(old: Json) -> Json:
    """A record written by seriatim 0.1.0 as one of today."""
    fit = dict(old.get("fit", {}))
    is_trained = "evaluations" in fit
    if "padding_share" in fit:
        fit["padding_fraction"] = fit.pop("padding_share")
    symbols = old.get("symbols", {})
    sides = [symbols.get("source"), symbols.get("target", symbols)]
    facts = [
        {"kind": s.get("kind", s.get("spec")), "size": s["number"]} if s else None for s in sides
    ]
    return {
        **old,
        "source_vocabulary": facts[0],
        "vocabulary": facts[1],
        "fit": fit if is_trained else None,
        "closed_form": None if is_trained or "stopped" in fit else fit or None,
        "error": None if is_trained else fit.get("stopped"),
        "imported": old.get("arpa"),
        "scores": {name: old[name] for name in ("valid", "test") if name in old},
    }


LanguageRecord = TrainingRecord[CorpusFacts, Score]
PairRecord = TrainingRecord[PairFacts, Score]
