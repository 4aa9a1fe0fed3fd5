"""How good translations are beside the targets that were given.

Knows texts and symbols; no model.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import MissingExtraError
from seriatim.metrics.bleu_chrf import bleu, chrf
from seriatim.metrics.error_rates import exact_match, symbol_error_rate, word_error_rate
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
        pairs: how many.
        exact_match: share of targets found exactly; 1 - this is the word error rate of tasks
            whose targets are single words.
        symbol_error_rate: edits for each symbol of the references.
        word_error_rate: edits for each word of the references.
        character_error_rate: edits for each character of the references.
        bleu, chrf: 0 to 100, by sacrebleu; None: it is not installed.
        signatures: sacrebleu's, of both.
        ended: share of targets that the model ended itself.
        seconds: that translating took.
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
    notes: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """A dict of JSON values."""
        record = asdict(self)
        return {**record, "signatures": list(self.signatures), "notes": list(self.notes)}


def judge(
    found: Sequence[Translation],
    references: Sequence[Text],
    vocabulary: Vocabulary,
    seconds: float,
    *,
    lowercase: bool = False,
    tokenize: str | None = None,
) -> Quality:
    """The figures of translations.

    Args:
        found: one for each reference.
        references: the targets that were given.
        vocabulary: of the targets.
        seconds: that translating took.
        lowercase, tokenize: of BLEU and chrF; see `evaluate.translation`.

    Raises:
        DataError: there is no reference.
    """
    given = [r if isinstance(r, str) else vocabulary.separator.join(r) for r in references]
    texts = [t.text for t in found]
    own = [vocabulary.encode(r).tolist() for r in references]
    scores, notes = [], []
    try:
        scores = [
            bleu(texts, given, lowercase=lowercase, tokenize=tokenize),
            chrf(texts, given, lowercase=lowercase),
        ]
    except MissingExtraError as error:
        notes.append(str(error))
    return Quality(
        pairs=len(given),
        exact_match=exact_match(texts, given),
        symbol_error_rate=symbol_error_rate([list(t.symbols) for t in found], own).rate,
        word_error_rate=word_error_rate(texts, given).rate,
        character_error_rate=symbol_error_rate(texts, given).rate,
        bleu=scores[0].score if scores else None,
        chrf=scores[1].score if scores else None,
        signatures=tuple(s.signature for s in scores),
        ended=sum(t.is_ended for t in found) / len(found),
        seconds=seconds,
        notes=tuple(notes),
    )
