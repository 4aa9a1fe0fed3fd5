"""Byte-pair encoding of any size (Sennrich et al. 2016), over bytes (Radford et al. 2019).

The merges are learned and applied by Hugging Face `tokenizers`; all that is kept is its own
JSON. Texts are first cut at line ends, which are always symbols alone, and then into units:
words with the space before them, runs of digits, of signs, of white space, and every 256 bytes
of a longer one, since some texts have no spaces at all. Merges stay inside of a unit.

White space that follows something else always begins a new unit, and so does what follows a run
of ASCII letters or signs. Cut there, a text is encoded in parts without changing the result;
parts are remembered, which makes encoding several times faster.

Knows texts. Does not know files.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from seriatim.data.vocab.vocabulary import (
    END,
    LINE_END,
    Ids,
    Text,
    TextDecoder,
    Utf8Decoder,
    Vocabulary,
    check_characters,
    join_texts,
    name_of_bytes,
)
from seriatim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# White_Space of Unicode, as \s is in the tokenizer's expression; Python's \s has four more.
_SPACE = "\t\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SIGNS = "!-&(-/:-@[-`{-~"  # of ASCII, without the apostrophe, which contractions begin with
_PARTS = re.compile(
    f"\n| ?[A-Za-z]+(?=[ \n{_SIGNS}]|\\Z)| ?[{_SIGNS}]+(?=[A-Za-z0-9 \n]|\\Z)"
    f"|[{_SPACE}]*[^{_SPACE}\n]+|[{_SPACE}]+"
)
_REMEMBERED = 1 << 17  # parts, of at most
_REMEMBERED_CHARACTERS = 64  # each
_FULL_TRAINING_BYTES = 1 << 24
_UNIT_BYTES = 256
_TRAINING_CHARACTERS = 1 << 12  # handed over at once: the trainer holds 256 of them
_CUT = re.compile(r"(?<=\n)|(?<=\S)(?= )")


def _byte_names() -> dict[str, int]:
    """The printable character that stands for each byte in the tokenizer's JSON.

    Bytes that Latin-1 prints stand for themselves, the others for U+0100 and on, in order.
    """
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    names = {chr(byte): byte for byte in own}
    return names | {chr(256 + i): byte for i, byte in enumerate(others)}


class _Remembered(dict[str, Sequence[int]]):
    """The ids of parts, looked up, or found and kept while there is room."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, part: str) -> Sequence[int]:
        ids: list[int] = self._tokenizer.encode(part, add_special_tokens=False).ids
        if len(self) < _REMEMBERED and len(part) <= _REMEMBERED_CHARACTERS:
            self[part] = ids
        return ids


class BPEVocabulary(Vocabulary):
    """Merged bytes; every text is known and restored exactly.

    Ids 0 .. 255 are the bytes, in the tokenizer's order, then come the merges in the order in
    which they were learned; for documents the last id is `<end>`, which the tokenizer does not
    know. The symbol of the line end is never merged with anything.

    Args:
        tokenizer: the JSON of a byte-level tokenizer, as text.
        is_document: made for documents.
    """

    kind: ClassVar[str] = "bpe"

    def __init__(self, tokenizer: str, *, is_document: bool) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError(f"this is not the JSON of a tokenizer ({error})") from None
        if not _is_ours(self._tokenizer):
            raise ConfigError("the tokenizer cuts texts by other rules than seriatim's")
        # No text may spell a special token, whatever the library adds of its own.
        self._tokenizer.encode_special_tokens = True
        self._pieces = _pieces(self._tokenizer)
        line_end = self._pieces.index(LINE_END.encode())
        if is_document:
            self._pieces.append(b"")
        self._remembered = _Remembered(self._tokenizer)
        super().__init__(
            boundary=len(self._pieces) - 1 if is_document else line_end,
            unknown=None,
            is_document=is_document,
            num_symbols=len(self._pieces),
        )

    def _sizes(self) -> tuple[ArrayLike, ArrayLike]:
        characters = [sum(b & 0xC0 != 0x80 for b in piece) for piece in self._pieces]
        return characters, [len(piece) for piece in self._pieces]

    def _encode(self, text: str) -> Ids:
        parts = map(self._remembered.__getitem__, _PARTS.findall(text))
        return np.fromiter(chain.from_iterable(parts), np.int64)

    def _decode(self, ids: Ids) -> str:
        return b"".join(map(self._pieces.__getitem__, ids.tolist())).decode("utf-8", "replace")

    def decoder(self) -> TextDecoder:
        """Completes characters of several symbols."""
        return Utf8Decoder(self._pieces)

    def name(self, symbol: int) -> str:
        """The text of the symbol, or its bytes."""
        return name_of_bytes(self._pieces[symbol]) or END

    def tokenizer_json(self) -> str:
        """The tokenizer's own file, for other programs."""
        return str(self._tokenizer.to_str())

    def to_json(self) -> dict[str, Any]:
        """The tokenizer's own JSON."""
        tokenizer = json.loads(self.tokenizer_json())
        return {"kind": self.kind, "is_document": self.is_document, "tokenizer": tokenizer}

    @classmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Vocabulary":
        """From `to_json`."""
        return cls(json.dumps(data["tokenizer"]), is_document=is_document)


