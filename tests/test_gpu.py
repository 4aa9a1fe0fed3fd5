"""What must hold on a GPU: the laws, and the numbers of the CPU. Skipped where there is none.

SERIATIM_TEST_DEVICE=cpu tries the tests themselves on a CPU.
"""

import os
from pathlib import Path

import pytest
import torch

import seriatim as st
from seriatim.analysis.recorder import record
from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.laws.check import check_model
from seriatim.train.closed_form import ClosedForm
from tests.laws.test_families import BOUNDARY, CONFIGS, V, build

DEVICE = os.environ.get("SERIATIM_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(),
    reason="needs a GPU that torch can use: there is none here",
)
LEARNT = [name for name in CONFIGS if not isinstance(build(name), ClosedForm)]


def batch() -> Batch:
    x = torch.randint(V, (3, 9), generator=torch.Generator().manual_seed(0))
    first = torch.full((3, 1), BOUNDARY)
    return Batch(torch.cat([first, x[:, :-1]], 1), x, torch.tensor([9, 4, 1]))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_laws_hold(name: str) -> None:
    check_model(build(name).to(DEVICE), seconds=2).raise_if_broken()


@pytest.mark.parametrize("name", LEARNT)
def test_values_and_gradients_in_float32_are_those_of_the_cpu(name: str) -> None:
    found = {}
    for device in ("cpu", DEVICE):
        model = build(name).to(device)
        nats = model.log_prob(batch().to(torch.device(device)))
        nats.sum().backward()
        gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
        found[device] = (nats.detach().cpu(), gradients)
    assert torch.allclose(found["cpu"][0], found[DEVICE][0], atol=1e-4)
    for ours, theirs in zip(found["cpu"][1], found[DEVICE][1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3 * max(1.0, float(ours.abs().max())))


@pytest.mark.parametrize("name", LEARNT)
def test_a_state_saved_on_one_device_goes_on_on_the_other(name: str) -> None:
    here, there = build(name).double(), build(name).double().to(DEVICE)
    x = batch().targets
    with torch.no_grad():
        state = here.update(here.start(3), x)
        moved = tree.to(state, torch.device(DEVICE))
        step = torch.zeros(3, dtype=torch.int64)
        ours = here.predict(here.step(state, step)).dense()
        theirs = there.predict(there.step(moved, step.to(DEVICE))).dense().cpu()
    assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_recorded_is_what_the_cpu_shows(name: str) -> None:
    found = {}
    for device in ("cpu", DEVICE):
        model = build(name).double().to(device)
        with torch.no_grad(), record(model) as trace:
            _, carry = model(batch().to(torch.device(device)), keep=True)
            model.advance(carry, batch().inputs.to(device), None)
        found[device] = {n: trace[n].cpu() for n in trace.names}
    assert found["cpu"].keys() == found[DEVICE].keys()
    for key, value in found["cpu"].items():
        assert torch.allclose(value, found[DEVICE][key], atol=1e-9), key


# ---- whole tasks --------------------------------------------------------------------------------

LINES = [
    f"the {animal} sat on the {place}" for animal in ("cat", "dog") for place in ("mat", "log")
]
FAMILIES = {
    "autoregressive": st.Autoregressive(window=3, embedding_size=8, hidden_size=16),
    "rnn": st.RNN(hidden_size=16),
    "lstm": st.LSTM(hidden_size=16, num_layers=2),
    "gru": st.GRU(hidden_size=16),
    "transformer": st.Transformer(model_size=16, num_layers=2, num_heads=2, context=16),
}
SHORT = {"batch_size": 4, "length": 16, "warmup": 0}


def fitted(name: str, device: str, precision: str = "float32") -> st.LanguageModel:
    lm = st.LanguageModel(FAMILIES[name], symbols="char", sequences="line", device=device)
    options = {**SHORT, "precision": precision}
    return lm.fit(LINES * 8, valid=LINES, seed=0, steps=4, options=options)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_language_model_is_trained_scored_and_used_as_on_the_cpu(
    name: str, tmp_path: Path
) -> None:
    here, there = fitted(name, "cpu"), fitted(name, DEVICE)
    bits = there.score(LINES).bits_per_symbol
    assert bits == pytest.approx(here.score(LINES).bits_per_symbol, abs=2e-3)
    there.save(tmp_path / "model")
    back = st.load(tmp_path / "model", device="cpu")
    assert back.score(LINES).bits_per_symbol == pytest.approx(bits, abs=1e-4)
    assert len(there.generate("the ", 12, seed=1)) >= 1
    stream = there.stream()
    pushed = [stream.push(character) for character in "the cat"]
    other = back.stream()
    assert pushed == pytest.approx([other.push(character) for character in "the cat"], abs=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_training_with_bfloat16_products_comes_close(name: str) -> None:
    exact, narrow = fitted(name, DEVICE), fitted(name, DEVICE, "bf16")
    bits = [lm.score(LINES).bits_per_symbol for lm in (exact, narrow)]
    assert bits[1] == pytest.approx(bits[0], abs=0.05)


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_a_translator_searches_and_a_labeller_labels(model: str) -> None:
    pairs = [("abc", "cba"), ("bca", "acb"), ("cab", "bac"), ("bbc", "cbb")] * 4
    found = {}
    for device in ("cpu", DEVICE):
        translator = st.Translator(model, symbols="char", device=device)
        exact = {"precision": "float32"}
        translator.fit(pairs, valid=pairs, seed=0, steps=4, options=exact)
        results = translator.translate(["abc", "bb"], beam=3, num_best=2)
        found[device] = [one.log_prob for best in results for one in (best, *best.others)]
        labeller = st.Labeller(model, symbols="char", device=device)
        labeller.fit([("aab", "x"), ("bba", "y")] * 8, valid=[("ab", "x"), ("ba", "y")], steps=4)
        assert {one.label for one in labeller.label(["aab", "bba"])} <= {"x", "y"}
    assert found["cpu"] == pytest.approx(found[DEVICE], abs=2e-2)
