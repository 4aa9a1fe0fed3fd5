"""Sessions: equal to `stream.push`, forkable, saved and restored, bounded, and gone in time."""

import gc
import json
import math
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import seriatim as st
from seriatim.serve import Served, ServeSettings
from seriatim.serve.refusals import RefusalError
from seriatim.serve.sessions import SessionStore
from tests.serve.running import all_models, language_model, serving

FAMILIES = ["markov", "lstm", "transformer", "stream", "events"]
PIECES = {"events": ["open door", "jump", "walk"], "transformer": ["the", " cat", " sat", "\n"]}


def _post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


@pytest.mark.parametrize("name", FAMILIES)
def test_pushes_equal_those_of_a_stream(client: httpx.Client, name: str) -> None:
    stream, pieces = all_models()[name].stream(), PIECES.get(name, ["t", "he", " ", "cat"])
    session = _post(client, "/sessions", model=name)["id"]
    bits = _post(client, f"/sessions/{session}/push", elements=pieces[:1])["bits"]
    answer = _post(client, f"/sessions/{session}/push", elements=pieces[1:], end=True, top=3)
    bits += answer["bits"]
    assert bits == [*(stream.push(piece) for piece in pieces), stream.end()]
    assert answer["num_pushed"] == len(pieces)
    assert [one["symbol"] for one in answer["next"]] == [p.symbol for p in stream.top(3)]


def test_an_anomaly_is_told(client: httpx.Client) -> None:
    session = _post(client, "/sessions", model="events")["id"]
    answer = _post(client, f"/sessions/{session}/push", elements=["open door", "open door"])
    assert answer["is_anomaly"] == [False, True]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fork_and_its_origin_do_not_meet_again(client: httpx.Client, name: str) -> None:
    pieces = PIECES.get(name, ["the", " cat", " sat"])
    first = _post(client, "/sessions", model=name)["id"]
    _post(client, f"/sessions/{first}/push", elements=pieces[:1])
    second = _post(client, f"/sessions/{first}/fork")["id"]
    _post(client, f"/sessions/{first}/push", elements=[pieces[2]])
    stream = all_models()[name].stream()
    expected = [stream.push(piece) for piece in pieces[:2]]
    found = _post(client, f"/sessions/{second}/push", elements=[pieces[1]])["bits"]
    assert found == expected[1:]


def test_surprisal_and_next_push_nothing(client: httpx.Client) -> None:
    session = _post(client, "/sessions", model="lstm")["id"]
    path = f"/sessions/{session}"
    before = _post(client, f"{path}/next", top=4)
    bits = _post(client, f"{path}/surprisal", elements=["the", " cat"])["bits"]
    assert _post(client, f"{path}/next", top=4) == before
    assert _post(client, f"{path}/push", elements=["the", " cat"])["bits"] == bits


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_state_goes_on_in_another_session(client: httpx.Client, name: str) -> None:
    pieces = PIECES.get(name, ["the", " cat", " sat"])
    first = _post(client, "/sessions", model=name)["id"]
    _post(client, f"/sessions/{first}/push", elements=pieces[:2])
    state = _post(client, f"/sessions/{first}/save")["state"]
    second = _post(client, "/sessions", model=name, state=state)["id"]
    bits = [
        _post(client, f"/sessions/{one}/push", elements=[pieces[2]])["bits"]
        for one in (first, second)
    ]
    assert bits[0] == bits[1]


