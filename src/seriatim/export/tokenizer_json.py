"""Vocabularies as `tokenizer.json`, which the library tokenizers and everything on it reads.

Byte-pair encoding is that library's own. Characters, words and bytes are a table of whole symbols
behind a rule that cuts the text; the result encodes and decodes as the vocabulary does, and puts
the boundary first, as a model is always fed.

Knows vocabularies; no model.
"""

import json
from typing import Any

from seriatim.core.records import Json
from seriatim.data.vocab.bpe import BPEVocabulary
from seriatim.data.vocab.byte import ByteVocabulary, byte_characters
from seriatim.data.vocab.char import CharVocabulary
from seriatim.data.vocab.vocabulary import END, LINE_END, Vocabulary
from seriatim.data.vocab.word import WordVocabulary
from seriatim.errors import ConfigError

_SPACES = r"[ \t]+"


def tokenizer_json(vocabulary: Vocabulary) -> Json:
    """The JSON of a tokenizer that encodes text as a vocabulary does, with the boundary first.

    Raises:
        ConfigError: a text cannot be cut into these symbols: events with spaces in their names,
            and decomposed characters.
    """
    if isinstance(vocabulary, BPEVocabulary):
        tokenizer: dict[str, Any] = json.loads(vocabulary.tokenizer_json())
        names = {i: token for token, i in tokenizer["model"]["vocab"].items()}
        tokenizer["decoder"] = _BYTES
        end = names.get(vocabulary.boundary, END)
        if vocabulary.boundary not in names:
            tokenizer["added_tokens"] = [*tokenizer.get("added_tokens", ()), _added(vocabulary)]
    elif vocabulary.has_spaces or vocabulary.kind not in _RULES:
        raise ConfigError(
            f"a tokenizer.json cuts text into symbols, and these symbols ({vocabulary.kind}) "
            "cannot be cut from a text: fit with other symbols"
        )
    else:
        tokens = _tokens(vocabulary)
        end = tokens[vocabulary.boundary]
        tokenizer = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(vocabulary)] if vocabulary.is_document else [],
            "normalizer": None,
            **_RULES[vocabulary.kind],
            "model": {
                "type": "WordLevel",
                "vocab": {token: i for i, token in enumerate(tokens)},
                "unk_token": tokens[vocabulary.unknown or 0],
            },
        }
    tokenizer["post_processor"] = _boundary_first(end, vocabulary.boundary)
    return tokenizer


def vocabulary_from_tokenizer_json(tokenizer: Any) -> Vocabulary | None:
    """The inverse of `tokenizer_json`; None: it cuts texts by other rules than our vocabularies."""
    try:
        model, added = tokenizer["model"], tokenizer.get("added_tokens") or []
        is_document = any(token["content"] == END for token in added)
        if model["type"] == "BPE":
            plain = {**tokenizer, "added_tokens": [], "decoder": None, "post_processor": None}
            return BPEVocabulary(json.dumps(plain), is_document=is_document)
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        cut = tokenizer["pre_tokenizer"]
    except (KeyError, TypeError, AttributeError, ConfigError):
        return None
    kinds = [kind for kind, rules in _RULES.items() if rules["pre_tokenizer"] == cut]
    if kinds == ["byte"]:
        return ByteVocabulary(is_document=is_document)
    if kinds == ["char"]:
        return CharVocabulary(tokens[2:], is_document=is_document)
    return WordVocabulary(tokens[2:], is_document=is_document) if kinds == ["word"] else None


def end_token(vocabulary: Vocabulary) -> str | None:
    """The token that ends documents; None: the line end does, which is text as any other."""
    return END if vocabulary.is_document else None


def _tokens(vocabulary: Vocabulary) -> list[str]:
    if vocabulary.kind == "byte":
        names = byte_characters()
        return [*names, END] if vocabulary.is_document else names
    symbols = range(vocabulary.num_symbols)
    texts = [vocabulary.decode([i]) for i in symbols]
    if vocabulary.unknown is not None:
        texts[vocabulary.unknown] = vocabulary.name(vocabulary.unknown)
    texts[vocabulary.boundary] = END if vocabulary.is_document else LINE_END
    return texts


def _added(vocabulary: Vocabulary) -> Json:
    """The end of a document, which no text contains."""
    return {
        "id": vocabulary.boundary,
        "content": END,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _boundary_first(token: str, boundary: int) -> Json:
    first: dict[str, Any] = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, *({"Sequence": {"id": part, "type_id": 0}} for part in "AB")],
        "special_tokens": {token: {"id": token, "ids": [boundary], "tokens": [token]}},
    }


def _split(pattern: Json, behavior: str) -> Json:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


_BYTES: Json = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": False,
    "use_regex": False,
}
_EVERY_CHARACTER = _split({"Regex": r"[\s\S]"}, "Isolated")
# How each kind cuts a text, and how it joins symbols.
_RULES: dict[str, Json] = {
    "char": {"pre_tokenizer": _EVERY_CHARACTER, "decoder": {"type": "Fuse"}},
    "byte": {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_BYTES, _EVERY_CHARACTER]},
        "decoder": _BYTES,
    },
    "word": {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                _split({"Regex": _SPACES}, "Removed"),
                _split({"String": LINE_END}, "Isolated"),
            ],
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                # It puts a space before every token but the first; no word begins with its prefix.
                {"type": "WordPiece", "prefix": LINE_END * 2, "cleanup": False},
                {"type": "Fuse"},
                {"type": "Replace", "pattern": {"Regex": " *\n *"}, "content": LINE_END},
            ],
        },
    },
}
