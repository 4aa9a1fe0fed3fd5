"""Two small models of numbers that obey the laws; mutants of numbers are mutations of them."""

from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.counts import NegativeBinomial
from seriatim.core.densities import Density, MultivariateNormal, Normal, StudentT
from seriatim.core.density_transforms import Exponential, NormalMixture
from seriatim.core.elements import Numbers
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences


class ToyAR(SequenceModel):
    """x_t = c + A x_{t-1} + B known_t + e_t, e_t ~ N(0, Q), of two channels; exact with gaps.

    The carry is the mean and the covariance of x_t given what was observed: for an observed
    channel its value and variance 0, by the rule of conditional normal distributions.
    """

    D, K = 2, 1

    def __init__(self) -> None:
        super().__init__(Numbers(self.D, num_known=self.K))
        self.A = nn.Parameter(torch.tensor([[0.6, 0.2], [-0.3, 0.5]]))
        self.B = nn.Parameter(torch.tensor([[0.7], [-0.4]]))
        self.c = nn.Parameter(torch.tensor([3.0, -1.0]))
        self.register_buffer("Q", torch.tensor([[1.0, 0.6], [0.6, 2.0]]))

    @property
    def marginalizes(self) -> bool:
        return True

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        """Fits c alone, to the means: enough for a toy."""
        numbers = torch.from_numpy(data.numbers)
        with torch.no_grad():
            self.c.copy_(self.c + numbers.nanmean(0) - numbers.nanmedian(0).values)
        return {}

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        mean = self.c.expand(batch_size, -1)
        return mean, (4 * torch.eye(self.D).to(self.c)).expand(batch_size, -1, -1)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        length = x.values.numbers.shape[1]
        n = torch.full((tree.rows(x),), length) if lengths is None else lengths
        features = []
        for t in range(length):
            now = tree.map_leaves(lambda leaf, t=t: leaf[:, t], x)
            new = self.next(self.seen(carry, now), now.known)
            features.append(new)
            carry = tree.where_rows(t < n, new, carry)
        means, covariances = zip(*features, strict=True)
        return (torch.stack(means, 1), torch.stack(covariances, 1)), carry

    def seen(self, carry: Carry, x: NumberInput) -> Carry:
        """The mean and covariance of x_t after its observed channels are known."""
        mean, P = carry
        gap = (~x.values.is_observed).to(P)
        both = x.values.is_observed[:, :, None] & x.values.is_observed[:, None]
        S = torch.where(both, P, torch.diag_embed(gap))  # covariance of the observed channels
        gain = torch.linalg.solve(S, P * (1 - gap)[:, :, None]).mT
        residual = torch.where(x.values.is_observed, x.values.numbers - mean, 0.0)
        mean = mean + (gain @ residual[..., None])[..., 0]
        return mean, P - gain @ (P * (1 - gap)[:, :, None])

    def next(self, carry: Carry, known: Tensor | None) -> Carry:
        """The mean and covariance of x_{t+1}."""
        mean, P = carry
        mean = self.c + mean @ self.A.T + (0.0 if known is None else known @ self.B.T)
        return mean, self.A @ P @ self.A.T + self.Q

    def emit(self, features: Features) -> Density:
        return MultivariateNormal(*features)

    def ahead(self, state: Any, horizon: int, known: Tensor | None = None) -> Density:
        """Exact: iterated means and covariances."""
        parts = [state.features]
        for h in range(horizon - 1):
            parts.append(self.next(parts[-1], None if known is None else known[:, h]))
        means, covariances = zip(*parts, strict=True)
        return MultivariateNormal(torch.stack(means, 1), torch.stack(covariances, 1))


class ToyRecurrent(SequenceModel):
    """h_t = tanh(W [values, mask] + U h_{t-1}), and a density of each channel: a tiny network."""

    H = 4

    def __init__(self, density: str = "student", num_channels: int = 2) -> None:
        support = {"counts": "count", "positive": "positive"}.get(density, "real")
        super().__init__(Numbers(num_channels, support=support))  # type: ignore[arg-type]
        torch.manual_seed(2)
        self.density = density
        self.W = nn.Linear(2 * num_channels, self.H)
        self.U = nn.Linear(self.H, self.H)
        self.head = nn.Linear(self.H, 6 * num_channels)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return self.head.weight.new_zeros(batch_size, self.H)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        numbers, is_observed = x.values.numbers, x.values.is_observed
        n = torch.full((len(numbers),), numbers.shape[1]) if lengths is None else lengths
        e = self.W(torch.cat([self.scaled(numbers), is_observed.to(numbers)], -1))
        h, features = carry, []
        for t in range(numbers.shape[1]):
            new = torch.tanh(e[:, t] + self.U(h))
            features.append(new)
            h = tree.where_rows(t < n, new, h)
        return torch.stack(features, 1), h

    def scaled(self, numbers: Tensor) -> Tensor:
        """The inputs of the network, of any size."""
        return numbers.asinh()

    def emit(self, features: Features) -> Density:
        a, b, c, d, e, f = self.head(features).chunk(6, -1)
        if self.density == "counts":
            return NegativeBinomial(3 * a.exp(), b.exp())
        if self.density == "mixture":
            means, scales = torch.stack([a - 1, d + 1], -2), torch.stack([c, b], -2).exp()
            return NormalMixture(torch.stack([e[..., 0], f[..., 0]], -1), means, scales)
        if self.density == "positive":
            return Exponential(Normal(a, b.exp()))
        return StudentT(3 + c.exp(), a, b.exp()).scaled(d.exp(), e)
