"""Readouts of an encoder: gradients reach it, padding of one row changes no other."""

import math

import pytest
import torch

from seriatim.core.batch import Batch
from seriatim.errors import ConfigError
from seriatim.models import EncoderConfig
from seriatim.models.encoders import make_encoder
from seriatim.models.readouts import ElementLabels, SequenceLabels, SequenceNumber, UnitNormal

V, C = 7, 3


def encoder(kind: str = "lstm") -> torch.nn.Module:
    torch.manual_seed(0)
    config = EncoderConfig(encoder=kind, encoder_layers=1, model_size=8, dropout=0.0)
    return make_encoder(config, V).double()


def source(lengths: list[int]) -> Batch:
    torch.manual_seed(1)
    x = torch.randint(V, (len(lengths), max(lengths)))
    return Batch(x, x, torch.tensor(lengths))


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("readout", [SequenceLabels, ElementLabels])
def test_padding_of_one_row_changes_no_other(kind: str, readout: type[SequenceLabels]) -> None:
    model = readout(encoder(kind), C).double()
    both = source([6, 3])
    alone = Batch(both.inputs[1:, :3], both.inputs[1:, :3])
    rows = model.emit(model.features(both)).dense()[1]
    row = model.emit(model.features(alone)).dense()[0]
    assert torch.allclose(rows[: len(row)], row, atol=1e-12)


def test_every_label_counts_once_and_padding_not_at_all() -> None:
    model = ElementLabels(encoder(), C).double()
    read = source([6, 3])
    y = torch.zeros(2, 5, dtype=torch.int64)
    nats, carry = model(Batch(y, y, torch.tensor([5, 2]), source=read))
    assert carry is None
    assert nats.shape == (2, 5)
    assert bool((nats[1, 2:] == 0).all())
    expected = model.emit(model.features(read)).dense()[0, :5, 0]
    assert torch.allclose(nats[0], expected, atol=1e-12)


def test_gradients_reach_the_encoder() -> None:
    model = SequenceLabels(encoder(), C).double()
    y = torch.tensor([[0], [2]])
    nats, _ = model(Batch(y, y, source=source([4, 2])))
    nats.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.encoder.parameters())


def test_a_number_costs_its_squared_error() -> None:
    x = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found = UnitNormal(torch.tensor([0.0, 3.5], dtype=torch.float64)).log_prob(x)
    assert torch.allclose(-2 * found - math.log(2 * math.pi), torch.tensor([1.0, 0.25]).double())
    model = SequenceNumber(encoder()).double()
    y = torch.tensor([[0.5], [1.5]], dtype=torch.float64)
    nats, _ = model(Batch(y, y, source=source([4, 2])))
    assert nats.shape == (2, 1)


def test_normal_samples_by_the_inverse_of_its_distribution() -> None:
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = UnitNormal(torch.full((1000,), 2.0, dtype=torch.float64)).sample(u)
    assert float(drawn.mean()) == pytest.approx(2.0, abs=1e-9)
    assert float(drawn.var()) == pytest.approx(1.0, abs=0.01)


def test_labels_without_a_source_are_refused() -> None:
    y = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ConfigError, match="a label needs a source"):
        SequenceLabels(encoder(), C).double()(Batch(y, y))
