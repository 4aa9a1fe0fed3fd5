"""Byte-pair encoding of any size (Sennrich et al. 2016), over bytes (Radford et al. 2019).

Hugging Face `tokenizers` learns and applies the merges; its own JSON is all that is saved.
Texts are first cut at line ends, which are always separate symbols, and then into units: words
with the space before them, runs of digits, of signs, of white space; a unit longer than 256
bytes is cut, since some texts have no spaces at all. Merges never cross the end of a unit.

White space that follows anything else always begins a new unit, and so does whatever follows a
run of ASCII letters or signs. A text can therefore be cut there and encoded in parts without
changing the result; the ids of parts are cached, which makes encoding several times faster.

Knows texts. Does not know files.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from seriatim.core.records import Json
from seriatim.data.vocab.byte import Utf8Decoder, byte_characters, name_bytes
from seriatim.data.vocab.vocabulary import (
    END,
    LINE_END,
    Ids,
    Text,
    TextDecoder,
    Vocabulary,
    VocabularyRecord,
    check_characters,
    join_texts,
)
from seriatim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Unicode's White_Space, as \s means in the tokenizer's expression; Python's \s has four more.
_SPACE = "\t\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SIGNS = "!-&(-/:-@[-`{-~"  # of ASCII, without the apostrophe, which begins contractions
_PARTS = re.compile(
    f"\n| ?[A-Za-z]+(?=[ \n{_SIGNS}]|\\Z)| ?[{_SIGNS}]+(?=[A-Za-z0-9 \n]|\\Z)"
    f"|[{_SPACE}]*[^{_SPACE}\n]+|[{_SPACE}]+"
)
_CACHED_PARTS = 1 << 17
_CACHED_CHARACTERS = 64  # of each part, at most
_FULL_TRAINING_BYTES = 1 << 24
_UNIT_BYTES = 256
_TRAINING_CHARACTERS = 1 << 12  # of each text for the trainer, which buffers 256 texts
_CUT = re.compile(r"(?<=\n)|(?<=\S)(?= )")


class _IdsByPart(dict[str, Sequence[int]]):
    """A cache of the ids of parts, filled until it is full."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, part: str) -> Sequence[int]:
        ids: list[int] = self._tokenizer.encode(part, add_special_tokens=False).ids
        if len(self) < _CACHED_PARTS and len(part) <= _CACHED_CHARACTERS:
            self[part] = ids
        return ids


class BPEVocabulary(Vocabulary):
    """Merged bytes; every text can be represented and is restored exactly.

    Ids 0 .. 255 are the bytes, in the tokenizer's order, followed by the merges in the order in
    which they were learned; for documents the last id is `<end>`, which the tokenizer does not
    know. The line end is never merged with anything.

    Args:
        tokenizer: the JSON of a byte-level tokenizer, as text.
        is_document: whether sequences are documents.

    Raises:
        ConfigError: if it is not the JSON of such a tokenizer.
    """

    kind: ClassVar[str] = "bpe"
    joins_freely: ClassVar[bool] = False

    def __init__(self, tokenizer: str, *, is_document: bool) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError(f"its tokenizer is not the JSON of a tokenizer ({error})") from None
        if not _has_our_rules(self._tokenizer):
            raise ConfigError("its tokenizer splits texts by other rules than seriatim's")
        # Text must never be read as a special token, whatever the library adds by itself.
        self._tokenizer.encode_special_tokens = True
        self._pieces = _pieces(self._tokenizer)
        line_end = self._pieces.index(LINE_END.encode())
        if is_document:
            self._pieces.append(b"")
        self._ids_by_part = _IdsByPart(self._tokenizer)
        super().__init__(
            boundary=len(self._pieces) - 1 if is_document else line_end,
            unknown=None,
            is_document=is_document,
            num_symbols=len(self._pieces),
        )

    def _compute_sizes(self) -> tuple[ArrayLike, ArrayLike]:
        characters = [sum(b & 0xC0 != 0x80 for b in piece) for piece in self._pieces]
        return characters, [len(piece) for piece in self._pieces]

    def _encode(self, text: str) -> Ids:
        parts = map(self._ids_by_part.__getitem__, _PARTS.findall(text))
        return np.fromiter(chain.from_iterable(parts), np.int64)

    def is_joined_freely(self, before: str, after: str) -> bool:
        """False where the second piece continues a unit that the first one has begun."""
        apart = np.concatenate([self.encode(before), self.encode(after)])
        return np.array_equal(self.encode(before + after), apart)

    def _decode(self, ids: Ids) -> str:
        return b"".join(map(self._pieces.__getitem__, ids.tolist())).decode("utf-8", "replace")

    def decoder(self) -> TextDecoder:
        """A decoder that completes characters of several symbols."""
        return Utf8Decoder(self._pieces)

    def name(self, symbol: int) -> str:
        """The text of the symbol, or its bytes."""
        return name_bytes(self._pieces[symbol]) or END

    def tokenizer_json(self) -> str:
        """The tokenizer's own file, for other programs."""
        return str(self._tokenizer.to_str())

    def to_json(self) -> Json:
        """The kind and the tokenizer's own JSON."""
        tokenizer = json.loads(self.tokenizer_json())
        return {"kind": self.kind, "is_document": self.is_document, "tokenizer": tokenizer}

    @classmethod
    def from_record(cls, record: VocabularyRecord) -> "BPEVocabulary":
        """The vocabulary of this tokenizer."""
        if record.tokenizer is None:
            raise ConfigError("it has no tokenizer")
        return cls(json.dumps(record.tokenizer), is_document=record.is_document)


