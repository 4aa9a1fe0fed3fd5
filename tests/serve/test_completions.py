"""`/v1/completions`: texts equal to those of Python, logprobs as clients read them."""

import json
import math
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.running import all_models

FAMILIES = ["markov", "lstm", "transformer", "stream"]


def _complete(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _events(client: httpx.Client, **body: Any) -> list[Any]:
    text = client.post("/v1/completions", json={**body, "stream": True}).text
    datas = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    assert datas[-1] == "[DONE]"
    return [json.loads(data) for data in datas[:-1]]


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_are_those_of_generate(client: httpx.Client, name: str) -> None:
    lm = all_models()[name]
    answer = _complete(client, model=name, prompt=["the c", "a "], n=3, seed=7, max_tokens=12)
    expected = lm.generate(["the c", "a "], 12, samples=3, seed=7)
    texts = [choice["text"] for choice in answer["choices"]]
    whole = [
        p + t for p, some in zip(["the c", "a "], [texts[:3], texts[3:]], strict=True) for t in some
    ]
    assert whole == [text for some in expected for text in some]
    assert [choice["index"] for choice in answer["choices"]] == [*range(6)]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "how", [{"temperature": 0.7, "top_k": 3}, {"top_p": 0.6}, {"min_p": 0.2}, {"temperature": 0}]
)
def test_filters_are_those_of_generate(
    client: httpx.Client, name: str, how: dict[str, Any]
) -> None:
    answer = _complete(client, model=name, prompt="on", seed=3, max_tokens=9, **how)
    expected = all_models()[name].generate("on", 9, seed=3, **how)
    assert "on" + answer["choices"][0]["text"] == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stream_says_the_same_text_in_whole_characters(client: httpx.Client, name: str) -> None:
    body = {"model": name, "prompt": "a naïve ", "seed": 5, "max_tokens": 30, "n": 2}
    whole = _complete(client, **body)
    events = _events(client, **body, stream_options={"include_usage": True})
    usage = events.pop()
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]
    for choice in whole["choices"]:
        own = [e["choices"][0] for e in events if e["choices"][0]["index"] == choice["index"]]
        assert "".join(c["text"] for c in own) == choice["text"]
        assert [c["finish_reason"] for c in own][-1] == choice["finish_reason"]
        assert all(c["finish_reason"] is None for c in own[:-1])


def test_a_character_of_several_bytes_is_never_split(client: httpx.Client) -> None:
    """Of ids of bytes: the two bytes of é come one by one, and are said together."""
    ids = [*b"caf", *"é".encode()[:1]]
    events = _events(
        client, model="stream", prompt=ids, max_tokens=40, seed=1, temperature=0, logprobs=0
    )
    text = "".join(e["choices"][0]["text"] for e in events)
    tokens = sum(len(e["choices"][0]["logprobs"]["tokens"]) for e in events)
    assert text.encode()
    assert tokens == 40


