"""Texts to symbols and back, over HTTP: what evaluation harnesses ask before they score.

Knows vocabularies; no model.
"""

from seriatim.core.records import Json
from seriatim.serve.bodies import DetokenizeBody, TokenizeBody
from seriatim.serve.completions import check_size
from seriatim.serve.served import ServedText
from seriatim.serve.settings import ServeSettings


def tokenizer_info(served: ServedText) -> Json:
    """The names of the boundary, which begins a sequence and ends it."""
    return {
        "tokenizer_class": "seriatim",
        "model": served.name,
        "kind": served.vocabulary.kind,
        "bos_token": served.end_text,
        "eos_token": served.end_text,
        "pad_token": None,
        "bos_token_id": served.vocabulary.boundary,
        "eos_token_id": served.vocabulary.boundary,
        "vocab_size": served.vocabulary.num_symbols,
    }


def tokenize(served: ServedText, body: TokenizeBody, limits: ServeSettings) -> Json:
    """The ids of a text; the text of the boundary alone is the boundary."""
    if body.prompt == served.end_text:
        ids = [served.vocabulary.boundary]
    else:
        ids = served.encode(served.texts([body.prompt], "prompt")[0]).tolist()
    check_size(len(ids), limits, "prompt")
    answer = {
        "tokens": ids,
        "count": len(ids),
        "max_model_len": limits.max_symbols,
    }
    strings = [served.strings[i] for i in ids] if body.return_token_strs else None
    return {**answer, "token_strs": strings}


def detokenize(served: ServedText, body: DetokenizeBody, limits: ServeSettings) -> Json:
    """The text of ids."""
    check_size(len(body.tokens), limits, "tokens")
    return {"prompt": served.vocabulary.decode(served.check_ids(body.tokens, "tokens"))}