def _untrained() -> "Tokenizer":
    """How texts are cut into units, without any merges."""
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


def _is_ours(tokenizer: "Tokenizer") -> bool:
    """Whether everything but what was learned is as `_untrained` makes it."""

    def rules(some: "Tokenizer") -> dict[str, Any]:
        data: dict[str, Any] = json.loads(some.to_str())
        return {**data, "model": {**data["model"], "vocab": None, "merges": None}}

    return rules(tokenizer) == rules(_untrained())


def _pieces(tokenizer: "Tokenizer") -> list[bytes]:
    """The bytes of every id, in order; all 256 single bytes are among them."""
    names = _byte_names()
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    by_id = sorted(vocabulary, key=vocabulary.__getitem__)
    if sorted(vocabulary.values()) != list(range(len(by_id))):
        raise ConfigError("the ids of the tokenizer are not 0, 1, 2 and so on")
    try:
        pieces = [bytes(names[c] for c in name) for name in by_id]
    except KeyError as error:
        raise ConfigError(f"the tokenizer is not one of bytes: it has a {error}") from None
    if len({p for p in pieces if len(p) == 1}) != 256 or pieces[0] == LINE_END.encode():
        raise ConfigError("the tokenizer lacks single bytes, or its id 0 is the line end")
    return pieces


def fit_bpe(texts: Iterable[Text], size: str, *, is_document: bool) -> BPEVocabulary:
    """Learn merges until there are `size` symbols, or nothing is left to merge.

    Memory: all of the first 16 MB are learned from, then every second piece until as much again
    is used, then every fourth, and so on; what the merges need is then bounded by the logarithm
    of the text's size.

    Raises:
        ConfigError: the size is no number, or leaves no room for the 256 bytes.
        DataError: there is no text.
    """
    from tokenizers import pre_tokenizers, trainers

    if not size.isdecimal() or int(size) < 257:
        raise ConfigError(
            f"bpe:{size} is no size: expected bpe:N, the number of symbols in all, at least 257 "
            "(256 bytes and one more), for example bpe:8000"
        )
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=int(size) - is_document,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    seen = _Counted(_thinned(join_texts(texts, LINE_END, "bpe")))
    tokenizer.train_from_iterator(seen, trainer)
    if not seen.num_characters:
        raise DataError("the text has no symbol in it but line ends: there is nothing to learn")
    return BPEVocabulary(tokenizer.to_str(), is_document=is_document)


class _Counted:
    """An iterator over texts that counts what passes."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self.num_characters = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.num_characters += len(text) - text.count(LINE_END)
            yield text


def _thinned(texts: Iterable[str]) -> Iterator[str]:
    """Short texts, of which ever fewer are taken the longer it goes on."""
    step, used = 1, 0
    for i, text in enumerate(chain.from_iterable(map(_short, texts))):
        if i % step == 0:
            check_characters(text)
            used += len(text.encode())
            yield text
            if used > _FULL_TRAINING_BYTES:
                step, used = 2 * step, 0


def _short(text: str) -> Iterator[str]:
    """The text cut where it may be cut."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + _TRAINING_CHARACTERS)
        stop = cut.end() if cut else len(text)
        yield text[start:stop]
        start = stop
