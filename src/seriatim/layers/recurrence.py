"""Recurrences over a whole chunk with backward through time written by hand.

torch's fused layers show no mask on the recurrent connection, and under autocast their backward
pass takes longer than in float32; its RNN and GRU add to the gradient of every weight at every
step. So the RNN, the LSTM and the GRU are here once more: the products with x of all steps at
once, one product with h a step, and every weight gradient as one product over all steps at the
end. In low precision the products are taken in bfloat16 with weights packed
once a chunk; gates, states and sums stay in the precision of the state. `layers.cells` has the
equations; a test holds the two equal. Weights may lie by rows or by columns.

Knows tensors and packing; knows no cell, no model and no dropout.

Shapes: B rows, L steps, E and D features of input and state. Buffers have time first.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seriatim.columns import cat_rows, is_by_columns, weight_gradient

Product = Callable[[Tensor], Tensor]


def is_low_precision(x: Tensor) -> bool:
    """Whether autocast asks for bfloat16 products where x is."""
    device = x.device.type
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16


@torch.compiler.disable  # type: ignore[untyped-decorator]
def lstm(
    x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor], mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """An LSTM layer, in bfloat16 where autocast asks for it.

    Args:
        x: (B, L, E).
        h: (B, D) hidden state before.
        c: (B, D) cell before.
        weights: W (4 D, E), U (4 D, D), b_W and b_U (4 D,), gates stacked as torch stacks them.
        mask: (B, D) what h is multiplied by where it meets U, the same at every step.

    Returns:
        h_t and c_t of every step, (B, L, D) each.
    """
    states: tuple[Tensor, Tensor] = _LSTM.apply(x, h, c, *weights, mask, is_low_precision(x))  # type: ignore[no-untyped-call]
    return states


@torch.compiler.disable  # type: ignore[untyped-decorator]
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
    states: Tensor = _RNN.apply(x, h, *weights, mask, is_low_precision(x), nonlinearity)  # type: ignore[no-untyped-call]
    return states


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gru(x: Tensor, h: Tensor, weights: list[Tensor], mask: Tensor | None = None) -> Tensor:
    """A GRU layer with its reset after the product: h_t of every step, (B, L, D).

    As `lstm`, with weights of 3 D rows. The mask acts in the products with U alone; what the
    update gate lets through of h is whole.
    """
    states: Tensor = _GRU.apply(x, h, *weights, mask, is_low_precision(x))  # type: ignore[no-untyped-call]
    return states


# ---- products -----------------------------------------------------------------------------------


@lru_cache
def _can_pack() -> bool:
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch._C._dispatch_has_kernel_for_dispatch_key("mkldnn::_linear_pointwise", "CPU")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _product(weight: Tensor, bias: Tensor | None, num_rows: int) -> Product:
    """x -> x weight^T + bias, to be called many times with `num_rows` rows.

    oneDNN reorders a weight at every call, which for few rows takes as long as the product:
    in bfloat16 the weight is reordered here, once.
    """
    if is_by_columns(weight):  # W^T lies as it is read, and packing gains next to nothing
        transposed = weight.t()
    elif weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and _can_pack():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), num_rows)
        multiply = torch.ops.mkldnn._linear_pointwise
        return lambda x: multiply(x, packed, bias, "none", [], "")
    else:
        transposed = weight.t().contiguous()
    if bias is None:
        return lambda x: x @ transposed
    return lambda x: torch.addmm(bias, x, transposed)


def _time_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, L, E) as a contiguous (L, B, E)."""
    return x.transpose(0, 1).to(dtype, memory_format=torch.contiguous_format)


def _flat(x: Tensor) -> Tensor:
    """(L, B, ...) as (L B, ...)."""
    return x.flatten(0, 1)


def _masked(h: Tensor, mask: Tensor | None) -> Tensor:
    return h if mask is None else h * mask


