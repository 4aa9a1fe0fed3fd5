"""Recurrences over a whole chunk with backward through time written by hand.

torch's fused layers take no mask on the recurrent connection, and under autocast their backward
pass takes longer than in float32; its RNN and GRU add to the gradient of every weight at every
step. Hence these RNN, LSTM and GRU: one product with x for all steps, one product with h for each
step, and every weight gradient as one product over all steps at the end. In low precision the
products over all steps are in bfloat16, and those of one step too if they are large enough to be
faster so; gates, states and sums stay in the precision of the weights. `layers.cells` has the
equations, and a test holds the two equal. Weights may be stored by rows or by columns.

Knows tensors and oneDNN's packed weights; no cell, no model and no dropout.

Shapes: B rows, L steps, E and D features of input and state, G gates. Buffers have time first.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seriatim.core.column_major import cat_rows, is_column_major, weight_gradient
from seriatim.core.compiling import not_compiled

Adding = Callable[[Tensor, Tensor], Tensor]


def is_low_precision(x: Tensor) -> bool:
    """Whether autocast asks for bfloat16 products on the device of x."""
    device = x.device.type
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16


@not_compiled
def lstm(
    x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor], mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """An LSTM layer, in bfloat16 where autocast asks for it.

    Args:
        x: (B, L, E).
        h: (B, D) the hidden state before the first step.
        c: (B, D) the cell before the first step.
        weights: W (4 D, E), U (4 D, D), b_W and b_U (4 D,), gates stacked as in torch.
        mask: (B, D) the factors of h in the product with U, the same at every step; None: ones.

    Returns:
        h_t and c_t of every step, (B, L, D) each.
    """
    h, c = _as_precise(h, weights), _as_precise(c, weights)
    states: tuple[Tensor, Tensor] = _LSTM.apply(x, h, c, *weights, mask, is_low_precision(x))  # type: ignore[no-untyped-call]
    return states


@not_compiled
def rnn(
    x: Tensor,
    h: Tensor,
    weights: list[Tensor],
    mask: Tensor | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
) -> Tensor:
    """A layer of the simple recurrent network: h_t of every step, (B, L, D).

    As `lstm`, with weights of D rows.
    """
    h = _as_precise(h, weights)
    states: Tensor = _RNN.apply(x, h, *weights, mask, is_low_precision(x), nonlinearity)  # type: ignore[no-untyped-call]
    return states


@not_compiled
def gru(x: Tensor, h: Tensor, weights: list[Tensor], mask: Tensor | None = None) -> Tensor:
    """A GRU layer with the reset after the product: h_t of every step, (B, L, D).

    As `lstm`, with weights of 3 D rows. The mask acts in the products with U alone, not on the h
    that the update gate passes on.
    """
    h = _as_precise(h, weights)
    states: Tensor = _GRU.apply(x, h, *weights, mask, is_low_precision(x))  # type: ignore[no-untyped-call]
    return states


def _as_precise(h: Tensor, weights: list[Tensor]) -> Tensor:
    """A state that autocast may have rounded, in the precision of the weights."""
    return h.to(torch.promote_types(h.dtype, weights[1].dtype))


# ---- products -----------------------------------------------------------------------------------

# Multiplications in one product from which bfloat16, casts included, is faster than float32.
LOW_FROM = 7_000_000


@lru_cache
def _can_pack() -> bool:
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch._C._dispatch_has_kernel_for_dispatch_key("mkldnn::_linear_pointwise", "CPU")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _step_dtype(weight: Tensor, num_rows: int, is_low: bool) -> torch.dtype:
    """The precision of the product of a step, of `num_rows` rows with a weight."""
    return torch.bfloat16 if is_low and num_rows * weight.numel() >= LOW_FROM else weight.dtype


def _adding(
    weight: Tensor, num_rows: int, dtype: torch.dtype, mask: Tensor | None = None
) -> Adding:
    """The map a, x -> a + mask * (x weight^T), in place of a, for many calls with `num_rows` rows.

    The product is taken in `dtype`.
    """
    if dtype == weight.dtype:
        transposed = weight.t() if is_column_major(weight) else weight.t().contiguous()
        if mask is None:
            return lambda a, x: a.addmm_(x, transposed)
        return lambda a, x: a.addcmul_(mask, x @ transposed)
    multiply = _low_product(weight.to(dtype), num_rows)
    if mask is None:
        return lambda a, x: a.add_(multiply(x))
    return lambda a, x: a.addcmul_(mask, multiply(x))


def _low_product(weight: Tensor, num_rows: int) -> Callable[[Tensor], Tensor]:
    """The map x -> x weight^T in bfloat16.

    oneDNN reorders a weight at every call, which for few rows takes as long as the product; here
    it is reordered once.
    """
    dtype = weight.dtype
    if is_column_major(weight):  # W^T is already read in order: packing gains next to nothing
        transposed = weight.t()
    elif weight.device.type == "cpu" and _can_pack():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), num_rows)
        multiply = torch.ops.mkldnn._linear_pointwise
        return lambda x: multiply(x.to(dtype), packed, None, "none", [], "")
    else:
        transposed = weight.t().contiguous()
    return lambda x: x.to(dtype) @ transposed


def _time_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, L, E) as a contiguous (L, B, E)."""
    return x.transpose(0, 1).to(dtype, memory_format=torch.contiguous_format)


