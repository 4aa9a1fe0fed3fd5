"""The page of examples/browser, in Chromium and offline, generates what Python generates."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import seriatim as st
from seriatim.core.distributions import uniforms
from seriatim.export import language_model_to_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "onnxruntime-web"  # .ci/run puts it there
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
TEXT = "\n".join(f"{i} the quick brown fox jumps over the lazy dog, übel" for i in range(200))
CONFIGS = {
    "lstm": st.LSTM(hidden_size=32, learn_initial_state=True),
    "transformer": st.Transformer(model_size=32, num_layers=2, num_heads=2, context=16),
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with the page and the runtime, and the address at which it is served."""
    if not all((RUNTIME / name).exists() for name in FILES):
        pytest.skip("needs a download: onnxruntime-web in build/onnxruntime-web, see .ci/run")
    folder = tmp_path / "site"
    shutil.copytree(ROOT / "examples" / "browser", folder)
    for name in FILES:
        shutil.copy(RUNTIME / name, folder)
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_page_generates_300_symbols_as_python_does(
    name: str, site: tuple[Path, str], tmp_path: Path, chromium: Any
) -> None:
    folder, address = site
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    lm = st.LanguageModel(CONFIGS[name], symbols="char", sequences="stream")
    lm.fit(tmp_path / "text.txt", steps=60)
    language_model_to_onnx(lm, folder / "model.onnx")
    with chromium.new_context() as context:
        page = context.new_page()
        elsewhere: list[str] = []
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", "blob:", address)) or elsewhere.append(request.url)
            ),
        )
        page.goto(address)
        page.wait_for_selector("button:enabled")
        page.fill("[name=seed]", "5")
        page.click("button")
        page.get_by_text("Done:").wait_for()
        assert page.locator("pre").evaluate("e => e.textContent") == lm.generate("", 300, seed=5)
        drawn = page.evaluate(
            "import('./model.js').then(m => [0, 1, 7].map(s => m.uniform(2n ** 63n + 3n, s, s)))"
        )
        assert drawn == [float(uniforms(2**63 + 3, [s], s)[0]) for s in (0, 1, 7)]
        assert problems == []
        assert elsewhere == []


def test_the_page_says_that_there_is_no_model(site: tuple[Path, str], chromium: Any) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(site[1])
        page.get_by_text("model.onnx is not there").wait_for()
