"""Baum-Welch: expectation-maximization of hidden Markov models, several at once.

All sequences lie end to end in one line of elements, which is cut into rows of equal length that
are passed side by side. A row that begins inside a sequence takes its first belief from the last 64
elements before it, and its last one from the 64 after it, since a chain forgets. Few elements lie
in one row, so that every iteration is exact.

Source: Baum, Petrie, Soules, Weiss 1970; Rabiner 1989, section V.

Shapes: N models, R rows, T moments of a row (first), K states, E elements.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.tree import Tree
from seriatim.models.hidden_markov.emissions import CategoricalEmission, Emission, Parameters
from seriatim.models.hidden_markov.recursions import Chain, backward, forward

_ONE_ROW = 4_096  # elements up to which there is one row
_ROW = 512
_WARM_UP = 64
_CELLS = 4_000_000  # numbers of an array of one pass


@dataclass(frozen=True)
class Line:
    """All sequences, end to end.

    Attributes:
        x: (E, ...) the elements.
        begins: (E,) bool, where a sequence begins.
    """

    x: Tree
    begins: Tensor

    @property
    def size(self) -> int:
        """E."""
        return len(self.begins)

    def part(self, size: int) -> "Line":
        """The first elements."""
        return Line(tree.map_leaves(lambda leaf: leaf[:size], self.x), self.begins[:size])


@dataclass(frozen=True)
class Models:
    """N hidden Markov models.

    Attributes:
        chain: their chains.
        emitted: the parameters of their emissions.
    """

    chain: Chain
    emitted: Parameters

    def only(self, i: int) -> "Models":
        """One of them, as one model."""
        chain = Chain(self.chain.initial[i : i + 1], self.chain.transition[i : i + 1])
        return Models(chain, {name: value[i : i + 1] for name, value in self.emitted.items()})

    def sorted_by(self, order: Tensor) -> "Models":
        """One model with its states (K,) in another order."""
        chain = Chain(self.chain.initial[:, order], self.chain.transition[:, order][:, :, order])
        return Models(chain, {name: value[:, order] for name, value in self.emitted.items()})


@dataclass(frozen=True)
class FittedModels:
    """
    Attributes:
        models: the models after the last iteration.
        log_likelihood: (N,) nats of all elements, after the last iteration.
        iterations: the number of iterations.
        occupancy: (N, K) the fraction of the elements in each state.
        is_interrupted: whether Ctrl-C ended it.
    """

    models: Models
    log_likelihood: Tensor
    iterations: int
    occupancy: Tensor
    is_interrupted: bool = False


def baum_welch(
    models: Models,
    emission: Emission,
    line: Line,
    *,
    max_iterations: int,
    tolerance: float,
    progress: Callable[[int, Tensor], None] | None = None,
) -> FittedModels:
    """Fit models to sequences; with every iteration the likelihood rises.

    Args:
        models: where to begin.
        emission: the kind of emissions.
        line: the sequences.
        max_iterations: the limit of iterations.
        tolerance: the least gain in nats per element to go on for, of any of the models.
        progress: called after each iteration with its number and the log-likelihoods (N,).
    """
    passing = _Passing(line, len(models.chain.initial), models.chain.initial.shape[1])
    before: Tensor | None = None
    found: tuple[Models, Tensor, Tensor] | None = None
    iteration, is_interrupted = 0, False
    try:
        while True:
            expected = passing.expect(models, emission)
            found = (models, expected.log_likelihood, expected.occupied / line.size)
            if progress is not None:
                progress(iteration, expected.log_likelihood)
            gain = torch.inf if before is None else expected.log_likelihood - before
            is_settled = bool((torch.as_tensor(gain) < tolerance * line.size).all())
            if is_settled or iteration == max_iterations:
                break
            before = expected.log_likelihood
            models = expected.maximize(models, emission)
            iteration += 1
    except KeyboardInterrupt:
        if found is None:
            raise
        is_interrupted = True
    return FittedModels(*found[:2], iteration, found[2], is_interrupted)


@dataclass(frozen=True)
class _Expected:
    """Expected counts, (N, ...), in float64."""

    log_likelihood: Tensor
    initial: Tensor
    transitions: Tensor
    occupied: Tensor
    emitted: tuple[Tensor, ...]

    def __add__(self, other: "_Expected") -> "_Expected":
        return _Expected(
            self.log_likelihood + other.log_likelihood,
            self.initial + other.initial,
            self.transitions + other.transitions,
            self.occupied + other.occupied,
            tuple(a + b for a, b in zip(self.emitted, other.emitted, strict=True)),
        )

    def maximize(self, models: Models, emission: Emission) -> Models:
        """The models that explain the counts best."""
        left = self.transitions.sum(-1, keepdim=True)
        transition = self.transitions / left.clamp_min(1e-100)
        transition = torch.where(left > 0, transition, models.chain.transition)
        initial = self.initial / self.initial.sum(-1, keepdim=True)
        return Models(Chain(initial, transition), emission.fit(models.emitted, self.emitted))


class _Passing:
    """The rows of a line."""

    def __init__(self, line: Line, num_models: int, num_states: int) -> None:
        E = line.size
        length = E if E <= _ONE_ROW else _ROW
        rows = -(-E // length)
        padding = rows * length - E
        self.dtype = torch.float64 if E <= _ONE_ROW else torch.float32
        self.line, self.length, self.rows = line, length, rows

        def laid(leaf: Tensor) -> Tensor:
            if padding:
                leaf = torch.cat([leaf, leaf.new_zeros(padding, *leaf.shape[1:])])
            return leaf.view(rows, length, *leaf.shape[1:]).transpose(0, 1)

        self.x = tree.map_leaves(laid, line.x)
        inside = torch.arange(rows * length) < E
        self.inside = inside.view(rows, length).T
        self.begins = laid(line.begins) | ~self.inside
        self.shape = (num_models, rows, num_states)
        self.group = max(1, _CELLS // (length * num_models * num_states))

    def expect(self, models: Models, emission: Emission) -> _Expected:
        """The expected counts of all rows."""
        total: _Expected | None = None
        before, after = self._messages(models, emission)
        end_of_group: Tensor | None = None
        for start in range(0, self.rows, self.group):
            rows = slice(start, min(start + self.group, self.rows))
            part, ends, firsts = self._group(models, emission, rows, before, after)
            # From the last moment of a row to the first of the next one.
            last = ends[:, -1:].clone()
            if end_of_group is None:
                firsts = firsts[:, 1:]
            else:
                ends = torch.cat([end_of_group, ends], 1)
            crossing = ends[:, : firsts.shape[1]].mT.double() @ firsts.double()
            part = replace(part, transitions=part.transitions + crossing * models.chain.transition)
            end_of_group = last
            total = part if total is None else total + part
        assert total is not None
        return total

    def _messages(self, models: Models, emission: Emission) -> tuple[Tensor, Tensor]:
        """The first belief of each row, and what follows its last moment, (N, R, K) each."""
        before = torch.full(self.shape, 1 / self.shape[2], dtype=self.dtype)
        after = torch.ones(self.shape, dtype=self.dtype)
        size = self.group * (_ROW // _WARM_UP)
        tail = slice(max(0, self.length - _WARM_UP), self.length)
        for start in range(0, self.rows - 1, size):
            rows = slice(start, min(start + size, self.rows - 1))
            chain, likelihood, _ = self._prepared(models, emission, tail, rows)
            begins = self.begins[tail, rows]
            passed = forward(
                chain, likelihood, begins, before[:, :1].expand(-1, begins.shape[1], -1)
            )
            before[:, rows.start + 1 : rows.stop + 1] = passed.last
        head = slice(0, _WARM_UP)
        for start in range(1, self.rows, size):
            rows = slice(start, min(start + size, self.rows))
            chain, likelihood, _ = self._prepared(models, emission, head, rows)
            begins, first = self.begins[head, rows], before[:, rows]
            passed = forward(chain, likelihood, begins, first)
            found = backward(chain, likelihood, begins, passed, torch.ones_like(first))
            after[:, rows.start - 1 : rows.stop - 1] = found.first
        return before, after

    def _prepared(
        self, models: Models, emission: Emission, moments: slice, rows: slice
    ) -> tuple[Chain, Tensor, Tensor]:
        """The chains, the likelihoods of a part of the line, and the sum of their factors."""
        x = tree.map_leaves(lambda leaf: leaf[moments, rows].contiguous(), self.x)
        inside = self.inside[moments, rows]
        chain = Chain(models.chain.initial.to(self.dtype), models.chain.transition.to(self.dtype))
        likelihood, shift = self._likelihood(models, emission, x)
        if not bool(inside.all()):
            likelihood = torch.where(inside[:, None, :, None], likelihood, 1.0)
        return chain, likelihood, shift

    def _group(
        self, models: Models, emission: Emission, rows: slice, before: Tensor, after: Tensor
    ) -> tuple[_Expected, Tensor, Tensor]:
        """Counts of some rows; filtered at their ends, and what arrives at their beginnings."""
        chain, likelihood, shift = self._prepared(models, emission, slice(None), rows)
        x = tree.map_leaves(lambda leaf: leaf[:, rows].contiguous(), self.x)
        begins, inside = self.begins[:, rows], self.inside[:, rows]
        passed = forward(chain, likelihood, begins, before[:, rows])
        back = backward(chain, likelihood, begins, passed, after[:, rows])
        smoothed = back.smoothed
        if not bool(inside.all()):
            smoothed.mul_(inside[:, None, :, None])
        log_likelihood = (passed.scale.double().log() * inside[:, None]).sum((0, 2)) + shift
        pairs = _sum_of_products(passed.filtered[:-1], back.arriving[1:])
        expected = _Expected(
            log_likelihood,
            _weighted_sum(begins & inside, smoothed),
            pairs * models.chain.transition,
            _weighted_sum(inside, smoothed),
            tuple(each.double() for each in emission.count(x, smoothed)),
        )
        return expected, passed.filtered[-1], back.arriving[0]

    def _likelihood(self, models: Models, emission: Emission, x: Tree) -> tuple[Tensor, Tensor]:
        """(T, N, R, K) p(x | z) up to a factor of each moment, and the sum of its logarithms."""
        if isinstance(emission, CategoricalEmission):
            emitted = {name: value.to(self.dtype) for name, value in models.emitted.items()}
            return emission.likelihood(emitted, x), torch.zeros(())
        logs = emission.log_likelihood(models.emitted, x)
        greatest = logs.amax(-1, keepdim=True)
        return (logs - greatest).exp_().to(self.dtype), greatest.sum((0, 2, 3))


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """(N, K) in float64 of values (T, N, R, K) with weights (T, R)."""
    return torch.einsum("tr,tnrk->nk", weights.to(values), values).double()


def _sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """(N, K, K) sum over moments and rows of a(i) b(j), both (T, N, R, K)."""
    T, N, R, K = a.shape
    if N == 1:
        return (a.reshape(T * R, K).T @ b.reshape(T * R, K)).double()[None]
    flat = [each.transpose(0, 1).reshape(N, T * R, K) for each in (a, b)]
    return torch.bmm(flat[0].mT, flat[1]).double()
