"""Output layers of networks over numbers: from features to a density in the units of the data.

For a channel with level m and scale s (`running_scale`), with o = W h + b of the network's features
h, and a prediction that is linear in the standardized lagged values z,

    p = o_1 + z_1 + a_1 z_1 + sum_{l > 1} a_l (z_l - z_1)

    normal              N(m + s p, (s sigma)^2)                  sigma = softplus(o_2)
    student-t           the same location and scale, v = 2 + softplus(o_3) degrees of freedom
    mixture             sum_k w_k N(m + s (p + o_k), (s sigma_k)^2)
    log-normal          exp of a normal variable, whose level and scale are those of logarithms
    negative-binomial   mean s softplus(p), size softplus(o_2)^-1

Shapes: batch shape ..., D channels, K components, P parameters of a channel.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core.densities import Density, Normal
from seriatim.core.elements import Numbers, Support
from seriatim.core.products import Linear
from seriatim.core.validation import did_you_mean
from seriatim.errors import ConfigError
from seriatim.models.running_scale import Kind, Standard

NUM_COMPONENTS = 3
LEAST = 1e-4  # of the scale: a density of width 0 would be infinite
SHARPNESS = 4.0  # softplus(4 p) / 4 is nearly p where counts have their mean, at p = 1
UNIT = 0.5413  # softplus of this is 1


@dataclass(frozen=True)
class Parameters:
    """What a density is made of.

    Attributes:
        standard: the level and the scale of each channel, (..., D).
        linear: (..., D) the linear part of the prediction, in units of the scale.
        outputs: (..., D, P) the outputs of the network.
        factors: (D,) multiples of the widths.
    """

    standard: Standard
    linear: Tensor
    outputs: Tensor
    factors: Tensor

    @property
    def location(self) -> Tensor:
        """(..., D) m + s p."""
        return self.standard.level + self.standard.scale * (self.linear + self.outputs[..., 0])

    def width(self, index: int) -> Tensor:
        """(..., D) s times the softplus of an output, times the factor of the channel."""
        scale = self.standard.scale * self.factors
        return scale * (F.softplus(self.outputs[..., index]) + LEAST)


def _normal(p: Parameters) -> Density:
    return Normal(p.location, p.width(1))


def _student_t(p: Parameters) -> Density:
    from seriatim.core.densities import StudentT

    return StudentT(2.0 + F.softplus(p.outputs[..., 2]), p.location, p.width(1))


def _log_normal(p: Parameters) -> Density:
    from seriatim.core.density_transforms import Exponential

    return Exponential(_normal(p))


def _mixture(p: Parameters) -> Density:
    from seriatim.core.density_transforms import NormalMixture

    # Channels are independent given the component, whose weights all channels share.
    weights, shift, width = p.outputs.chunk(3, -1)
    level, scale = p.standard.level[..., None], p.standard.scale[..., None]
    mean = level + scale * (p.linear[..., None] + shift)
    sigma = scale * p.factors[:, None] * (F.softplus(width) + LEAST)
    return NormalMixture(
        weights.sum(-2).log_softmax(-1), mean.transpose(-1, -2), sigma.transpose(-1, -2)
    )


def _negative_binomial(p: Parameters) -> Density:
    from seriatim.core.counts import NegativeBinomial

    predicted = F.softplus(SHARPNESS * (p.linear + p.outputs[..., 0])) / SHARPNESS
    mean = p.standard.scale * (predicted + LEAST)
    return NegativeBinomial(mean, 1.0 / (F.softplus(p.outputs[..., 1]) + LEAST))


@dataclass(frozen=True)
class HeadKind:
    """A density that can be chosen by name.

    Attributes:
        make: its density.
        biases: the initial outputs of a channel, which says how many there are.
        widths: the outputs whose softplus is a width in units of the scale, to this `power`.
        power: 2 where they say what part of a variance is a multiple of the squared mean.
        kind: how its numbers are standardized.
        supports: the values for which it can be chosen.
    """

    make: Callable[[Parameters], Density]
    biases: tuple[float, ...]
    widths: tuple[int, ...] = (1,)
    kind: Kind = "level"
    supports: tuple[Support, ...] = ("real", "positive", "count")
    power: int = 1


HEADS: Mapping[str, HeadKind] = {
    "normal": HeadKind(_normal, (0.0, UNIT)),
    "student-t": HeadKind(_student_t, (0.0, UNIT, 3.0)),
    "mixture": HeadKind(
        _mixture, (0.0, 0.0, 0.0, -0.5, 0.0, 0.5, UNIT - 1, UNIT, UNIT + 1), (6, 7, 8)
    ),
    "log-normal": HeadKind(_log_normal, (0.0, UNIT), (1,), "log", ("positive",)),
    "negative-binomial": HeadKind(_negative_binomial, (0.0, UNIT), (1,), "ratio", ("count",), 2),
}
BY_SUPPORT: Mapping[Support, str] = {
    "real": "student-t",
    "positive": "log-normal",
    "count": "negative-binomial",
}


def head_kind(density: str | None, element: Numbers) -> HeadKind:
    """The density of this name, or the one that suits the values.

    Raises:
        ConfigError: if there is none of this name, or it has other values.
    """
    name = BY_SUPPORT[element.support] if density in (None, "auto") else density
    kind = HEADS.get(name)
    if kind is None:
        choice = did_you_mean(name, HEADS) or f"; choose from auto, {', '.join(HEADS)}"
        raise ConfigError(f"no such density {name!r}{choice}")
    if element.support not in kind.supports:
        raise ConfigError(
            f"the density {name} is of {kind.supports[0]} numbers, and these are "
            f"{element.support}: choose another, or auto"
        )
    return kind


class DensityHead(nn.Module):
    """The density of the next moment, from features of a network and lagged values.

    Attributes:
        linear: W and b, of all channels.
        direct: a, (D, number of lags), 0 at first: an untrained network expects the last value
            again.
        factors: (D,) by which widths are multiplied, see `train.bands`.
    """

    factors: Tensor

    def __init__(self, size: int, num_channels: int, num_lags: int, kind: HeadKind) -> None:
        """
        Args:
            size: the number of features.
            num_channels: D.
            num_lags: the number of lagged values of a channel, the last value first.
            kind: the density.
        """
        super().__init__()
        self.kind, self.num_channels = kind, num_channels
        self.linear = Linear(size, num_channels * len(kind.biases))
        nn.init.normal_(self.linear.weight, std=0.1 * size**-0.5)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(kind.biases).repeat(num_channels))
        self.direct = nn.Parameter(torch.zeros(num_channels, num_lags))
        self.register_buffer("factors", torch.ones(num_channels))

    def forward(self, h: Tensor, lagged: Tensor, standard: Standard) -> Density:
        """The density for features h (..., size) and c (..., D, lags): z_1 and each z_l - z_1."""
        outputs = self.linear(h).unflatten(-1, (self.num_channels, -1))
        linear = lagged[..., 0] + (lagged * self.direct).sum(-1)
        return self.kind.make(Parameters(standard, linear, outputs, self.factors))

    def set_width(self, channel: int, width: float) -> None:
        """Let the widths of a channel begin at this multiple of the scale, and their like."""
        bias = self.linear.bias.view(self.num_channels, -1)[channel]
        for index in self.kind.widths:
            wanted = (
                width**self.kind.power * F.softplus(torch.tensor(self.kind.biases[index])).item()
            )
            bias[index] = math.log(math.expm1(wanted))
