"""Networks over numbers equal their equations written out for one series, value after value."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seriatim as st
from seriatim.core.elements import Numbers
from seriatim.core.values import NumberInput, Values
from seriatim.layers.attention import attention
from seriatim.layers.positions import rotate, rotation
from seriatim.models.build import build_number_model

X = [3.0, 5.0, math.nan, 4.0, 9.0, 7.0, 8.0]
KNOWN = [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0]
LAGS, WINDOW = (1, 3), 4
OPTIONS: Any = {"lags": LAGS, "scale_window": WINDOW, "hide_inputs": 0.0}


def standards(seen: list[float]) -> tuple[float, float, int]:
    """The level, the scale and the number of values of what was seen, by their definitions."""
    decay, values, deviations, level = 1 - 1 / WINDOW, [], [], 0.0
    for x in seen:
        if math.isnan(x):
            continue
        deviations.append(abs(x - level) if values else 0.5 * abs(x) + float(np.float32(1e-3)))
        values.append(x)
        weights = [decay**i for i in range(len(values))][::-1]
        level = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    if not values:
        return 0.0, 1.0, 0
    weights[0] *= 0.1
    scale = sum(w * d for w, d in zip(weights, deviations, strict=True)) / sum(weights)
    return level, scale, len(values)


def inputs(model: Any, seen: list[float], ahead: float) -> tuple[Tensor, Tensor, float, float]:
    """e_t, c, m_t and s_t after these values."""
    level, scale, count = standards(seen)
    lagged = [seen[-lag] if lag <= len(seen) else math.nan for lag in LAGS]
    z = []
    for lag in LAGS:
        at = len(seen) - lag
        before = [x for x in seen[: max(at + 1, 0)] if not math.isnan(x)]
        after = [x for x in seen[max(at, 0) :] if not math.isnan(x)]
        beside = [before[-1], *after[:1]] if before else [level]
        z.append((sum(beside) / len(beside) - level) / scale)
    z = [z[0], *(other - z[0] for other in z[1:])]
    observed = [float(not math.isnan(x)) for x in lagged]
    parts = [*z, *observed, math.log(scale) / 4, math.log1p(count) / 4, ahead]
    e = model.input.weight @ torch.tensor(parts, dtype=torch.float64) + model.input.bias
    return e, torch.tensor(z, dtype=torch.float64), level, scale


def hidden_states(model: Any, es: list[Tensor]) -> list[Tensor]:
    """h_t of every moment by the equations of the family."""
    if hasattr(model.body, "blocks"):
        return attended(model.body, torch.stack(es))
    (cell,) = model.body.layers
    w, u, b = cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh
    h = c = torch.zeros(cell.hidden_size).double()
    states = []
    for e in es:
        gates = w @ e + u @ h + b
        if isinstance(model.config, st.RNN):
            h = gates.tanh()
        else:
            i, f, g, o = gates.chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        states.append(h)
    return states


def attended(body: Any, h: Tensor) -> list[Tensor]:
    """Blocks in Llama's shape, with a mask over the whole series."""

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return weight * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    config, length = body.config, len(h)
    at = torch.arange(length)
    mask = (at[:, None] >= at) & (at[:, None] - at < config.context)
    turn = rotation(at, config.head_size, h.dtype)
    for block in body.blocks:
        x = norm(h, block.attention_norm.weight) @ block.attention.weight.T
        q, k, v = (t.unflatten(-1, (config.num_heads, -1)) for t in x.chunk(3, -1))
        q, k = rotate(q, turn), rotate(k, turn)
        y = attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), mask)
        h = h + y.transpose(0, 1).flatten(1) @ block.attention.output.weight.T
        inner = norm(h, block.feedforward_norm.weight) @ block.feedforward.inner.weight.T
        gate, up = inner.chunk(2, -1)
        h = h + (gate * gate.sigmoid() * up) @ block.feedforward.output.weight.T
    return list(norm(h, body.norm.weight))


def written_out(model: Any) -> Tensor:
    """ln p of every moment."""
    made = [inputs(model, X[:t], KNOWN[t]) for t in range(len(X))]
    total = []
    for h, (_, z, level, scale), x in zip(
        hidden_states(model, [e for e, *_ in made]), made, X, strict=True
    ):
        o = model.head.linear.weight @ h + model.head.linear.bias
        location = level + scale * (o[0] + z[0] + (model.head.direct[0] * z).sum())
        width = scale * ((1 + o[1].exp()).log() + 1e-4)
        density = torch.distributions.StudentT(2 + (1 + o[2].exp()).log(), location, width)
        total.append(o.sum() * 0.0 if math.isnan(x) else density.log_prob(torch.tensor(x).double()))
    return torch.stack(total)


@pytest.mark.parametrize(
    "config",
    [
        st.RNN(hidden_size=4, **OPTIONS),
        st.LSTM(hidden_size=4, embedding_size=3, **OPTIONS),
        st.Transformer(model_size=8, num_layers=2, num_heads=2, context=4, **OPTIONS),
    ],
    ids=["rnn", "lstm", "transformer"],
)
def test_likelihood_and_gradients_are_those_of_the_equations(config: Any) -> None:
    torch.manual_seed(0)
    model: Any = build_number_model(config, Numbers(1, num_known=1), density="student-t").double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.tensor([math.nan, *X]).double()[None, :, None]
    values = Values.of(x)
    known = torch.tensor(KNOWN).double()[None, :, None]
    batch = st.Batch(
        NumberInput(Values(values.numbers[:, :-1], values.is_observed[:, :-1]), known),
        Values(values.numbers[:, 1:], values.is_observed[:, 1:]),
    )
    weights = torch.linspace(1, 2, len(X)).double()
    results = []
    for log_prob in (model.log_prob(batch)[0], written_out(model)):
        gradients = torch.autograd.grad((weights * log_prob).sum(), list(model.parameters()))
        results.append((log_prob, *gradients))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