def _flat(x: Tensor) -> Tensor:
    """(L, B, ...) as (L B, ...)."""
    return x.flatten(0, 1)


def _masked(h: Tensor, mask: Tensor | None) -> Tensor:
    return h if mask is None else h * mask


def _gradients(dhs: Tensor | None, like: Tensor) -> Tensor:
    """The direct gradients of h_0 .. h_L, (L + 1, B, D): 0 for h_0, `dhs` (B, L, D) for the rest.

    Going back, each becomes the whole gradient of its h.
    """
    dh = torch.zeros_like(like)
    if dhs is not None:
        dh[1:] = dhs.transpose(0, 1)
    return dh


def _of_products(
    derivatives: tuple[Tensor, Tensor],
    factors: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x (B, L, E), W and U, each as one product over all steps.

    Args:
        derivatives: the derivatives by W x_t and by U m_t, (L B, G D) each, in the precision of x.
        factors: x (L, B, E), and h_0 .. h_L (L + 1, B, D), of which the last is in no product.
        weights: W and U.
        mask: (B, D) the factors of h in the product with U; None: ones.
    """
    (of_x, of_m), (x, hs), (W, U) = derivatives, factors, weights
    dx = (of_x @ W.to(x.dtype)).view(x.shape).transpose(0, 1)
    dW = weight_gradient(of_x, _flat(x), W)
    dU = weight_gradient(of_m, _flat(_masked(hs[:-1], mask).to(x.dtype)), U)
    return dx.to(hs.dtype), dW.to(hs.dtype), dU.to(hs.dtype)


def scan(decay: Tensor, added: Tensor, first: Tensor) -> Tensor:
    """c_t = decay_t * c_{t-1} + added_t for all t, one step after another.

    A parallel scan would divide by running products of gates, which vanish; this one takes one
    operation for each step, and is exact. Sums are in float32 at least.

    Args:
        decay: (B, L, D).
        added: (B, L, D).
        first: (B, D) c_0.

    Returns:
        (B, L, D) c_1 .. c_L.
    """
    dtype = torch.promote_types(first.dtype, torch.float32)
    f, a, c = decay.to(dtype).unbind(1), added.to(dtype).unbind(1), first.to(dtype)
    if torch.is_grad_enabled() and (decay.requires_grad or first.requires_grad):
        states = []
        for f_t, a_t in zip(f, a, strict=True):
            c = torch.addcmul(a_t, f_t, c)
            states.append(c)
        return torch.stack(states, 1)
    after = torch.empty_like(added, dtype=dtype)
    for f_t, a_t, c_t in zip(f, a, after.unbind(1), strict=True):
        c = torch.addcmul(a_t, f_t, c, out=c_t)
    return after


# ---- RNN ----------------------------------------------------------------------------------------


class _RNN(torch.autograd.Function):
    """Forward as `layers.cells.RNNCell`; backward, with a_t the argument of the nonlinearity,

        da_t = dh_t (1 - h_t^2)                         dh_t where h_t > 0, for relu
        dh_{t-1} = m * (da_t U),   dU = sum_t da_t (m h_{t-1})^T

    The buffer of h_t first holds a_t.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        W: Tensor,
        U: Tensor,
        b_W: Tensor,
        b_U: Tensor,
        mask: Tensor | None,
        is_low: bool,
        nonlinearity: str,
    ) -> Tensor:
        B, dtype = len(h), torch.bfloat16 if is_low else h.dtype
        activate_ = torch.tanh_ if nonlinearity == "tanh" else torch.relu_
        with torch.autocast(x.device.type, enabled=False):
            inputs = _time_first(x, dtype)
            of_input = F.linear(inputs, W.to(dtype), (b_W + b_U).to(dtype))
            hs = torch.cat([h[None], of_input])
            add_hidden = _adding(U, B, _step_dtype(U, B, is_low))
            for h_old, h_t in pairwise(hs):
                activate_(add_hidden(h_t, _masked(h_old, mask)))
        ctx.save_for_backward(inputs, hs, W, U, mask)
        ctx.is_low, ctx.nonlinearity = is_low, nonlinearity
        return hs[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, hs, W, U, mask = ctx.saved_tensors
        with torch.autocast(hs.device.type, enabled=False):
            is_tanh = ctx.nonlinearity == "tanh"
            slope = 1.0 - hs[1:].square() if is_tanh else (hs[1:] > 0).to(hs.dtype)
            B = hs.shape[1]
            dtype = _step_dtype(U, B, ctx.is_low)
            add_back = _adding(U.t(), B, dtype, mask)
            da, dh = torch.empty_like(slope, dtype=dtype), _gradients(dhs, hs)
            steps = zip(dh, dh[1:], slope, da, strict=False)
            for dh_old, dh_t, k, da_t in reversed(list(steps)):
                torch.mul(dh_t, k, out=da_t)
                add_back(dh_old, da_t)
            flat = _flat(da)
            db, low = flat.sum(0, dtype=hs.dtype), flat.to(inputs.dtype)
            dx, dW, dU = _of_products((low, low), (inputs, hs), (W, U), mask)
        return dx, dh[0], dW, dU, db, db, None, None, None


# ---- LSTM ---------------------------------------------------------------------------------------


class _LSTM(torch.autograd.Function):
    """Forward as `layers.cells.LSTMCell`; with d for a derivative of the loss, a_k of gate k,

        dc_t  += dh_t o_t (1 - tanh(c_t)^2)
        da_t   = [dc_t g_t i_t (1-i_t), dc_t c_{t-1} f_t (1-f_t), dc_t i_t (1-g_t^2),
                  dh_t tanh(c_t) o_t (1-o_t)]
        dc_{t-1} = dc_t f_t,   dh_{t-1} = m * (da_t U),   dU = sum_t da_t (m h_{t-1})^T

    in torch's order of the gates: input i, forget f, update g, output o. The update gate is
    computed as tanh(a) = 2 sigmoid(2a) - 1 with its rows of the weights doubled, so that one
    sigmoid serves all four.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        W: Tensor,
        U: Tensor,
        b_W: Tensor,
        b_U: Tensor,
        mask: Tensor | None,
        is_low: bool,
    ) -> tuple[Tensor, Tensor]:
        (B, L, _), D = x.shape, h.shape[1]
        dtype = torch.bfloat16 if is_low else h.dtype
        with torch.autocast(x.device.type, enabled=False):
            inputs = _time_first(x, dtype)
            w, u, b = W.to(dtype, copy=True), U.clone(), b_W + b_U
            for t in (w, u, b):
                t[2 * D : 3 * D] *= 2.0
            gates = F.linear(inputs, w, b.to(dtype)).to(h.dtype)
            add_hidden = _adding(u, B, _step_dtype(U, B, is_low))
            tanhs = h.new_empty(L, B, D)
            hs, cs = h.new_empty(L + 1, B, D), h.new_empty(L + 1, B, D)
            hs[0], cs[0] = h, c
            each = gates.view(L, B, 4, D).unbind(2)
            for a, i, f, s, o, th, h_old, h_t, c_old, c_t in zip(
                gates, *each, tanhs, hs, hs[1:], cs, cs[1:], strict=False
            ):
                add_hidden(a, _masked(h_old, mask)).sigmoid_()  # g = 2 s - 1
                torch.mul(f, c_old, out=c_t)
                c_t.addcmul_(i, s, value=2.0).sub_(i)
                torch.tanh(c_t, out=th)
                torch.mul(o, th, out=h_t)
        ctx.save_for_backward(inputs, gates, tanhs, hs, cs, W, U, mask)
        ctx.is_low = is_low
        ctx.set_materialize_grads(False)
        return hs[1:].transpose(0, 1), cs[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor | None, dcs: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, gates, tanhs, hs, cs, W, U, mask = ctx.saved_tensors
        L, B, D = tanhs.shape
        with torch.autocast(tanhs.device.type, enabled=False):
            gates = gates.view(L, B, 4, D)
            i, f, s, o = gates.unbind(2)
            factors = torch.addcmul(gates, gates, gates, value=-1.0)  # a (1 - a) of each gate
            factors[:, :, 0] *= 2.0 * s - 1.0
            factors[:, :, 1] *= cs[:-1]
            factors[:, :, 2] *= 4.0 * i  # 1 - g^2 = 4 s (1 - s)
            factors[:, :, 3] *= tanhs
            of_cell = torch.addcmul(o, o * tanhs, tanhs, value=-1.0)
            dtype = _step_dtype(U, B, ctx.is_low)
            add_back = _adding(U.t(), B, dtype, mask)
            da, dh = torch.empty_like(factors, dtype=dtype), _gradients(dhs, hs)
            dc = torch.zeros_like(tanhs[0])
            dcs_t = [None] * L if dcs is None else dcs.unbind(1)
            views = (of_cell, factors[:, :, :3], factors[:, :, 3], da[:, :, :3], da[:, :, 3])
            steps = zip(dcs_t, dh, dh[1:], da.view(L, B, 4 * D), f, *views, strict=False)
            for dc_t, dh_old, dh_t, da_t, f_t, k, k_c, k_h, of_c, of_h in reversed(list(steps)):
                if dc_t is not None:
                    dc += dc_t
                dc.addcmul_(dh_t, k)
                torch.mul(k_c, dc[:, None], out=of_c)
                torch.mul(k_h, dh_t, out=of_h)
                add_back(dh_old, da_t)
                dc *= f_t
            flat = da.view(L * B, 4 * D)
            db, low = flat.sum(0, dtype=hs.dtype), flat.to(inputs.dtype)
            dx, dW, dU = _of_products((low, low), (inputs, hs), (W, U), mask)
        return dx, dh[0], dc, dW, dU, db, db, None, None


# ---- GRU ----------------------------------------------------------------------------------------


class _GRU(torch.autograd.Function):
    """Forward as `layers.cells.GRUCell` with reset "after"; u_t = U (m h_{t-1}) + b_U, and

        dh~_t = dh_t (1 - z_t) (1 - h~_t^2)            before its tanh
        da_t  = [dh~_t u_t r_t (1 - r_t), dh_t (h_{t-1} - h~_t) z_t (1 - z_t), dh~_t]
        du_t  = [da_t of r, da_t of z, dh~_t r_t]
        dh_{t-1} = dh_t z_t + m * (du_t U)

    All four are dh_t times a factor known beforehand. The buffer holds them as dh~ r, r, z, dh~:
    the first three multiply U, the last three W.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        W: Tensor,
        U: Tensor,
        b_W: Tensor,
        b_U: Tensor,
        mask: Tensor | None,
        is_low: bool,
    ) -> Tensor:
        (B, L, _), D = x.shape, h.shape[1]
        dtype = torch.bfloat16 if is_low else h.dtype
        with torch.autocast(x.device.type, enabled=False):
            inputs = _time_first(x, dtype)
            of_input = F.linear(inputs, W.to(dtype), b_W.to(dtype))
            add_hidden = _adding(U, B, _step_dtype(U, B, is_low))
            gates = b_U.expand(L, B, 3 * D).clone()  # r_t and z_t, and u_t
            gates[:, :, : 2 * D] += of_input[:, :, : 2 * D]
            ns = of_input[:, :, 2 * D :].to(h.dtype, copy=True)
            hs = h.new_empty(L + 1, B, D)
            hs[0] = h
            each = gates.chunk(3, 2)
            for a, rz, r, z, u, n, h_old, h_t in zip(
                gates, gates[:, :, : 2 * D], *each, ns, hs, hs[1:], strict=False
            ):
                add_hidden(a, _masked(h_old, mask))
                rz.sigmoid_()
                n.addcmul_(r, u).tanh_()
                torch.lerp(n, h_old, z, out=h_t)
        ctx.save_for_backward(inputs, gates, ns, hs, W, U, mask)
        ctx.is_low = is_low
        return hs[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, gates, ns, hs, W, U, mask = ctx.saved_tensors
        L, B, D = ns.shape
        with torch.autocast(ns.device.type, enabled=False):
            r, z, u = gates.chunk(3, 2)
            factors = ns.new_empty(L, B, 4, D)
            of_r, of_z, of_n = factors[:, :, 1], factors[:, :, 2], factors[:, :, 3]
            torch.mul(1.0 - z, 1.0 - ns * ns, out=of_n)
            torch.mul(of_n, r, out=factors[:, :, 0])
            torch.mul(factors[:, :, 0], u * (1.0 - r), out=of_r)
            torch.mul((hs[:-1] - ns) * z, 1.0 - z, out=of_z)
            dtype = _step_dtype(U, B, ctx.is_low)
            of_h = torch.cat([U[2 * D :].t(), U[: 2 * D].t()], 1)
            add_back = _adding(of_h, B, dtype, mask)
            da, dh = torch.empty_like(factors, dtype=dtype), _gradients(dhs, hs)
            flat = da.view(L, B, 4 * D)
            steps = zip(dh, dh[1:], factors, da, flat[:, :, : 3 * D], z, strict=False)
            for dh_old, dh_t, k, da_t, du_t, z_t in reversed(list(steps)):
                torch.mul(k, dh_t[:, None], out=da_t)
                add_back(dh_old.addcmul_(dh_t, z_t), du_t)
            flat = _flat(flat)
            db, low = flat.sum(0, dtype=hs.dtype), flat.to(inputs.dtype)
            of_hidden, of_inputs = low[:, : 3 * D], low[:, D:]
            dx, dW, dU = _of_products((of_inputs, of_hidden), (inputs, hs), (W, U), mask)
            dU = cat_rows([dU[D:], dU[:D]])
            db_U = torch.cat([db[D : 3 * D], db[:D]])
        return dx, dh[0], dW, dU, db[D:], db_U, None, None
