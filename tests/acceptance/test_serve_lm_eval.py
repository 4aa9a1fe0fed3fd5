"""lm-eval's own `local-completions` gets the scores of `seriatim score`, for three families.

A rolling log-likelihood omits the end of a text; it takes the prefix of its first window from
`/tokenize` and sends it as the first id, which must not be folded a second time.
"""

import math
from typing import Any

import numpy as np
import pytest

from tests.serve.running import LINES, language_model, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MODELS = {
    "markov": ("markov", "line", "char"),
    "lstm": ("lstm", "line", "char"),
    "lstm of a stream of bytes": ("lstm", "stream", "byte"),
    "transformer": ("transformer", "line", "char"),
    "transformer of documents of BPE": ("transformer", "document", "bpe:300"),
}
TEXTS = [*LINES, "the mat sat on a dog", "sat"]


def _client(client: Any, **options: Any) -> Any:
    pytest.importorskip("lm_eval")
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    address = f"{str(client.base_url).rstrip('/')}/v1/completions"
    return LocalCompletionsAPI(base_url=address, model="lm", max_retries=1, **options)


def _requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=i) for i, one in enumerate(arguments)
    ]


def _nats(lm: Any, text: str) -> float:
    """-ln p of a text as `seriatim score` has it, without that of its end."""
    score, stream = lm.score([text]), _symbol_stream(lm)
    for i in lm.vocabulary.encode(text).tolist():
        stream.push(i)
    end = stream.push(lm.vocabulary.boundary)  # in a stream, the line end after a text of a list
    return float(score.bits_per_symbol * score.symbols * math.log(2) - end)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"num_concurrent": 4}])
def test_rolling_scores_are_those_of_seriatim_score(name: str, options: Any) -> None:
    lm = language_model(*MODELS[name])
    with serving({"lm": lm}) as client:
        api = _client(client, **options)
        assert api.tokenizer_backend == "remote"
        found = api.loglikelihood_rolling(
            _requests("loglikelihood_rolling", [(text,) for text in TEXTS]), disable_tqdm=True
        )
    for text, nats in zip(TEXTS, found, strict=True):
        size = len(lm.vocabulary.encode(text))
        assert -nats / size == pytest.approx(_nats(lm, text) / size, abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_windows_are_scored_as_they_are_sent(name: str) -> None:
    """Each begins anew after one symbol of context."""
    lm, most = language_model(*MODELS[name]), 10
    text = "the cat sat on the mat, once upon a time"
    with serving({"lm": lm}) as client:
        api = _client(client, max_length=most + 2)
        (found,) = api.loglikelihood_rolling(
            _requests("loglikelihood_rolling", [(text,)]), disable_tqdm=True
        )
    ids, expected = lm.vocabulary.encode(text), 0.0
    for begin in range(0, len(ids), most):
        end, stream = min(begin + most, len(ids)), _symbol_stream(lm)
        for i in ids[max(end - most - 1, 0) : begin].tolist():  # a short window has more before it
            stream.push(i)
        expected += sum(stream.push(i) for i in ids[begin:end].tolist())
    assert -found / len(ids) == pytest.approx(expected / len(ids), abs=1e-5)


def _symbol_stream(lm: Any) -> Any:
    import seriatim as st

    return st.Stream(lm.model)


@pytest.mark.parametrize("name", MODELS)
def test_likelihoods_of_continuations_and_whether_they_are_greedy(name: str) -> None:
    lm = language_model(*MODELS[name])
    greedy = lm.generate("the", 3, temperature=0)[3:]
    pairs = [("the", greedy), ("the", " dog"), ("", "the cat"), ("once upon", " a time")]
    with serving({"lm": lm}) as client:
        found = _client(client).loglikelihood(_requests("loglikelihood", pairs), disable_tqdm=True)
    for (context, continuation), (log_prob, _) in zip(pairs, found, strict=True):
        before, whole = lm.vocabulary.encode(context), lm.vocabulary.encode(context + continuation)
        stream = _symbol_stream(lm)
        nats = [stream.push(i) for i in whole.tolist()]
        assert -log_prob == pytest.approx(sum(nats[len(before) :]), abs=1e-4)
    assert found[0][1] and not found[1][1]


@pytest.mark.parametrize("name", MODELS)
def test_texts_are_generated_until_a_stop(name: str) -> None:
    lm = language_model(*MODELS[name])
    arguments = [("the ", {"until": ["t"], "max_gen_toks": 20, "temperature": 0})]
    with serving({"lm": lm}) as client:
        (found,) = _client(client).generate_until(
            _requests("generate_until", arguments), disable_tqdm=True
        )
    assert "the " + found == lm.generate("the ", 20, stop=["t"], temperature=0)


@pytest.mark.parametrize("name", MODELS)
def test_the_boundary_is_a_token_of_its_own_and_not_0(name: str) -> None:
    lm = language_model(*MODELS[name])
    with serving({"lm": lm}) as client:
        info = client.get("/tokenizer_info").json()
        (first,) = client.post("/tokenize", json={"prompt": info["eos_token"]}).json()["tokens"]
        ids = client.post("/tokenize", json={"prompt": "a naïve 🐈"}).json()["tokens"]
        text = client.post("/detokenize", json={"tokens": ids}).json()["prompt"]
    assert first == info["bos_token_id"] == lm.vocabulary.boundary != 0
    assert text == "a naïve 🐈" and np.array_equal(ids, lm.vocabulary.encode("a naïve 🐈"))