def test_a_state_of_another_model_is_refused(client: httpx.Client) -> None:
    session = _post(client, "/sessions", model="lstm")["id"]
    state = _post(client, f"/sessions/{session}/save")["state"]
    for body in (
        {"model": "stream", "state": state},
        {"model": "lstm", "state": state[:-8]},
        {"model": "lstm", "state": state[:200] + "AAAA" + state[204:]},
        {"model": "lstm", "state": "no base64!"},
        {"model": "lstm", "state": ""},
    ):
        answer = client.post("/sessions", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "state"


def test_elements_are_pushed_all_or_none(client: httpx.Client) -> None:
    session = _post(client, "/sessions", model="transformer")["id"]
    path = f"/sessions/{session}"
    assert client.post(f"{path}/push", json={"elements": ["th", "e"]}).status_code == 400
    assert client.get(path).json()["num_pushed"] == 0
    stream = all_models()["transformer"].stream()
    assert _post(client, f"{path}/push", elements=["the"])["bits"] == [stream.push("the")]


def test_a_deleted_session_is_gone(client: httpx.Client) -> None:
    path = f"/sessions/{_post(client, '/sessions')['id']}"
    assert client.delete(path).status_code == 204
    for method, part in [("GET", ""), ("DELETE", ""), ("POST", "/save"), ("POST", "/fork")]:
        assert client.request(method, path + part).status_code == 404


# ---- bounds -------------------------------------------------------------------------------------


def test_an_unused_session_expires() -> None:
    now = [0.0]
    store = SessionStore(ServeSettings(session_seconds=10), clock=lambda: now[0])
    served = Served({"lm": language_model("lstm")}).text(None)
    used, unused = (str(store.open("", served, None)["id"]) for _ in range(2))
    now[0] = 8.0
    store.next("", used, 1)
    now[0] = 15.0
    store.expire()
    assert len(store) == 1 and store.describe("", used)["num_pushed"] == 0
    with pytest.raises(RefusalError, match="expired"):
        store.describe("", unused)
    now[0] = 100.0
    store.expire()
    assert len(store) == 0 and store.num_bytes == 0


def test_sessions_are_bounded_in_bytes_and_in_number() -> None:
    served = Served({"tf": language_model("transformer", "document", "bpe:300")}).text(None)
    store = SessionStore(ServeSettings(session_bytes=30_000))
    with pytest.raises(RefusalError) as refused:
        [store.open("", served, None) for _ in range(100)]
    assert refused.value.status == 429 and refused.value.retry_after
    assert 0 < store.num_bytes <= 30_000
    store = SessionStore(ServeSettings(session_bytes=16_000))
    name = str(store.open("", served, None)["id"])
    with pytest.raises(RefusalError):  # a Transformer's state grows with its text
        _fill(store, name)
    assert store.num_bytes <= 16_000
    store = SessionStore(ServeSettings(max_sessions=2))
    store.open("", served, None)
    store.open("", served, None)
    with pytest.raises(RefusalError, match="2 sessions"):
        store.open("", served, None)


def _fill(store: SessionStore, name: str) -> None:
    for _ in range(400):
        store.push("", name, [" cat"] * 4, has_end=False, top=0)
        store.fork("", name)


@pytest.mark.slow
def test_ten_thousand_sessions_of_an_lstm_take_less_than_a_gigabyte() -> None:
    """States of 13.5 kB, as those of an LSTM of 2 layers of 842, with what Python adds to them."""
    lines = ["the cat sat on the mat"] * 30
    lm = st.LanguageModel(st.LSTM(hidden_size=842, num_layers=2), symbols="char", sequences="line")
    lm.fit(lines, valid=lines[:1], steps=1, score=False, callbacks=st.Callbacks())
    served = Served({"lm": lm}).text(None)
    store = SessionStore(ServeSettings())
    first = str(store.open("", served, None)["id"])
    store.push("", first, ["the cat"], has_end=False, top=0)
    state = store.save("", first)["state"]  # restored, since reading a text 10,000 times is slow
    gc.collect()
    before = _resident()
    while len(store) < 10_000:
        store.open("", served, state)
    assert store.num_bytes < 2**30
    assert _resident() - before < 2**30
    assert store.num_bytes / 10_000 > 13_500


def _resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


# ---- the WebSocket ------------------------------------------------------------------------------


def _address(client: httpx.Client, session: str) -> str:
    return f"ws://127.0.0.1:{client.base_url.port}/sessions/{session}/events"


@pytest.mark.parametrize("name", FAMILIES)
def test_events_through_a_socket_equal_pushes(client: httpx.Client, name: str) -> None:
    pieces, stream = PIECES.get(name, ["the", " cat"]), all_models()[name].stream()
    session = _post(client, "/sessions", model=name)["id"]
    with connect(_address(client, session)) as socket:
        for i, piece in enumerate(pieces):
            socket.send(json.dumps({"elements": [piece], "top": 2}))
            answer = json.loads(socket.recv())
            assert answer["bits"] == [stream.push(piece)]
            assert answer["num_pushed"] == i + 1 and len(answer["next"]) == 2
    assert client.get(f"/sessions/{session}").json()["num_pushed"] == len(pieces)


def test_a_mistake_in_a_message_is_told_and_the_socket_goes_on(client: httpx.Client) -> None:
    session = _post(client, "/sessions", model="lstm")["id"]
    with connect(_address(client, session)) as socket:
        for message in (
            "{",
            "[]",
            '{"elements": []}',
            '{"elements": [NaN]}',
            "null",
            '{"elements": [["a"]]}',
            r'{"elements": ["\ud800"]}',
        ):
            socket.send(message)
            assert "error" in json.loads(socket.recv()), message
        socket.send('{"elements": ["a"]}')
        assert math.isfinite(json.loads(socket.recv())["bits"][0])
        socket.send(b"\x00\x01")
        with pytest.raises(ConnectionClosed):
            socket.recv()


def test_a_socket_of_no_session_says_so(client: httpx.Client) -> None:
    with connect(_address(client, "nothing")) as socket:
        socket.send('{"elements": ["a"]}')
        assert json.loads(socket.recv())["error"]["code"] == "no_session"


def test_a_socket_needs_a_key_and_no_other_origin() -> None:
    key = "correct-horse-battery"
    with serving({"lm": language_model("lstm")}, keys=[key]) as client:
        headers = {"authorization": f"Bearer {key}"}
        name = client.post("/sessions", json={}, headers=headers).json()["id"]
        address = _address(client, name)
        for options in (
            {},
            {"additional_headers": {"authorization": "Bearer wrong-wrong-wrong"}},
            {"additional_headers": headers, "origin": "http://evil.example"},
            {"subprotocols": ["seriatim", "seriatim.key.wrong"]},
        ):
            with pytest.raises(InvalidStatus), connect(address, **options):
                pass
        for options in (
            {"additional_headers": headers},
            {"subprotocols": ["seriatim", f"seriatim.key.{key}"]},
        ):
            with connect(address, **options) as socket:
                socket.send('{"elements": ["a"]}')
                assert "bits" in json.loads(socket.recv())
                assert socket.subprotocol in (None, "seriatim")
