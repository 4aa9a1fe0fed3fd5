"""A server of its own process: the same alone and together, clients that leave, sessions that are
restored in another process."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.served_process import served
from tests.serve.running import event_model, language_model

pytestmark = pytest.mark.slow
FAMILIES = ("lstm", "markov", "transformer")


def _models() -> dict[str, Any]:
    return {**{name: language_model(name) for name in FAMILIES}, "events": event_model()}


def _texts(client: httpx.Client, body: dict[str, Any]) -> list[str]:
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return [choice["text"] for choice in answer.json()["choices"]]


def _rows(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.split("\n")
    return float(
        next(line for line in lines if line.startswith("seriatim_running_rows ")).split()[1]
    )


def test_texts_are_the_same_alone_and_among_32_clients(tmp_path: Path) -> None:
    bodies = [
        {
            "model": FAMILIES[i % 3],
            "prompt": ["the", "a d", "", "on the mat"][i % 4],
            "seed": i,
            "n": 1 + i % 2,
            "max_tokens": 5 + 3 * i % 20,
            "temperature": [1.0, 0.7, 0.0][i % 3],
        }
        for i in range(64)
    ]
    with served(_models(), tmp_path, "--quiet") as process, process.client() as client:
        alone = [_texts(client, body) for body in bodies]
        with ThreadPoolExecutor(32) as pool:
            together = list(pool.map(lambda body: _texts(client, body), bodies))
    assert together == alone


@pytest.mark.parametrize("is_streamed", [True, False])
def test_nothing_runs_for_clients_that_have_left(tmp_path: Path, is_streamed: bool) -> None:
    options = "--quiet", "--max-tokens", "100000000"
    models = {"stream": language_model("lstm", "stream", "byte")}
    with served(models, tmp_path, *options) as process, process.client() as client:
        host, port = process.address.removeprefix("http://").split(":")
        body = {"prompt": "a", "max_tokens": 10**8, "n": 2, "stream": is_streamed}
        content = json.dumps(body)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        connections = [socket.create_connection((host, int(port))) for _ in range(8)]
        for one in connections:
            one.sendall((head + content).encode())
        _wait(lambda: _rows(client) == 16)
        for one in connections:
            one.close()
        _wait(lambda: _rows(client) == 0)
        assert len(_texts(client, {"prompt": "a", "max_tokens": 3})) == 1


def _wait(is_so: Any) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to that")


def test_sessions_equal_streams_and_go_on_in_another_process(tmp_path: Path) -> None:
    pieces = {"events": ["open door", "walk", "close door"]}
    saved = {}
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        models = _models()
        with served(models, tmp_path / folder, "--quiet") as process, process.client() as client:
            for name, lm in models.items():
                own, stream = pieces.get(name, ["the", " cat", " sat"]), lm.stream()
                bits = [stream.push(piece) for piece in own]
                begin, end = (own[:2], bits[:2]) if folder == "first" else (own[2:], bits[2:])
                body = {"model": name, **({"state": saved[name]} if saved.get(name) else {})}
                session = client.post("/sessions", json=body).json()["id"]
                path = f"/sessions/{session}"
                found = client.post(f"{path}/push", json={"elements": begin}).json()["bits"]
                assert found == pytest.approx(end, abs=1e-5)
                saved[name] = client.post(f"{path}/save").json()["state"]
                assert client.delete(path).status_code == 204
