"""How good translations are, compared with their references.

Knows texts and symbols; no model.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass

from seriatim.core.records import Json
from seriatim.data.pairs import Pair
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import MissingExtraError
from seriatim.metrics.bleu_chrf import bleu, chrf
from seriatim.metrics.error_rates import closest, symbol_error_rate
from seriatim.tasks.translation import Translation


@dataclass(frozen=True)
class PairLogProb:
    """The log-probability of a target given its source, in nats."""

    log_prob: float

    def to_json(self) -> Json:
        """A JSON object."""
        return asdict(self)

    def text(self) -> str:
        """The number alone."""
        return f"{self.log_prob:.6f}"


@dataclass(frozen=True)
class Quality:
    """Translations beside their references.

    Attributes:
        pairs: the number of sources, each of which counts once.
        exact_match: the fraction of sources whose translation is one of their references; 1 -
            this is the word error rate of tasks whose targets are single words.
        symbol_error_rate: edits per symbol of the closest references.
        word_error_rate: edits per word of the closest references.
        character_error_rate: edits per character of the closest references.
        bleu, chrf: 0 to 100, by sacrebleu, with all references; None: it is not installed.
        signatures: the signatures of sacrebleu, of both.
        ended: the fraction of translations that the model ended itself.
        seconds: the time that translating took.
        references: the number of references of all sources.
        notes: sentences for the user.
    """

    pairs: int
    exact_match: float
    symbol_error_rate: float
    word_error_rate: float
    character_error_rate: float
    bleu: float | None
    chrf: float | None
    signatures: tuple[str, ...]
    ended: float
    seconds: float
    references: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = "" if self.bleu is None else f"BLEU {self.bleu:.2f}, "
        shown += "" if self.chrf is None else f"chrF {self.chrf:.2f}, "
        return f"Quality({shown}exact match {100 * self.exact_match:.2f} % of {self.pairs:,})"

    def to_json(self) -> Json:
        """A dict of JSON values."""
        record = asdict(self)
        return {**record, "signatures": list(self.signatures), "notes": list(self.notes)}


def group_references(pairs: Iterable[Pair]) -> tuple[list[Text], list[list[Text]]]:
    """The distinct sources of pairs, and for each its distinct targets, in order."""
    groups: dict[Text, dict[Text, Text]] = {}
    sources: dict[Text, Text] = {}
    for source, target in pairs:
        key = _key(source)
        sources.setdefault(key, source)
        groups.setdefault(key, {}).setdefault(_key(target), target)
    return list(sources.values()), [list(targets.values()) for targets in groups.values()]


def _key(text: Text) -> Text:
    return text if isinstance(text, str) else tuple(text)


def judge(
    results: Sequence[Translation],
    references: Sequence[Sequence[Text]],
    vocabulary: Vocabulary,
    seconds: float,
    *,
    lowercase: bool = False,
    tokenize: str | None = None,
) -> Quality:
    """The figures of translations.

    Args:
        results: one translation of each source.
        references: the references of each source, at least one.
        vocabulary: the vocabulary of the targets.
        seconds: the time that translating took.
        lowercase, tokenize: of BLEU and chrF; see `metrics.bleu`.

    Raises:
        DataError: if there is no reference.
    """
    separator = vocabulary.separator
    lists = [[r if isinstance(r, str) else separator.join(r) for r in own] for own in references]
    texts = [t.text for t in results]
    scores, notes = [], []
    try:
        scores = [
            bleu(texts, lists, lowercase=lowercase, tokenize=tokenize),
            chrf(texts, lists, lowercase=lowercase),
        ]
    except MissingExtraError as error:
        notes.append(str(error))
    several = sum(len(own) > 1 for own in references)
    if several:
        notes.append(
            f"{several:,} sources have several references: each source counts once, by its closest "
            "reference (--each-pair counts every pair)"
        )
    encoded = [[vocabulary.encode(r).tolist() for r in own] for own in references]
    return Quality(
        pairs=len(lists),
        exact_match=sum(t in own for t, own in zip(texts, lists, strict=True)) / len(texts),
        symbol_error_rate=_error_rate([list(t.symbols) for t in results], encoded),
        word_error_rate=_error_rate(
            [t.split() for t in texts], [[r.split() for r in own] for own in lists]
        ),
        character_error_rate=_error_rate(texts, lists),
        bleu=scores[0].score if scores else None,
        chrf=scores[1].score if scores else None,
        signatures=tuple(s.signature for s in scores),
        ended=sum(t.is_ended for t in results) / len(results),
        seconds=seconds,
        references=sum(map(len, lists)),
        notes=tuple(notes),
    )


def _error_rate(
    hypotheses: Sequence[Sequence[Hashable]],
    references: Sequence[Sequence[Sequence[Hashable]]],
) -> float:
    """Edits per symbol of the closest references."""
    chosen = [closest(h, own) for h, own in zip(hypotheses, references, strict=True)]
    return symbol_error_rate(hypotheses, chosen).rate
