"""Hostile bodies against a server of its own process: only 4xx, and nothing of them in its log."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.served_process import ServedProcess, served
from tests.serve.running import event_model, labeller, language_model, translator
from tests.serve.test_safety import CANARY, HOSTILE, POSTED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    tasks = {
        "lstm": language_model("lstm"),
        "events": event_model(),
        "translator": translator(),
        "labeller": labeller(),
    }
    with served(tasks, tmp_path_factory.mktemp("served"), "--max-symbols", "2000") as running:
        yield running
        log = running.log.read_text("utf-8")
        assert CANARY not in log.lower() and "Traceback" not in log
        assert str(running.log.parent) not in log


def _hostile(seed: int) -> Iterator[bytes]:
    """The list, and bodies that are nearly right, cut, joined and altered."""
    chosen = random.Random(seed)
    right = [
        b'{"prompt": "CANARY", "max_tokens": 3, "stream": true}',
        b'{"texts": ["CANARY", "b"], "by": "word"}',
        b'{"elements": ["CANARY"], "top": 3}',
        b'{"text": "CANARY", "only": ["CANARY"]}',
        b'{"tokens": [1, 2, 3], "CANARY": 1}',
        b'{"prompt": [[1, 2], [3]], "echo": true, "logprobs": 2, "n": 2}',
    ]
    yield from HOSTILE
    for _ in range(40):
        body = bytearray(chosen.choice(right))
        for _ in range(chosen.randint(1, 4)):
            at = chosen.randrange(len(body))
            what = chosen.choice([b"", b"\xff", b"\\ud800", b"1e999", b'"', b"[", b"{", b"-", b"0"])
            body[at : at + chosen.randint(0, 3)] = what
        yield bytes(body)


@pytest.mark.parametrize("path", POSTED)
def test_hostile_bodies_get_no_5xx_and_a_canary_stays_where_it_is(
    process: ServedProcess, path: str
) -> None:
    with process.client(headers={"content-type": "application/json"}) as client:
        for body in _hostile(len(path)):
            body = body.replace(b"CANARY", CANARY.encode()).replace(
                b'"a"', b'"%s"' % CANARY.encode()
            )
            answer = client.post(path, content=body)
            assert answer.status_code < 500, (body[:200], answer.text)
            if answer.status_code >= 400:
                assert CANARY not in answer.text


def test_bytes_that_are_no_http_do_no_harm(process: ServedProcess) -> None:
    host, port = process.address.removeprefix("http://").split(":")
    chosen = random.Random(1)
    for _ in range(40):
        with socket.create_connection((host, int(port)), timeout=10) as one:
            one.sendall(f"GET /{CANARY} HTTP/9.9\r\n{CANARY}: ".encode() + chosen.randbytes(200))
            one.shutdown(socket.SHUT_WR)
            assert CANARY.encode() not in one.recv(10_000)
    with process.client() as client:
        assert client.get("/health").status_code == 200


@pytest.mark.filterwarnings("ignore")
def test_no_request_that_the_schema_allows_fails(process: ServedProcess) -> None:
    """schemathesis makes requests from /openapi.json, those that fit it and those that do not."""
    schemathesis = pytest.importorskip("schemathesis")
    hypothesis = pytest.importorskip("hypothesis")
    schema = schemathesis.openapi.from_url(f"{process.address}/openapi.json")
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def call(case: Any) -> None:
            answer = case.call(timeout=60)
            assert answer.status_code < 500, answer.text

        call()
        count += 1
    assert count > 15


def test_the_log_has_a_line_for_each_request(process: ServedProcess, tmp_path: Path) -> None:
    with process.client() as client:
        client.post("/score", json={"texts": ["a"]})
        client.get(f"/{CANARY}")
    log = process.log.read_text("utf-8")
    assert " POST /score 200 " in log and " GET none 404 " in log
