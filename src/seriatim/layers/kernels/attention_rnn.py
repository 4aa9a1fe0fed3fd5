"""A recurrent layer that attends to a source before every step, with its backward pass by hand.

`models.decoders.AdditiveDecoder` has the equations; a test holds the two equal in values and
gradients. Autograd would add to the gradient of every weight and of the whole source at every step.
Here the factors of each weight are collected, and its gradient is one product over all steps.

Knows tensors, the additive score and the gates of three kinds of cell; no module, and no padding of
the target.

Shapes: B rows, L steps, S positions of the source, D features of states and source, A features
of queries and keys, G gates. Buffers have time first.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Saved: TypeAlias = tuple[Tensor, ...]
State: TypeAlias = tuple[Tensor, ...]  # (h,) or (h, c), each (B, D)


class ManualStep(ABC):
    """A step of a cell and its derivative, from the inputs of its gates.

    These come from the input x and from the hidden state h, (B, G D) each.
    """

    @abstractmethod
    def forward(self, of_x: Tensor, of_h: Tensor, state: State) -> tuple[State, Saved]:
        """The state after the step, and the tensors that the derivative needs."""

    @abstractmethod
    def backward(self, d: State, saved: Saved) -> tuple[Tensor, Tensor, State]:
        """The derivatives by of_x, by of_h, and by the state before except through of_h, from `d`,
        the derivative by the state after."""


class ManualRNNStep(ManualStep):
    """h_t = tanh(a_x + a_h)."""

    def forward(self, of_x: Tensor, of_h: Tensor, state: State) -> tuple[State, Saved]:
        h = (of_x + of_h).tanh_()
        return (h,), (h,)

    def backward(self, d: State, saved: Saved) -> tuple[Tensor, Tensor, State]:
        (h,) = saved
        a = d[0] * (1 - h * h)
        return a, a, (torch.zeros_like(h),)


class ManualLSTMStep(ManualStep):
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


class ManualGRUStep(ManualStep):
    """As `layers.cells.GRUCell` with the reset after the product: reset, update, candidate."""

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


STEPS: Mapping[str, ManualStep] = {
    "rnn": ManualRNNStep(),
    "lstm": ManualLSTMStep(),
    "gru": ManualGRUStep(),
}


def attend_and_step(
    kind: str,
    of_input: Tensor,
    state: State,
    weights: tuple[Tensor, Tensor, Tensor],
    score: tuple[Tensor, Tensor],
    source: tuple[Tensor, Tensor, Tensor | None],
) -> tuple[Tensor, State]:
    """All steps of a layer, each of which attends to the source with the state before it.

        q_t = W_a h_{t-1},    e_tj = v' tanh(q_t + k_j) + bias_j,    alpha_t = softmax_j(e_tj)
        c_t = sum_j alpha_tj h_j
        state_t = gates(of_input_t + W_c c_t,  U h_{t-1} + b_U,  state_{t-1})

    Args:
        kind: a name in `STEPS`.
        of_input: (B, L, G D) the inputs of the gates without the part of the source.
        state: the state before the first step.
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
        contexts, *states = _AttendAndStep.apply(kind, *precise)  # type: ignore[no-untyped-call]
    return contexts, tuple(states)


class _AttendAndStep(torch.autograd.Function):
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
        step, rows = STEPS[kind], W_a.shape[0]
        of_hidden, of_context = torch.cat([W_a, U]).t(), W_c.t()
        inputs = of_input.transpose(0, 1).contiguous()
        matches = keys.new_empty(len(inputs), *keys.shape)  # tanh(q + k) of every step
        alphas, contexts, before, saved = [], [], [state[0]], []
        for wx, match in zip(inputs, matches, strict=True):
            both = state[0] @ of_hidden
            torch.add(keys, both[:, None, :rows], out=match).tanh_()
            e = match @ v
            alpha = (e if bias is None else e + bias).softmax(-1)
            c = (alpha[:, None] @ values)[:, 0]
            state, needed = step.forward(
                torch.addmm(wx, c, of_context), both[:, rows:] + b_U, state
            )
            alphas.append(alpha)
            contexts.append(c)
            before.append(state[0])
            saved.append((*needed, *state[1:]))
        ctx.step, ctx.saved, ctx.rows = step, [s[: len(needed)] for s in saved], rows
        ctx.save_for_backward(
            W_c, U, W_a, v, values, matches, torch.stack(alphas), torch.stack(contexts),
            torch.stack(before),
        )  # fmt: skip
        shown = torch.stack(before[1:], 1)
        others = zip(*(s[len(needed) :] for s in saved), strict=True)
        return torch.stack(contexts, 1), shown, *(torch.stack(s, 1) for s in others)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_contexts: Tensor, *d_states: Tensor) -> tuple[Tensor | None, ...]:
        W_c, U, W_a, v, values, matches, alphas, contexts, before = ctx.saved_tensors
        of_hidden = torch.cat([W_a, U])
        d_keys, d_v = torch.zeros_like(matches[0]), torch.zeros_like(v)
        d = tuple(torch.zeros_like(t[:, 0]) for t in d_states)
        d_inputs, d_hidden, d_attended = [], [], []
        for t in range(len(alphas) - 1, -1, -1):
            d = tuple(now + later[:, t] for now, later in zip(d, d_states, strict=True))
            d_x, d_h, d = ctx.step.backward(d, ctx.saved[t])
            d_c = torch.addmm(d_contexts[:, t], d_x, W_c)
            match, alpha = matches[t], alphas[t]
            d_alpha = (values @ d_c[:, :, None])[..., 0]
            d_e = alpha * (d_alpha - (alpha * d_alpha).sum(-1, keepdim=True))
            d_v += d_e.flatten() @ match.flatten(0, 1)
            d_match = torch.addcmul(v, match * v, match, value=-1).mul_(d_e[..., None])
            d_keys += d_match
            both = torch.cat([d_match.sum(1), d_h], -1)
            d = (torch.addmm(d[0], both, of_hidden), *d[1:])
            d_inputs.append(d_x)
            d_hidden.append(both)
            d_attended.append(d_c)
        d_input, d_both, d_c = (torch.stack(s[::-1]) for s in (d_inputs, d_hidden, d_attended))
        d_W_c = d_input.flatten(0, 1).t() @ contexts.flatten(0, 1)
        d_of_hidden = d_both.flatten(0, 1).t() @ before[:-1].flatten(0, 1)
        d_W_a, d_U = d_of_hidden.split([ctx.rows, len(U)])
        d_b_U = d_both[..., ctx.rows :].sum((0, 1))
        d_values = alphas.permute(1, 2, 0) @ d_c.transpose(0, 1)
        return (
            None, d_input.transpose(0, 1), d_W_c, d_U, d_b_U, d_W_a, d_v, d_keys, d_values, None, *d
        )  # fmt: skip
