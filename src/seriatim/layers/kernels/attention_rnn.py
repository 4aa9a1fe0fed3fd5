"""A recurrent layer that looks at a source before every step, with its backward pass by hand.

`models.decoders.AdditiveDecoder` has the equations; a test holds the two equal in values and
gradients. Left to autograd, every step would add to the gradient of every weight and of the
whole source. Here the products with a weight are collected and its gradient is one product over
all steps.

Knows tensors, the additive score and the gates of three kinds of cell; no module, no padding of
the target.

Shapes: B rows, L steps, S positions of the source, D features of states and source, A features
that are compared, G gates. Buffers have time first.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Saved: TypeAlias = tuple[Tensor, ...]
State: TypeAlias = tuple[Tensor, ...]  # (h,) or (h, c), each (B, D)


class Gates(ABC):
    """The gates of a cell, from what they get of the input and of h, (B, G D) each."""

    @abstractmethod
    def forward(self, of_x: Tensor, of_h: Tensor, state: State) -> tuple[State, Saved]:
        """The state after a step, and what its derivative needs."""

    @abstractmethod
    def backward(self, d: State, saved: Saved) -> tuple[Tensor, Tensor, State]:
        """From the derivative by the state after: by of_x, by of_h, and by the state before
        (without what reaches it through of_h)."""


class TanhGates(Gates):
    """h_t = tanh(a_x + a_h)."""

    def forward(self, of_x: Tensor, of_h: Tensor, state: State) -> tuple[State, Saved]:
        h = (of_x + of_h).tanh_()
        return (h,), (h,)

    def backward(self, d: State, saved: Saved) -> tuple[Tensor, Tensor, State]:
        (h,) = saved
        a = d[0] * (1 - h * h)
        return a, a, (torch.zeros_like(h),)


class AttentionLSTMGates(Gates):
    """As `layers.cells.LSTMCell`, in torch's order: input, forget, update, output."""

    def forward(self, of_x: Tensor, of_h: Tensor, state: State) -> tuple[State, Saved]:
        i, f, g, o = (of_x + of_h).chunk(4, -1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * state[1] + i * g
        shown = c.tanh()
        return (o * shown, c), (i, f, g, o, shown, state[1])

    def backward(self, d: State, saved: Saved) -> tuple[Tensor, Tensor, State]:
        i, f, g, o, shown, before = saved
        dh, dc = d
        dc = torch.addcmul(dc, dh * o, 1 - shown * shown)
        a = torch.cat(
            [
                dc * g * i * (1 - i),
                dc * before * f * (1 - f),
                dc * i * (1 - g * g),
                dh * shown * o * (1 - o),
            ],
            -1,
        )
        return a, a, (torch.zeros_like(dh), dc * f)


class AttentionGRUGates(Gates):
    """As `layers.cells.GRUCell` with its reset after the product: reset, update, candidate."""

    def forward(self, of_x: Tensor, of_h: Tensor, state: State) -> tuple[State, Saved]:
        (h,) = state
        x_r, x_z, x_n = of_x.chunk(3, -1)
        h_r, h_z, h_n = of_h.chunk(3, -1)
        r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
        n = torch.addcmul(x_n, r, h_n).tanh()
        return (torch.lerp(n, h, z),), (r, z, n, h_n, h)

    def backward(self, d: State, saved: Saved) -> tuple[Tensor, Tensor, State]:
        r, z, n, h_n, h = saved
        (dh,) = d
        a_n = dh * (1 - z) * (1 - n * n)
        both = torch.cat([a_n * h_n * r * (1 - r), dh * (h - n) * z * (1 - z)], -1)
        return torch.cat([both, a_n], -1), torch.cat([both, a_n * r], -1), (dh * z,)


GATES: Mapping[str, Gates] = {
    "rnn": TanhGates(),
    "lstm": AttentionLSTMGates(),
    "gru": AttentionGRUGates(),
}


def look_and_step(
    kind: str,
    of_input: Tensor,
    state: State,
    weights: tuple[Tensor, Tensor, Tensor],
    score: tuple[Tensor, Tensor],
    source: tuple[Tensor, Tensor, Tensor | None],
) -> tuple[Tensor, State]:
    """Every step looks at the source with the state before it, and reads what it found.

        q_t = W_a h_{t-1},    e_tj = v' tanh(q_t + k_j) + bias_j,    alpha_t = softmax_j(e_tj)
        c_t = sum_j alpha_tj h_j
        state_t = gates(of_input_t + W_c c_t,  U h_{t-1} + b_U,  state_{t-1})

    Args:
        kind: a name in `GATES`.
        of_input: (B, L, G D) what the gates get of everything but the source.
        state: before the first step.
        weights: W_c (G D, D), U (G D, D), b_U (G D,).
        score: W_a (A, D), v (A,).
        source: keys k (B, S, A), values h (B, S, D), bias (B, S) with -inf at padding, or None.

    Returns:
        The contexts c (B, L, D), and the states of every step, (B, L, D) each.
    """
    with torch.autocast(of_input.device.type, enabled=False):
        tensors = (of_input, *weights, *score, *source, *state)
        dtype = weights[1].dtype
        precise = [None if t is None else t.to(dtype) for t in tensors]
        contexts, *states = _Look.apply(kind, *precise)  # type: ignore[no-untyped-call]
    return contexts, tuple(states)


class _Look(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        of_input: Tensor,
        W_c: Tensor,
        U: Tensor,
        b_U: Tensor,
        W_a: Tensor,
        v: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        gates, rows = GATES[kind], W_a.shape[0]
        of_hidden, of_context = torch.cat([W_a, U]).t(), W_c.t()
        inputs = of_input.transpose(0, 1).contiguous()
        fitting = keys.new_empty(len(inputs), *keys.shape)  # tanh(q + k) of every step
        alphas, contexts, before, saved = [], [], [state[0]], []
        for wx, fit in zip(inputs, fitting, strict=True):
            both = state[0] @ of_hidden
            torch.add(keys, both[:, None, :rows], out=fit).tanh_()
            e = fit @ v
            alpha = (e if bias is None else e + bias).softmax(-1)
            c = (alpha[:, None] @ values)[:, 0]
            state, kept = gates.forward(torch.addmm(wx, c, of_context), both[:, rows:] + b_U, state)
            alphas.append(alpha)
            contexts.append(c)
            before.append(state[0])
            saved.append((*kept, *state[1:]))
        ctx.gates, ctx.saved, ctx.rows = gates, [s[: len(kept)] for s in saved], rows
        ctx.save_for_backward(
            W_c, U, W_a, v, values, fitting, torch.stack(alphas), torch.stack(contexts),
            torch.stack(before),
        )  # fmt: skip
        shown = torch.stack(before[1:], 1)
        others = zip(*(s[len(kept) :] for s in saved), strict=True)
        return torch.stack(contexts, 1), shown, *(torch.stack(s, 1) for s in others)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_contexts: Tensor, *d_states: Tensor) -> tuple[Tensor | None, ...]:
        W_c, U, W_a, v, values, fitting, alphas, contexts, before = ctx.saved_tensors
        of_hidden = torch.cat([W_a, U])
        d_keys, d_v = torch.zeros_like(fitting[0]), torch.zeros_like(v)
        d = tuple(torch.zeros_like(t[:, 0]) for t in d_states)
        d_inputs, d_hidden, d_found = [], [], []
        for t in range(len(alphas) - 1, -1, -1):
            d = tuple(now + later[:, t] for now, later in zip(d, d_states, strict=True))
            d_x, d_h, d = ctx.gates.backward(d, ctx.saved[t])
            d_c = torch.addmm(d_contexts[:, t], d_x, W_c)
            fit, alpha = fitting[t], alphas[t]
            d_alpha = (values @ d_c[:, :, None])[..., 0]
            d_e = alpha * (d_alpha - (alpha * d_alpha).sum(-1, keepdim=True))
            d_v += d_e.flatten() @ fit.flatten(0, 1)
            d_fit = torch.addcmul(v, fit * v, fit, value=-1).mul_(d_e[..., None])
            d_keys += d_fit
            both = torch.cat([d_fit.sum(1), d_h], -1)
            d = (torch.addmm(d[0], both, of_hidden), *d[1:])
            d_inputs.append(d_x)
            d_hidden.append(both)
            d_found.append(d_c)
        d_input, d_both, d_c = (torch.stack(s[::-1]) for s in (d_inputs, d_hidden, d_found))
        d_W_c = d_input.flatten(0, 1).t() @ contexts.flatten(0, 1)
        d_of_hidden = d_both.flatten(0, 1).t() @ before[:-1].flatten(0, 1)
        d_W_a, d_U = d_of_hidden.split([ctx.rows, len(U)])
        d_b_U = d_both[..., ctx.rows :].sum((0, 1))
        d_values = alphas.permute(1, 2, 0) @ d_c.transpose(0, 1)
        return (
            None, d_input.transpose(0, 1), d_W_c, d_U, d_b_U, d_W_a, d_v, d_keys, d_values, None, *d
        )  # fmt: skip
