"""What a server must never do: let strangers in, give texts away, or fail at a hostile body."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from seriatim.errors import ConfigError
from seriatim.serve import Keys, ServeSettings
from tests.serve.running import language_model, serving

KEYS = ["correct-horse-battery", "another-key-of-someone"]
ROUTES = [
    ("GET", "/v1/models"),
    ("POST", "/v1/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("GET", "/tokenizer_info"),
    ("POST", "/score"),
    ("POST", "/surprisal"),
    ("POST", "/next"),
    ("POST", "/label"),
    ("POST", "/translate"),
    ("POST", "/trace"),
    ("GET", "/metrics"),
    ("POST", "/sessions"),
    ("GET", "/sessions/x"),
    ("DELETE", "/sessions/x"),
    ("POST", "/sessions/x/push"),
    ("GET", "/openapi.json"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/nothing"),
    ("POST", "/"),
    ("POST", "/page/x"),
]
CANARY = "kanarienvogel7391"


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    limits = ServeSettings(max_body=20_000, max_symbols=500, body_seconds=1.0)
    with serving({"lm": language_model("lstm")}, limits, KEYS) as client:
        yield client


def _with(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic abc", "Bearer é"])
def test_every_route_needs_a_key(
    guarded: httpx.Client, method: str, path: str, given: str | None
) -> None:
    headers = {} if given is None else {"authorization": given.encode()}
    answer = guarded.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health", "/"])
def test_health_and_the_page_need_none(guarded: httpx.Client, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 200
    assert "'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_opens(guarded: httpx.Client, key: str) -> None:
    body = {"prompt": "a", "max_tokens": 2}
    assert guarded.post("/v1/completions", json=body, headers=_with(key)).status_code == 200


def test_a_session_is_its_owners_alone(guarded: httpx.Client) -> None:
    mine, other = (_with(key) for key in KEYS)
    name = guarded.post("/sessions", json={}, headers=mine).json()["id"]
    assert guarded.get(f"/sessions/{name}", headers=mine).status_code == 200
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/fork"), ("POST", "/save")]:
        answer = guarded.request(method, f"/sessions/{name}{path}", headers=other)
        assert answer.status_code == 404


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{KEYS[0]}\n{KEYS[1]}\n")
    keys = Keys.read(file)
    assert [keys.owner(k) for k in (*KEYS, "", "# ours")] == ["key 1", "key 2", None, None]
    assert KEYS[0] not in repr(keys)
    for text in ("", "# none\n", "short\n"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="key"):
            Keys.read(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        Keys.read(tmp_path / "none")


def test_without_keys_an_empty_one_is_accepted(client: httpx.Client) -> None:
    for given in ("Bearer", "Bearer any", ""):
        assert client.get("/v1/models", headers={"authorization": given}).status_code == 200


def test_beyond_loopback_a_key_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    from seriatim.cli import main

    assert main(["serve", "model", "--host", "0.0.0.0"]) == 2
    assert "--api-key-file" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_on_loopback_only_names_of_this_machine_are_answered(
    client: httpx.Client, host: str
) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost:1"])
def test_pages_of_other_sites_are_refused(client: httpx.Client, origin: str) -> None:
    answer = client.post("/score", json={"texts": ["a"]}, headers={"origin": origin})
    assert answer.status_code == 403
    own = str(client.base_url).rstrip("/")
    answer = client.post("/score", json={"texts": ["a"]}, headers={"origin": own})
    assert answer.status_code == 200


def test_only_json_is_taken(client: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/score", content=b'{"texts":["a"]}', headers={"content-type": kind})
        assert answer.status_code == 415


# ---- hostile bodies -----------------------------------------------------------------------------

HOSTILE: list[bytes] = [
    b"",
    b"[]",
    b"null",
    b"3",
    b'"x"',
    b"{",
    b"{]",
    b"\xff\xfe",
    b"\x00",
    b"{}\x00",
    b'{"prompt": NaN}',
    b'{"prompt": "a", "temperature": NaN}',
    b'{"prompt": "a", "temperature": Infinity}',
    b'{"prompt": "a", "temperature": 1e400}',
    b'{"prompt": "a", "top_p": -1e400}',
    b'{"prompt": "a", "seed": 1e400}',
    b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}",
    b'{"prompt": "a", "max_tokens": ' + b"9" * 300 + b"}",
    rb'{"prompt": "\ud800"}',
    rb'{"prompt": ["a", "\udfff"]}',
    rb'{"\ud800": 1}',
    rb'{"prompt": "\ud83d"}',
    rb'{"stop": "\ud800", "prompt": "a"}',
    b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"[" * 9000,
    b'{"a":' * 3000,
    b'{"prompt": {"a": "b"}}',
    b'{"prompt": [[[1]]]}',
    b'{"prompt": [1, "a"]}',
    b'{"prompt": [true]}',
    b'{"prompt": [1.5]}',
    b'{"prompt": [null]}',
    b'{"prompt": [99999999999999999999]}',
    b'{"prompt": [-1]}',
    b'{"prompt": [[-1]]}',
    b'{"prompt": [2147483647]}',
    b'{"prompt": "a", "n": 1e9}',
    b'{"prompt": "a", "n": 999999}',
    b'{"prompt": "a", "stop": ["' + b"x" * 9000 + b'"]}',
    b'{"prompt": "a", "stop": [1]}',
    b'{"prompt": "a", "stop": ' + json.dumps(["a"] * 500).encode() + b"}",
    b'{"prompt": "a", "logprobs": 10000}',
    b'{"prompt": "a", "logprobs": true}',
    b'{"prompt": "a", "stream_options": 3}',
    b'{"prompt": "a", "model": ["x"]}',
    b'{"prompt": "a", "model": "../../etc/passwd"}',
    b'{"prompt": "a", "model": "\\u0000"}',
    b'{"prompt": "' + b"a" * 15_000 + b'"}',
    b'{"texts": []}',
    b'{"texts": "a"}',
    b'{"texts": [1]}',
    b'{"texts": [["a"]]}',
    b'{"texts": ["a"], "by": "paragraph"}',
    b'{"texts": [""], "top": 0}',
    b'{"tokens": ["a"]}',
    b'{"tokens": [-5]}',
    b'{"state": "!!!"}',
    b'{"state": "AAAA"}',
    b'{"elements": []}',
    b'{"elements": [[]]}',
    b'{"only": ["' + b"*" * 500 + b'"], "text": "a"}',
]
POSTED = [
    "/v1/completions",
    "/tokenize",
    "/detokenize",
    "/score",
    "/surprisal",
    "/next",
    "/label",
    "/translate",
    "/trace",
    "/sessions",
    "/sessions/nothing/push",
    "/sessions/nothing/fork",
]


@pytest.mark.parametrize("path", POSTED)
def test_hostile_bodies_get_4xx_and_never_themselves_back(
    guarded: httpx.Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {**_with(KEYS[0]), "content-type": "application/json"}
    for body in HOSTILE:
        # A key, a value and an id that the client chose; none may come back.
        body = body.replace(b'"a"', json.dumps(CANARY).encode())
        body = body.replace(b'{"', f'{{"{CANARY}": "{CANARY}", "'.encode(), 1)
        answer = guarded.post(path, content=body, headers=headers)
        assert answer.status_code < 500, (body[:80], answer.text)
        if answer.status_code >= 400:
            assert CANARY not in answer.text
            assert answer.json()["error"]["message"]
    assert CANARY not in caplog.text and "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        f"/{CANARY}",
        f"/v1/models/{CANARY}",
        f"/sessions/{CANARY}",
        f"/page/{CANARY}",
        f"/page/..%2f{CANARY}",
        f"/health?{CANARY}=1",
    ],
)
def test_paths_do_not_come_back_either(
    guarded: httpx.Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "seriatim.serve")
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", CANARY.upper()):
        answer = guarded.request(method, path, headers=_with(KEYS[0]))
        assert answer.status_code < 500
        assert CANARY not in answer.text.lower()
    assert CANARY not in caplog.text.lower()


def test_a_fault_of_ours_says_nothing_and_logs_where_without_texts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from seriatim.serve import own_routes

    def fails(*args: Any) -> None:
        raise ValueError(f"{CANARY} in a message")

    monkeypatch.setattr(own_routes, "score", fails)
    with serving({"lm": language_model("lstm")}) as client:
        answer = client.post("/score", json={"texts": [CANARY]})
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "ValueError at test_safety.py" in caplog.text
    assert CANARY not in answer.text + caplog.text


def test_a_model_that_fails_in_a_step_ends_its_rows_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.serve.rows import RunningBatch

    step, calls = RunningBatch.step, []

    def fails(self: RunningBatch) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError(CANARY)
        step(self)

    monkeypatch.setattr(RunningBatch, "step", fails)
    with serving({"lm": language_model("lstm")}) as client:
        body = {"prompt": "a", "max_tokens": 50, "temperature": 0.1, "seed": 1}
        assert client.post("/v1/completions", json=body).status_code == 500
        calls[:] = [1] * 10
        assert client.post("/v1/completions", json=body).status_code == 200
        calls[:] = []
        text = client.post("/v1/completions", json={**body, "stream": True}).text
    events = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    assert json.loads(events[-2])["error"]["type"] == "server_error" and events[-1] == "[DONE]"
    assert CANARY not in caplog.text + text


# ---- limits -------------------------------------------------------------------------------------


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(guarded: httpx.Client) -> None:
    headers = {**_with(KEYS[0]), "content-type": "application/json"}

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 1000

    assert guarded.post("/score", content=b" " * 30_000, headers=headers).status_code == 413
    assert guarded.post("/score", content=pieces(), headers=headers).status_code == 413


def test_too_many_symbols_are_refused(guarded: httpx.Client) -> None:
    headers = _with(KEYS[0])
    for path, body in [
        ("/v1/completions", {"prompt": "a" * 501}),
        ("/v1/completions", {"prompt": [[2] * 300, [2] * 300]}),
        ("/score", {"texts": ["a" * 300, "a" * 300]}),
        ("/next", {"prompt": "a" * 501}),
        ("/tokenize", {"prompt": "a" * 501}),
        ("/detokenize", {"tokens": [2] * 501}),
    ]:
        assert guarded.post(path, json=body, headers=headers).status_code == 413


def test_a_body_that_does_not_come_is_given_up(guarded: httpx.Client) -> None:
    url = guarded.base_url
    with socket.create_connection((url.host, url.port or 0), timeout=20) as one:
        head = (
            f"POST /score HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {KEYS[0]}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        one.sendall(head.encode())
        assert b" 408 " in one.recv(1000)


def test_more_requests_than_allowed_get_429_with_retry_after() -> None:
    limits = ServeSettings(max_requests=1)
    with serving({"lm": language_model("lstm")}, limits) as client:
        url = client.base_url
        with socket.create_connection((url.host, url.port or 0)) as slow:
            slow.sendall(
                f"POST /score HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
                "Content-Length: 100\r\n\r\n{".encode()
            )
            for _ in range(100):
                answer = client.post("/score", json={"texts": ["a"]})
                if answer.status_code == 429:
                    break
                time.sleep(0.01)
            assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
            assert client.get("/health").status_code == 200
        for _ in range(200):
            if client.post("/score", json={"texts": ["a"]}).status_code == 200:
                break
            time.sleep(0.01)
        assert client.post("/score", json={"texts": ["a"]}).status_code == 200


def test_work_beyond_its_time_is_given_up() -> None:
    limits = ServeSettings(request_seconds=0.05)
    with serving({"lm": language_model("lstm", "stream", "byte")}, limits) as client:
        body = {"prompt": "a", "max_tokens": 4000}
        assert client.post("/v1/completions", json=body).status_code == 503
        text = client.post("/v1/completions", json={**body, "stream": True}).text
        assert '"error"' in text and text.endswith("data: [DONE]\n\n")


def test_a_text_that_looks_like_a_file_is_a_text(client: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "secret.txt"
    file.write_text("x")
    for path, body in [
        ("/score", {"texts": [str(file), "notes.txt"]}),
        ("/surprisal", {"texts": [str(file)]}),
        ("/next", {"prompt": str(file)}),
        ("/trace", {"text": str(file)}),
        ("/label", {"texts": [str(file)]}),
        ("/translate", {"texts": [str(file)]}),
    ]:
        assert client.post(path, json=body).status_code == 200, path


@pytest.mark.parametrize("name", ["max_body", "max_symbols", "session_seconds"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        ServeSettings(**{name: 0})
