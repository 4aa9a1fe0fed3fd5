"""The recursions of hidden Markov models: forward, backward, Viterbi; scaled, over many rows.

    forward    a_t(j) = p(z_t = j | x_1 .. x_t),   c_t = p(x_t | x_1 .. x_t-1)
    backward   b_t(i) = p(x_t+1 .. | z_t = i) / p(x_t+1 .. | x_1 .. x_t)

so that a_t b_t is p(z_t | all), and nothing underflows however long a sequence is. Where a new
sequence begins, the state is drawn from pi instead of A: so many sequences can lie in one row.

Source: Rabiner 1989, section V.A.

Shapes: N models, R rows, T moments (first), K states.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """N chains of states.

    Attributes:
        initial: pi, (N, K).
        transition: A, (N, K, K).
    """

    initial: Tensor
    transition: Tensor


@dataclass(frozen=True)
class ForwardPass:
    """
    Attributes:
        filtered: a_t, (T, N, R, K).
        scale: c_t, (T, N, R).
        last: p(z_T+1 | x_1 .. x_T) of the moment after the last, (N, R, K).
    """

    filtered: Tensor
    scale: Tensor
    last: Tensor


def forward(chain: Chain, likelihood: Tensor, begins: Tensor, first: Tensor) -> ForwardPass:
    """The forward recursion.

    Args:
        chain: the chains.
        likelihood: p(x_t | z_t), (T, N, R, K), up to a factor of each moment.
        begins: (T, R) bool, where a new sequence begins.
        first: (N, R, K) the distribution of the first state of each row, unless it begins there.
    """
    T = len(likelihood)
    filtered = torch.empty_like(likelihood)
    scale = torch.empty_like(likelihood[..., 0])
    initial = chain.initial[:, None]
    has_begin = begins.any(1).tolist()
    z = first
    for t in range(T):
        if has_begin[t]:
            z = torch.where(begins[t, :, None], initial, z)
        a = filtered[t]
        torch.mul(z, likelihood[t], out=a)
        torch.sum(a, -1, out=scale[t])
        scale[t].clamp_min_(torch.finfo(a.dtype).tiny)
        a.div_(scale[t, ..., None])
        z = torch.bmm(a, chain.transition)
    return ForwardPass(filtered, scale, z)


@dataclass(frozen=True)
class BackwardPass:
    """
    Attributes:
        smoothed: p(z_t | all), (T, N, R, K).
        arriving: p(x_t | z_t) b_t / c_t, (T, N, R, K), 0 where a sequence begins: the expected
            transitions from i to j are a_t-1(i) A_ij arriving_t(j).
        first: the message of each row to the one before it, (N, R, K).
    """

    smoothed: Tensor
    arriving: Tensor
    first: Tensor


def backward(
    chain: Chain, likelihood: Tensor, begins: Tensor, passed: ForwardPass, last: Tensor
) -> BackwardPass:
    """The backward recursion; writes over `likelihood`.

    Args:
        chain: the chains.
        likelihood: as of `forward`.
        begins: as of `forward`.
        passed: the forward pass.
        last: (N, R, K) the message from beyond the last moment; 1 if nothing follows.
    """
    T = len(likelihood)
    smoothed = torch.empty_like(likelihood)
    has_begin = begins.any(1).tolist()
    transposed = chain.transition.mT.contiguous()
    b = last
    for t in reversed(range(T)):
        torch.mul(passed.filtered[t], b, out=smoothed[t])
        u = likelihood[t]
        u.mul_(b).div_(passed.scale[t, ..., None])
        b = torch.bmm(u, transposed)
        if has_begin[t]:
            is_new = begins[t, :, None]
            b = torch.where(is_new, 1.0, b)
            u.masked_fill_(is_new, 0.0)
    return BackwardPass(smoothed, likelihood, b)


def viterbi(initial: Tensor, transition: Tensor, log_likelihood: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable states (B, T) of sequences, and ln p of each with its states (B,).

    Args:
        initial: pi, (K,); or (B, K) of each row.
        transition: A, (K, K).
        log_likelihood: ln p(x_t | z_t), (B, T, K).
    """
    log_transition = transition.log()
    best = initial.log() + log_likelihood[:, 0]
    sources = []
    for t in range(1, log_likelihood.shape[1]):
        value, source = (best[:, :, None] + log_transition).max(1)
        sources.append(source)
        best = value + log_likelihood[:, t]
    total, state = best.max(-1)
    states = [state]
    for source in reversed(sources):
        state = source.gather(1, state[:, None])[:, 0]
        states.append(state)
    return torch.stack(states[::-1], 1), total
