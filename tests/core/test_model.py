"""The contract's own promises: final methods, fingerprints, and models that take no source."""

import pytest
import torch

from seriatim.core.batch import Batch
from seriatim.core.model import BoundModel, SequenceModel
from seriatim.errors import ConfigError
from tests.laws.toys import ToyAttention, ToyWindow

FINAL = [
    "forward",
    "log_prob",
    "start",
    "update",
    "step",
    "predict",
    "bind",
    "save_state",
    "load_state",
    "fingerprint",
]


@pytest.mark.parametrize("name", FINAL)
def test_overriding_a_final_method_is_refused_at_the_definition(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Broken overrides {name}, which is final"):
        type("Broken", (ToyWindow,), {name: lambda self: None})


def test_other_methods_may_be_overridden() -> None:
    assert issubclass(type("Fine", (ToyWindow,), {"reach": 1}), SequenceModel)


def test_a_boundary_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"boundary 3 is not a symbol in 0 \.\. 2"):
        ToyWindow(num_symbols=3, boundary=3)


def test_a_fingerprint_changes_with_any_weight_and_only_then() -> None:
    model = ToyAttention()
    before = model.fingerprint()
    assert ToyAttention().fingerprint() == model.fingerprint() == before
    with torch.no_grad():
        model.head.bias[0] += 1
    assert model.fingerprint() != before
    model.load_state_dict(ToyAttention().state_dict())
    assert model.fingerprint() == before


def test_a_model_without_an_encoder_refuses_a_source() -> None:
    x = torch.zeros(1, 2, dtype=torch.int64)
    for read in (
        lambda m: m.bind(Batch(x, x)),
        lambda m: m.log_prob(Batch(x, x, source=Batch(x, x))),
    ):
        with pytest.raises(ConfigError, match="ToyWindow takes no source"):
            read(ToyWindow())


def test_a_bound_model_cannot_be_bound_again() -> None:
    bound = BoundModel(ToyWindow(), torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="already bound to a source"):
        bound.start(1, memory=torch.zeros(1, 2))


def test_an_empty_chunk_leaves_the_state_as_it_is() -> None:
    model = ToyWindow()
    state = model.start(2)
    assert model.update(state, torch.zeros(2, 0, dtype=torch.int64)) is state
