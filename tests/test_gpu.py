"""What must hold on a GPU: the laws, and the numbers of the CPU. Skipped where there is none."""

import pytest
import torch

from seriatim.analysis.recorder import record
from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.laws.check import check_model
from seriatim.train.closed_form import ClosedForm
from tests.laws.test_families import BOUNDARY, CONFIGS, V, build

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that torch can use: there is none here"
)
LEARNT = [name for name in CONFIGS if not isinstance(build(name), ClosedForm)]


def batch() -> Batch:
    x = torch.randint(V, (3, 9), generator=torch.Generator().manual_seed(0))
    first = torch.full((3, 1), BOUNDARY)
    return Batch(torch.cat([first, x[:, :-1]], 1), x, torch.tensor([9, 4, 1]))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_laws_hold(name: str) -> None:
    check_model(build(name).to("cuda"), seconds=2).raise_if_broken()


@pytest.mark.parametrize("name", LEARNT)
def test_values_and_gradients_in_float32_are_those_of_the_cpu(name: str) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        model = build(name).to(device)
        nats = model.log_prob(batch().to(torch.device(device)))
        nats.sum().backward()
        gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
        found[device] = (nats.detach().cpu(), gradients)
    assert torch.allclose(found["cpu"][0], found["cuda"][0], atol=1e-4)
    for ours, theirs in zip(found["cpu"][1], found["cuda"][1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3 * max(1.0, float(ours.abs().max())))


@pytest.mark.parametrize("name", LEARNT)
def test_a_state_saved_on_one_device_goes_on_on_the_other(name: str) -> None:
    here, there = build(name).double(), build(name).double().to("cuda")
    x = batch().targets
    with torch.no_grad():
        state = here.update(here.start(3), x)
        moved = tree.to(state, torch.device("cuda"))
        step = torch.zeros(3, dtype=torch.int64)
        ours = here.predict(here.step(state, step)).dense()
        theirs = there.predict(there.step(moved, step.to("cuda"))).dense().cpu()
    assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_recorded_is_what_the_cpu_shows(name: str) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        model = build(name).double().to(device)
        with torch.no_grad(), record(model) as trace:
            _, carry = model(batch().to(torch.device(device)), keep=True)
            model.advance(carry, batch().inputs.to(device), None)
        found[device] = {n: trace[n].cpu() for n in trace.names}
    assert found["cpu"].keys() == found["cuda"].keys()
    for key, value in found["cpu"].items():
        assert torch.allclose(value, found["cuda"][key], atol=1e-9), key