def _untrained() -> "Tokenizer":
    """A tokenizer that cuts texts into units, without any merges."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(LINE_END, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            pre_tokenizers.Split(Regex(f".{{1,{_UNIT_BYTES}}}"), "isolated"),
        ]
    )
    return tokenizer


def _has_our_rules(tokenizer: "Tokenizer") -> bool:
    """Whether a tokenizer equals `_untrained` in everything but what was learned."""

    def rules(tokenizer: "Tokenizer") -> Json:
        content = json.loads(tokenizer.to_str())
        return {**content, "model": {**content["model"], "vocab": None, "merges": None}}

    return rules(tokenizer) == rules(_untrained())


def _pieces(tokenizer: "Tokenizer") -> list[bytes]:
    """The bytes of every id, in order; all 256 single bytes are among them.

    Raises:
        ConfigError: if the tokenizer is not one of bytes with ids 0, 1, 2 and so on.
    """
    names = {character: byte for byte, character in enumerate(byte_characters())}
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    by_id = sorted(vocabulary, key=vocabulary.__getitem__)
    if sorted(vocabulary.values()) != list(range(len(by_id))):
        raise ConfigError("the ids of its tokenizer are not 0, 1, 2 and so on")
    try:
        pieces = [bytes(names[c] for c in name) for name in by_id]
    except KeyError as error:
        raise ConfigError(
            f"its tokenizer is not one of bytes: it has the character {error}"
        ) from None
    if len({p for p in pieces if len(p) == 1}) != 256 or pieces[0] == LINE_END.encode():
        raise ConfigError("its tokenizer lacks single bytes, or has the line end as id 0")
    return pieces


def fit_bpe(texts: Iterable[Text], size: str, *, is_document: bool) -> BPEVocabulary:
    """Learn merges until there are `size` symbols, or nothing is left to merge.

    Memory: the first 16 MB are used in full, then every second piece until as much again has
    been used, then every fourth, and so on, so that memory grows with the logarithm of the size
    of the text.

    Args:
        texts: the training texts; read once.
        size: the number of symbols in decimal digits, as in `bpe:8000`.
        is_document: whether sequences are documents.

    Raises:
        ConfigError: if the size is not a number, or leaves no room for the 256 bytes.
        DataError: if there is no text.
    """
    from tokenizers import pre_tokenizers, trainers

    if not size.isdecimal() or int(size) < 257:
        raise ConfigError(
            f"bpe:{size} has no valid size: give bpe:N with N symbols in total, at least 257 (256 "
            "bytes and one more), for example bpe:8000"
        )
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=int(size) - is_document,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    training_texts = _CountedTexts(_subsample(join_texts(texts, LINE_END, "bpe")))
    tokenizer.train_from_iterator(training_texts, trainer)
    if not training_texts.num_characters:
        raise DataError("the text has no symbols but line ends: there is nothing to learn from it")
    return BPEVocabulary(tokenizer.to_str(), is_document=is_document)


class _CountedTexts:
    """Texts whose characters are counted as they pass, without line ends."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self.num_characters = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.num_characters += len(text) - text.count(LINE_END)
            yield text


def _subsample(texts: Iterable[str]) -> Iterator[str]:
    """Short pieces of the texts, ever fewer of them as more have been used."""
    step, used = 1, 0
    for i, text in enumerate(chain.from_iterable(map(_cut_short, texts))):
        if i % step == 0:
            check_characters(text)
            used += len(text.encode())
            yield text
            if used > _FULL_TRAINING_BYTES:
                step, used = 2 * step, 0


def _cut_short(text: str) -> Iterator[str]:
    """A text in pieces of about `_TRAINING_CHARACTERS`, cut between units."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + _TRAINING_CHARACTERS)
        stop = cut.end() if cut else len(text)
        yield text[start:stop]
        start = stop
