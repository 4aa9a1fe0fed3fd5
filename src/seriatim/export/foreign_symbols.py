"""The symbols of models that were made elsewhere, in the order that our vocabularies have.

A vocabulary of characters or words has the unknown symbol as id 0, the boundary as id 1, and then
the others. Rows of embeddings and of output layers are brought into that order; no value changes.

Knows lists of texts and vocabularies; no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from seriatim.data.vocab.char import CharVocabulary
from seriatim.data.vocab.vocabulary import LINE_END, Vocabulary
from seriatim.data.vocab.word import WordVocabulary
from seriatim.errors import ConfigError

Sequences: TypeAlias = Literal["line", "document", "stream"]

ENDS = (LINE_END, "<eos>", "</s>", "<end>", "[EOS]", "[SEP]", "<|endoftext|>")
UNKNOWNS = ("<unk>", "[UNK]", "<UNK>", "\ufffd")


@dataclass(frozen=True)
class ForeignSymbols:
    """The vocabulary of a model that was made elsewhere.

    Attributes:
        vocabulary: the vocabulary.
        texts: the characters or words without the boundary and the unknown symbol.
        order: for each of our ids the id that the symbol had; -1 for `<unk>` if there was none.
    """

    vocabulary: Vocabulary
    texts: tuple[str, ...]
    order: tuple[int, ...]

    @property
    def has_unknown(self) -> bool:
        """Whether the model had an unknown symbol."""
        return self.order[0] >= 0

    def rows(self, weight: Tensor, *, absent: float = 0.0) -> Tensor:
        """The rows of a weight (V, ...) in our order, `absent` where there was none."""
        index = torch.tensor(self.order)
        chosen = weight.detach().float()[index.clamp(min=0)].clone()
        chosen[index < 0] = absent
        return chosen


def arrange_symbols(
    texts: Sequence[str], *, boundary: str | None, unknown: str | None, sequences: Sequences
) -> ForeignSymbols:
    """A vocabulary of texts in the order of their ids elsewhere.

    Args:
        texts: the text of every id: characters, or words.
        boundary: the symbol that ends a sequence or a line, and is fed before the first; None:
            the first of `ENDS` that is there.
        unknown: the symbol of everything else; None: the first of `UNKNOWNS` that is there.
        sequences: what one sequence is.

    Raises:
        ConfigError: no symbol, or one that is not there, is the boundary or the unknown symbol.
    """
    ids = {text: i for i, text in enumerate(texts)}
    if len(ids) != len(texts):
        twice = next(text for i, text in enumerate(texts) if ids[text] != i)
        raise ConfigError(
            f"the symbol {twice!r:.40} is there twice: give every id a text of its own"
        )
    boundary = _named(ids, boundary, ENDS, "boundary")
    if boundary is None:
        raise ConfigError(
            f"none of these {len(texts):,} symbols is known to end a sequence: give boundary=..., "
            "the symbol that is fed before the first"
        )
    unknown = _named(ids, unknown, UNKNOWNS, "unknown")
    others = tuple(text for text in texts if text not in (boundary, unknown))
    is_document = sequences == "document"
    if LINE_END in others and not is_document:
        raise ConfigError(
            f"the boundary is {boundary!r} and the line end is a symbol of its own: give "
            'sequences="document"'
        )
    kind = CharVocabulary if all(len(text) == 1 for text in others) else WordVocabulary
    order = [-1 if unknown is None else ids[unknown], ids[boundary], *(ids[t] for t in others)]
    return ForeignSymbols(kind(others, is_document=is_document), others, tuple(order))


def _named(ids: dict[str, int], given: str | None, usual: Sequence[str], what: str) -> str | None:
    """The symbol that was given, or the first of the usual ones."""
    if given is not None and given not in ids:
        raise ConfigError(f"{what}={given!r} is none of the {len(ids):,} symbols")
    return given if given is not None else next((text for text in usual if text in ids), None)