def _of_products(
    derivatives: tuple[Tensor, Tensor],
    factors: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x (B, L, E), W and U, each as one product over all steps.

    Args:
        derivatives: by W x_t and by U m_t, (L B, G D) each.
        factors: x (L, B, E), and m (L + 1, B, D), of which the last entry meets nothing.
        weights: W and U.
        dtype: of the gradients.
    """
    (of_x, of_m), (x, m), (W, U) = derivatives, factors, weights
    dx = (of_x @ W.to(x.dtype)).view(x.shape).transpose(0, 1)
    dW = weight_gradient(of_x, _flat(x), W)
    dU = weight_gradient(of_m, _flat(m[:-1]), U)
    return dx.to(dtype), dW.to(dtype), dU.to(dtype)


def scan(kept: Tensor, added: Tensor, first: Tensor) -> Tensor:
    """c_t = kept_t * c_{t-1} + added_t for all t, one step after another.

    A scan in log t steps would divide by running products of gates, which vanish; this one
    is one operation a step, and exact. Sums are in float32 at least.

    Args:
        kept: (B, L, D).
        added: (B, L, D).
        first: (B, D) c_0.

    Returns:
        (B, L, D) c_1 .. c_L.
    """
    dtype = torch.promote_types(first.dtype, torch.float32)
    f, a, c = kept.to(dtype).unbind(1), added.to(dtype).unbind(1), first.to(dtype)
    if torch.is_grad_enabled() and (kept.requires_grad or first.requires_grad):
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
    """Forward as `layers.cells.RNNCell`; backward, with a_t what the nonlinearity is of,

        da_t = dh_t (1 - h_t^2)                         dh_t where h_t > 0, for relu
        dh_{t-1} = m * (da_t U),   dU = sum_t da_t (m h_{t-1})^T

    Without a mask and in the precision of the state, h_t goes into the next product as it is.
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
        (B, L, _), D = x.shape, h.shape[1]
        dtype = torch.bfloat16 if is_low else h.dtype
        bend_ = torch.tanh_ if nonlinearity == "tanh" else torch.relu_
        with torch.autocast(x.device.type, enabled=False):
            inputs = _time_first(x, dtype)
            of_input = F.linear(inputs, W.to(dtype), (b_W + b_U).to(dtype))
            hs = h.new_empty(L + 1, B, D)
            hs[0] = h
            if mask is None and not is_low:
                ms, u = hs, U.t().contiguous()
                for w, h_old, h_t in zip(of_input, hs, hs[1:], strict=False):
                    bend_(torch.addmm(w, h_old, u, out=h_t))
            else:
                ms = h.new_empty(L + 1, B, D, dtype=dtype)
                ms[0] = _masked(h, mask)
                of_hidden = _product(U.to(dtype), None, B)
                for w, m, h_t, m_t in zip(of_input, ms, hs[1:], ms[1:], strict=False):
                    bend_(h_t.copy_(of_hidden(m)).add_(w))
                    m_t.copy_(_masked(h_t, mask))
        ctx.save_for_backward(inputs, ms, hs, W, U, mask)
        ctx.nonlinearity = nonlinearity
        return hs[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, ms, hs, W, U, mask = ctx.saved_tensors
        (L, B, D), dtype = hs[1:].shape, inputs.dtype
        with torch.autocast(hs.device.type, enabled=False):
            is_tanh = ctx.nonlinearity == "tanh"
            slope = 1.0 - hs[1:].square() if is_tanh else (hs[1:] > 0).to(hs.dtype)
            da = hs.new_empty(L, B, D, dtype=dtype)
            to_hidden = _product(U.t().to(dtype), None, B)
            dh = torch.zeros_like(hs[0])
            steps = zip(dhs.unbind(1), slope.unbind(0), da.unbind(0), strict=True)
            for dh_t, k, da_t in reversed(list(steps)):
                da_t.copy_((dh + dh_t).mul_(k))
                dh = _masked(to_hidden(da_t).to(dh.dtype), mask)
            flat = _flat(da)
            db = flat.sum(0, dtype=dh.dtype)
            dx, dW, dU = _of_products((flat, flat), (inputs, ms), (W, U), dh.dtype)
        return dx, dh, dW, dU, db, db, None, None, None


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
            w, u, b = (t.to(dtype, copy=True) for t in (W, U, b_W + b_U))
            for t in (w, u, b):
                t[2 * D : 3 * D] *= 2.0
            of_input = F.linear(inputs, w, b)
            of_hidden = _product(u, None, B)
            gates, tanhs = h.new_empty(L, B, 4 * D), h.new_empty(L, B, D)
            hs, cs = h.new_empty(L + 1, B, D), h.new_empty(L + 1, B, D)
            ms = h.new_empty(L + 1, B, D, dtype=dtype)
            hs[0], cs[0], ms[0] = h, c, _masked(h, mask)
            each = gates.view(L, B, 4, D).unbind(2)
            for w, m, a, i, f, s, o, th, h_t, c_old, c_t, m_t in zip(
                of_input, ms, gates, *each, tanhs, hs[1:], cs, cs[1:], ms[1:], strict=False
            ):
                a.copy_(of_hidden(m)).add_(w).sigmoid_()  # g = 2 s - 1
                torch.mul(f, c_old, out=c_t)
                c_t.addcmul_(i, s, value=2.0).sub_(i)
                torch.tanh(c_t, out=th)
                torch.mul(o, th, out=h_t)
                m_t.copy_(_masked(h_t, mask))
        ctx.save_for_backward(inputs, ms, gates, tanhs, cs, W, U, mask)
        ctx.set_materialize_grads(False)
        return hs[1:].transpose(0, 1), cs[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor | None, dcs: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, ms, gates, tanhs, cs, W, U, mask = ctx.saved_tensors
        (L, B, D), dtype = tanhs.shape, inputs.dtype
        with torch.autocast(tanhs.device.type, enabled=False):
            gates = gates.view(L, B, 4, D)
            i, f, s, o = gates.unbind(2)
            factors = torch.addcmul(gates, gates, gates, value=-1.0)  # a (1 - a) of each gate
            factors[:, :, 0] *= 2.0 * s - 1.0
            factors[:, :, 1] *= cs[:-1]
            factors[:, :, 2] *= 4.0 * i  # 1 - g^2 = 4 s (1 - s)
            factors[:, :, 3] *= tanhs
            of_cell = torch.addcmul(o, o * tanhs, tanhs, value=-1.0)
            da = gates.new_empty(L, B, 4 * D, dtype=dtype)
            part = gates.new_empty(B, 4, D)
            of_c, of_h, flat_part = part[:, :3], part[:, 3], part.view(B, 4 * D)
            to_hidden = _product(U.t().to(dtype), None, B)
            dh, dc = torch.zeros_like(tanhs[0]), torch.zeros_like(tanhs[0])
            dcs_t = [None] * L if dcs is None else dcs.unbind(1)
            dhs_t = [None] * L if dhs is None else dhs.unbind(1)
            views = (of_cell, factors[:, :, :3], factors[:, :, 3], da, f)
            steps = zip(dhs_t, dcs_t, *(view.unbind(0) for view in views), strict=True)
            for dh_t, dc_t, k, k_c, k_h, da_t, f_t in reversed(list(steps)):
                if dh_t is not None:
                    dh = dh + dh_t
                if dc_t is not None:
                    dc += dc_t
                dc.addcmul_(dh, k)
                torch.mul(k_c, dc[:, None], out=of_c)
                torch.mul(k_h, dh, out=of_h)
                da_t.copy_(flat_part)
                dh = _masked(to_hidden(da_t).to(dc.dtype), mask)
                dc *= f_t
            flat = _flat(da)
            db = flat.sum(0, dtype=dc.dtype)
            dx, dW, dU = _of_products((flat, flat), (inputs, ms), (W, U), dc.dtype)
        return dx, dh, dc, dW, dU, db, db, None, None


# ---- GRU ----------------------------------------------------------------------------------------


class _GRU(torch.autograd.Function):
    """Forward as `layers.cells.GRUCell` with reset "after"; u_t = U (m h_{t-1}) + b_U, and

        dh~_t = dh_t (1 - z_t) (1 - h~_t^2)            before its tanh
        da_t  = [dh~_t u_t r_t (1 - r_t), dh_t (h_{t-1} - h~_t) z_t (1 - z_t), dh~_t]
        du_t  = [da_t of r, da_t of z, dh~_t r_t]
        dh_{t-1} = dh_t z_t + m * (du_t U)

    All four are dh_t times something known beforehand. The buffer holds them as dh~ r, r, z,
    dh~: the first three meet U, the last three W.
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
            of_hidden = _product(U.to(dtype), b_U.to(dtype), B)
            gates, us = h.new_empty(L, B, 2 * D), h.new_empty(L, B, D)
            ns, hs = h.new_empty(L, B, D), h.new_empty(L + 1, B, D)
            ms = h.new_empty(L + 1, B, D, dtype=dtype)
            hs[0], ms[0] = h, _masked(h, mask)
            parts = of_input.split_with_sizes([2 * D, D], 2)
            each = gates.chunk(2, 2)
            for w, w_n, m, a, r, z, u, n, h_old, h_t, m_t in zip(
                *parts, ms, gates, *each, us, ns, hs, hs[1:], ms[1:], strict=False
            ):
                product, product_n = of_hidden(m).split_with_sizes([2 * D, D], 1)
                a.copy_(product).add_(w).sigmoid_()
                torch.mul(r, u.copy_(product_n), out=n)
                n.add_(w_n).tanh_()
                torch.lerp(n, h_old, z, out=h_t)
                m_t.copy_(_masked(h_t, mask))
        ctx.save_for_backward(inputs, ms, gates, us, ns, hs, W, U, mask)
        return hs[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, ms, gates, us, ns, hs, W, U, mask = ctx.saved_tensors
        (L, B, D), dtype = ns.shape, inputs.dtype
        with torch.autocast(ns.device.type, enabled=False):
            r, z = gates.chunk(2, 2)
            factors = ns.new_empty(L, B, 4, D)
            of_r, of_z, of_n = factors[:, :, 1], factors[:, :, 2], factors[:, :, 3]
            torch.mul(1.0 - z, 1.0 - ns * ns, out=of_n)
            torch.mul(of_n, r, out=factors[:, :, 0])
            torch.mul(factors[:, :, 0], us * (1.0 - r), out=of_r)
            torch.mul((hs[:-1] - ns) * z, 1.0 - z, out=of_z)
            da = ns.new_empty(L, B, 4 * D, dtype=dtype)
            u = U.to(dtype).t()
            to_hidden = _product(torch.cat([u[:, 2 * D :], u[:, : 2 * D]], 1), None, B)
            dh = torch.zeros_like(ns[0])
            views = (dhs.transpose(0, 1), factors, da.view(L, B, 4, D), da[:, :, : 3 * D], z)
            steps = zip(*(view.unbind(0) for view in views), strict=True)
            for dh_t, k, da_t, du_t, z_t in reversed(list(steps)):
                dh = dh + dh_t
                da_t.copy_(k * dh[:, None])
                back = _masked(to_hidden(du_t).to(dh.dtype), mask)
                dh = torch.addcmul(back, dh, z_t)
            flat = _flat(da)
            of_hidden, of_inputs = flat[:, : 3 * D], flat[:, D:]
            db = flat.sum(0, dtype=dh.dtype)
            dx, dW, dU = _of_products((of_inputs, of_hidden), (inputs, ms), (W, U), dh.dtype)
            dU = cat_rows([dU[D:], dU[:D]])
            db_U = torch.cat([db[D : 3 * D], db[:D]])
        return dx, dh, dW, dU, db[D:], db_U, None, None
