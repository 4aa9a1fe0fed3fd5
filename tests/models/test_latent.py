"""Any cell of a few lines becomes a model; a mistake in a cell is reported in one sentence."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError, ContractError
from seriatim.laws.check import check_model
from seriatim.layers.cells import Cell, LSTMCell
from seriatim.models import LSTM, Latent
from seriatim.models.build import build_model
from seriatim.models.latent import LatentModel
from seriatim.models.recurrent import Recurrent

V, E, D, B, L = 7, 3, 5, 4, 9
EXACT = {"rtol": 0.0, "atol": 1e-12}
RAGGED = torch.tensor([L, 0, 1, 6])


class Leaky(Cell):
    """h_t = a h_{t-1} + (1 - a) tanh(W x_t + U h_{t-1}): a user's cell with an option."""

    def __init__(self, input_size: int, hidden_size: int, leak: float = 0.5) -> None:
        super().__init__(input_size, hidden_size)
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)
        self.leak = leak

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.leak * h + (1 - self.leak) * self.mix(torch.cat([h, x], -1)).tanh()


class Counting(Cell):
    """A state that is a dict of tensors of several types and shapes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.key = nn.Linear(input_size, hidden_size)

    def initial(self, batch_size: int) -> Any:
        size = self.hidden_size
        return {
            "sum": torch.zeros(batch_size, size, 2),
            "steps": torch.zeros(batch_size, dtype=torch.int64),
        }

    def forward(self, h: Any, x: Tensor) -> Any:
        k = self.key(x)
        return {"sum": h["sum"] + torch.stack([k, k.sin()], -1), "steps": h["steps"] + 1}

    def output(self, h: Any) -> Tensor:
        mean: Tensor = h["sum"].sum(-1) / h["steps"][:, None]
        return mean


CONFIGS = [
    Latent(cell=Leaky, hidden_size=D, embedding_size=E, options={"leak": 0.7}),
    Latent(cell=Counting, hidden_size=D),
    Latent(cell=LSTMCell, hidden_size=D),
]


@pytest.fixture(params=CONFIGS, ids=lambda c: c.cell.__name__)
def model(request: pytest.FixtureRequest) -> SequenceModel:
    return built(request.param)


def built(config: Latent) -> LatentModel:
    torch.manual_seed(0)
    model = build_model(config, V, 1).double()
    assert isinstance(model, LatentModel)
    return model.eval()


def symbols(*shape: int, seed: int = 2) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


def test_the_textbook_lstm_as_a_users_cell_equals_the_lstm_on_fused_kernels() -> None:
    latent = built(Latent(cell=LSTMCell, hidden_size=D, embedding_size=E))
    fused = build_model(LSTM(hidden_size=D, embedding_size=E), V, 1).double()
    assert isinstance(fused, Recurrent)
    fused.load_state_dict(
        {k.replace("cell.", "layers.0."): v for k, v in latent.state_dict().items()}
    )
    batch = Batch(symbols(B, L), symbols(B, L, seed=4), RAGGED)
    torch.testing.assert_close(latent.log_prob(batch), fused.log_prob(batch), **EXACT)


def test_options_reach_the_cell() -> None:
    cell = built(CONFIGS[0]).cell
    assert isinstance(cell, Leaky)
    assert (cell.leak, cell.input_size, cell.hidden_size) == (0.7, E, D)


@pytest.mark.parametrize("keep", [True, False])
def test_padding_changes_neither_scores_nor_gradients(model: SequenceModel, keep: bool) -> None:
    padding = torch.arange(L) >= RAGGED[:, None]
    results = []
    for seed in (5, 6):
        x = torch.where(padding, symbols(B, L, seed=seed), symbols(B, L))
        scores, _ = model(Batch(x, symbols(B, L, seed=4), RAGGED), keep=keep)
        results.append((scores, torch.autograd.grad(scores.sum(), model.parameters())))
    torch.testing.assert_close(*results, **EXACT)


def test_an_initial_state_in_another_precision_is_brought_to_that_of_the_weights() -> None:
    carry = built(CONFIGS[1]).empty(B)
    assert (carry["sum"].dtype, carry["steps"].dtype) == (torch.float64, torch.int64)


def test_a_state_of_a_users_cell_survives_as_bytes(model: SequenceModel) -> None:
    state = model.update(model.start(B), symbols(B, 4))
    loaded = model.load_state(model.save_state(state))
    torch.testing.assert_close(tree.leaves(loaded), tree.leaves(state), rtol=0, atol=0)


# ---- mistakes -----------------------------------------------------------------------------------


class Growing(Leaky):
    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return torch.cat([h, x], -1)


class Restructuring(Leaky):
    def forward(self, h: Tensor, x: Tensor) -> Any:  # type: ignore[override]
        return super().forward(h, x), h


class InPlace(Leaky):
    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return h.add_(1)


class TimeFirst(Leaky):
    def initial(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, self.hidden_size)


class Stateless(Leaky):
    def initial(self, batch_size: int) -> Any:
        return None


class Wide(Leaky):
    def output(self, h: Tensor) -> Tensor:
        return torch.cat([h, h], -1)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (Growing, r"turns a state \(4, 5\) into \(4, 10\): keep the structure"),
        (Restructuring, r"turns a state \(4, 5\) into \(\(4, 5\), \(4, 5\)\)"),
        (InPlace, "changes its state in place"),
        (TimeFirst, r"initial\(4\) returns \(1, 4, 5\): .* 4 rows in axis 0"),
        (Stateless, r"initial\(4\) returns NoneType: return a tensor"),
        (Wide, r"output returns \(4, 10\), expected .* \(4, 5\)"),
    ],
)
def test_a_cell_that_breaks_the_contract_is_refused(cell: type[Cell], sentence: str) -> None:
    model = built(Latent(cell=cell, hidden_size=D))
    with torch.no_grad(), pytest.raises(ContractError, match=f"^{cell.__name__}.*{sentence}"):
        model.start(B)


def test_a_class_that_is_not_a_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cell = GRUCell is not a subclass of .*Cell"):
        build_model(Latent(cell=nn.GRUCell), V, 1)


def test_an_option_that_the_cell_does_not_take_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Leaky cannot be called .* argument 'leek'"):
        build_model(Latent(cell=Leaky, options={"leek": 1}), V, 1)


@pytest.mark.slow
def test_every_way_of_running_it_obeys_the_laws(model: SequenceModel) -> None:
    check_model(model.double(), seconds=2).raise_if_broken()