@pytest.mark.parametrize("name", FAMILIES)
def test_echo_with_logprobs_lists_every_symbol(client: httpx.Client, name: str) -> None:
    """What lm-eval asks for: one generated symbol more than the prompt has, the first null."""
    lm = all_models()[name]
    symbols = lm.vocabulary
    ids = [symbols.boundary, *symbols.encode("the cat sat").tolist()]
    answer = _complete(
        client,
        model=name,
        prompt=[ids, ids[:4]],
        max_tokens=1,
        logprobs=1,
        echo=True,
        temperature=0,
        seed=1234,
        something_unknown={"a": 1},
    )
    for choice, own in zip(answer["choices"], [ids, ids[:4]], strict=True):
        found = choice["logprobs"]
        assert {len(values) for values in found.values()} == {len(own) + 1}
        assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
        table = lm.surprisal([symbols.decode(own[1:])])
        bits = [row.bits for row in table][: len(own) - 1]
        scored = [-p / math.log(2) for p in found["token_logprobs"][1:-1]]
        assert scored == pytest.approx(bits, abs=1e-4)
        for own_lp, top in zip(found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True):
            assert own_lp in top.values()
    assert answer["choices"][0]["logprobs"]["token_logprobs"][-1] == max(
        answer["choices"][0]["logprobs"]["top_logprobs"][-1].values()
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_the_strings_of_symbols_differ(client: httpx.Client, name: str) -> None:
    answer = _complete(client, model=name, prompt="", max_tokens=1, logprobs=20)
    lm = all_models()[name]
    (top,) = answer["choices"][0]["logprobs"]["top_logprobs"]
    assert len(top) in (20, 21)
    assert len({*lm.vocabulary.texts(np.arange(lm.vocabulary.num_symbols))}) > 20


def test_the_boundary_is_folded_once(client: httpx.Client) -> None:
    for name in FAMILIES:
        symbols = all_models()[name].vocabulary
        ids = symbols.encode("the c").tolist()
        with_boundary, without = (
            _complete(client, model=name, prompt=[p], max_tokens=5, logprobs=2, temperature=0)
            for p in ([symbols.boundary, *ids], ids)
        )
        assert with_boundary["choices"] == without["choices"]


def test_a_boundary_within_a_prompt_begins_another_line(client: httpx.Client) -> None:
    lm = all_models()["lstm"]
    ids = lm.vocabulary.encode("the cat\na dog").tolist()
    answer = _complete(
        client,
        model="lstm",
        prompt=[lm.vocabulary.boundary, *ids],
        max_tokens=0,
        logprobs=0,
        echo=True,
    )
    nats = -sum(answer["choices"][0]["logprobs"]["token_logprobs"][1:])
    table = lm.surprisal(["the cat\na dog"])
    assert nats / math.log(2) == pytest.approx(table.bits - [*table][-1].bits, abs=1e-4)


def test_max_tokens_0_with_echo_scores_alone(client: httpx.Client) -> None:
    answer = _complete(client, model="lstm", prompt="the", max_tokens=0, echo=True, logprobs=0)
    (choice,) = answer["choices"]
    assert choice["text"] == "the" and len(choice["logprobs"]["tokens"]) == 3
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}


@pytest.mark.parametrize("stop", ["t", ["x", "sat"], [], ["a", "b", "c", "d", "e", "f"]])
def test_it_ends_before_a_stop_text(client: httpx.Client, stop: Any) -> None:
    answer = _complete(client, model="markov", prompt="the c", stop=stop, seed=1, max_tokens=40)
    expected = all_models()["markov"].generate("the c", 40, stop=stop or None, seed=1)
    assert "the c" + answer["choices"][0]["text"] == expected


def test_without_a_seed_texts_differ(client: httpx.Client) -> None:
    texts = {_complete(client, model="lstm", max_tokens=20)["choices"][0]["text"] for _ in range(5)}
    assert len(texts) > 1


def test_events_continue_events(client: httpx.Client) -> None:
    symbols = all_models()["events"].vocabulary
    ids = symbols.encode(["open door"]).tolist()
    answer = _complete(client, model="events", prompt=[ids], temperature=0, max_tokens=9)
    assert answer["choices"][0]["text"].strip().startswith(("walk", "run"))
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"guided_json": {}}, "guided_json"),
        ({"tools": [{}]}, "tools"),
        ({"best_of": 3}, "best_of"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logprobs": 21}, "logprobs"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 10**6}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"seed": 0.5}, "seed"),
        ({"seed": 2**70}, "seed"),
        ({"stop": 3}, "stop"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [["a"]]}, "prompt"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    client: httpx.Client, body: dict[str, Any], name: str
) -> None:
    answer = client.post("/v1/completions", json={"model": "lstm", "prompt": "a", **body})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == name and name in error["message"]
    assert error["type"] == "invalid_request_error"


def test_values_that_change_nothing_are_taken(client: httpx.Client) -> None:
    _complete(
        client,
        model="lstm",
        prompt="a",
        max_tokens=1,
        best_of=1,
        presence_penalty=0,
        suffix=None,
        frequency_penalty=0.0,
        logit_bias={},
        response_format={"type": "text"},
        user="x",
        top_k=-1,
    )


def test_there_is_no_chat_and_the_answer_says_why(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"messages": []})
    assert answer.status_code == 404 and "/v1/completions" in answer.json()["error"]["message"]


def test_an_unknown_model_is_404(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "gpt", "prompt": "a"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
