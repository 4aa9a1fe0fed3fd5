"""`python -m benchmarks.serve`: a server under load, as ratios within one run.

A server of its own process holds an LSTM and a Transformer of the given sizes, with weights as they
are made. Clients are coroutines of this process that keep their connections and speak plain HTTP,
so that they cost little. Every figure stands beside one of the same run:

    latency      p50 and p99 of each route, one request at a time, over those of an empty route
                 (`/health`) of the same server
    throughput   symbols per second at 1, 8 and 32 clients, over that of one client; each client
                 asks for the next completion when it has its last
    leaving      seconds from the moment at which clients close their connections until no row of
                 theirs is left

The last line is JSON. Run it on a quiet machine.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.processor import processor_name

CLIENTS = (1, 8, 32)
TEXT = "".join(chr(c) for c in range(32, 127)) + "\n"


# ---- a client that costs little ------------------------------------------------------------------


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> "Client":
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    def send(self, method: str, path: str, body: Any = None) -> None:
        """Send a request."""
        content = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if content else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(content)}"
        )
        self.writer.write(head.encode() + b"\r\n\r\n" + content)

    async def call(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of an answer."""
        self.send(method, path, body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        content = await self.reader.readexactly(int(found[1])) if found else b""
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError((head + content).decode())
        return content

    def close(self) -> None:
        """Close the connection at once."""
        self.writer.close()


# ---- measures ------------------------------------------------------------------------------------


def _percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": statistics.median(seconds), "p99": cuts[98]}


async def latencies(port: int, count: int) -> dict[str, dict[str, float]]:
    """p50 and p99 of each route, one request at a time, the routes taking turns."""
    client = await Client(port).open()
    session = json.loads(await client.call("POST", "/sessions", {"model": "lstm"}))["id"]
    one = {"prompt": "the cat sat", "max_tokens": 1, "temperature": 0}
    routes: dict[str, tuple[str, str, Any]] = {
        "empty": ("GET", "/health", None),
        "tokenize": ("POST", "/tokenize", {"prompt": "the cat sat"}),
        "next": ("POST", "/next", {"model": "lstm", "prompt": "the cat sat"}),
        "score": ("POST", "/score", {"model": "lstm", "texts": ["the cat sat on the mat"]}),
        "push": ("POST", f"/sessions/{session}/push", {"elements": ["a"]}),
        "completion of 1, lstm": ("POST", "/v1/completions", {"model": "lstm", **one}),
        "completion of 1, transformer": (
            "POST",
            "/v1/completions",
            {"model": "transformer", **one},
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in routes}
    for i in range(count + 10):
        for name, route in routes.items():
            began = time.perf_counter()
            await client.call(*route)
            if i >= 10:
                taken[name].append(time.perf_counter() - began)
    client.close()
    return {name: _percentiles(seconds) for name, seconds in taken.items()}


async def throughput(port: int, model: str, clients: int, seconds: float, length: int) -> float:
    """Symbols per second of clients that each ask for one completion after another."""
    end, done = time.perf_counter() + seconds, 0

    async def ask(number: int) -> None:
        nonlocal done
        client, count = await Client(port).open(), 0
        while time.perf_counter() < end:
            body = {
                "model": model,
                "prompt": "the cat sat on",
                "max_tokens": length,
                "seed": 1000 * number + count,
            }
            answer = json.loads(await client.call("POST", "/v1/completions", body))
            count += 1
            if time.perf_counter() < end:
                done += answer["usage"]["completion_tokens"]
        client.close()

    await asyncio.gather(*(ask(i) for i in range(clients)))
    return done / seconds


async def leaving(port: int, model: str, clients: int) -> dict[str, float]:
    """Seconds until nothing is computed for clients that have left, streaming or not."""
    watcher, taken = await Client(port).open(), {}

    async def rows() -> float:
        text = (await watcher.call("GET", "/metrics")).decode()
        found = re.search(r"^seriatim_running_rows (\S+)$", text, re.M)
        assert found
        return float(found[1])

    for is_streamed in (True, False):
        body = {"model": model, "prompt": "a", "max_tokens": 4000, "stream": is_streamed}
        gone = [await Client(port).open() for _ in range(clients)]
        for client in gone:
            client.send("POST", "/v1/completions", body)
        while await rows() < clients:
            await asyncio.sleep(0.005)
        began = time.perf_counter()
        for client in gone:
            client.close()
        while await rows():
            await asyncio.sleep(0.005)
        taken["streaming" if is_streamed else "not streaming"] = time.perf_counter() - began
    watcher.close()
    return taken


# ---- the server ----------------------------------------------------------------------------------


def make_models(folder: Path, hidden: int, size: int, layers: int, context: int) -> None:
    """Save the two models; streams, so that no text ends before its length."""
    import seriatim as st

    lines = [TEXT] * 20
    for name, config in {
        "lstm": st.LSTM(hidden_size=hidden),
        "transformer": st.Transformer(
            model_size=size, num_layers=layers, num_heads=4, context=context
        ),
    }.items():
        lm = st.LanguageModel(config, symbols="char", sequences="stream")
        lm.fit(lines, valid=lines[:1], steps=1, score=False, callbacks=st.Callbacks())
        lm.save(folder / name)


def start(folder: Path) -> "tuple[subprocess.Popen[str], int]":
    """A server of both models, and its port."""
    command = [sys.executable, "-m", "seriatim", "serve", str(folder / "lstm")]
    process = subprocess.Popen(
        [*command, str(folder / "transformer"), "--port", "0", "--quiet"],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"on http://.*:(\d+)$", line):
            return process, int(found[1])
    raise RuntimeError("the server has not started")


async def measure(port: int, options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    results: dict[str, Any] = {"latency": await latencies(port, options.count)}
    empty = results["latency"]["empty"]
    for name, found in results["latency"].items():
        ratios = " ".join(f"{k} {found[k] / empty[k]:6.2f} x" for k in found)
        print(f"{name:32s} {ratios}   (p50 {1000 * found['p50']:.2f} ms)", flush=True)
    for model in ("lstm", "transformer"):
        await throughput(port, model, 2, 0.5, 16)
        rates = {
            n: await throughput(port, model, n, options.seconds, options.length) for n in CLIENTS
        }
        results[model] = rates
        shown = ", ".join(f"{n} clients {r / rates[1]:.2f} x" for n, r in rates.items())
        print(f"{model}: {shown}   ({rates[1]:,.0f} symbols/s with one)", flush=True)
    results["leaving"] = await leaving(port, "lstm", 8)
    for name, seconds in results["leaving"].items():
        print(f"clients that leave, {name}: nothing runs after {seconds:.3f} s")
    return results


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--count", type=int, default=300, help="requests of each route")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each throughput")
    parser.add_argument("--length", type=int, default=64, help="symbols of a completion")
    parser.add_argument("--models", type=Path, help="a folder of models made before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.models or Path(temporary)
        if not (folder / "lstm").exists():
            make_models(folder, options.hidden, options.size, options.layers, options.context)
        process, port = start(folder)
        try:
            results = asyncio.run(measure(port, options))
        finally:
            process.terminate()
            process.wait(timeout=30)
    print(json.dumps({"processor": processor_name(), **results}))


if __name__ == "__main__":
    main()
