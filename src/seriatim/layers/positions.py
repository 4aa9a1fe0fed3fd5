"""Positions as numbers a network can use: sinusoids that are added, rotations of q and k.

Both are computed for any integer positions, without a table and so without a longest length. A
stream may reach position 10^7: float32 holds integers exactly only up to 2^24 and would round the
angle of the fastest pair by half a radian there, so angles are float64 and only their sines and
cosines are rounded to the model's precision.

Shapes: B rows, L positions, H heads, d the number of features that encode positions, even.
"""

import math
from typing import TypeAlias

import torch
from torch import Tensor

Rotation: TypeAlias = tuple[Tensor, Tensor]

BASE = 10000.0  # the longest wavelength is almost 2 pi times this


def angles(positions: Tensor, size: int, base: float = BASE) -> Tensor:
    """theta[p, i] = p / base^(2 i / d) for i < d / 2, in radians.

    Args:
        positions: (L,) or (B, L) integers.
        size: d.
        base: the base of the wavelengths.

    Returns:
        (..., d / 2) float64.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float64, device=positions.device)
    frequencies = exponents.mul_(-math.log(base) / size).exp_()
    return positions.unsqueeze(-1) * frequencies


def sinusoids(positions: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """PE(p, 2i) = sin(theta[p, i]),  PE(p, 2i + 1) = cos(theta[p, i]), shape (..., d).

    Vaswani et al. 2017, section 3.5.
    """
    theta = angles(positions, size)
    return torch.stack([theta.sin(), theta.cos()], -1).flatten(-2).to(dtype)


def rotation(positions: Tensor, size: int, dtype: torch.dtype, *, base: float = BASE) -> Rotation:
    """The rotation of each position: cosines and signed sines, (L, 1, d) or (B, L, 1, d).

    RoPE, Su et al. 2021, equation 34, in the layout of Llama in the library transformers: element
    i is paired with i + d/2, where the paper pairs neighbours.
    """
    theta = angles(positions, size, base)
    signed = torch.cat([-theta, theta], -1).unsqueeze(-2)
    return signed.cos().to(dtype), signed.sin().to(dtype)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn every pair (x_i, x_{i + d/2}) by its angle; x (B, L, H, d).

        y_i         = x_i cos(theta_i) - x_{i + d/2} sin(theta_i)
        y_{i + d/2} = x_{i + d/2} cos(theta_i) + x_i sin(theta_i)

    The product of a query at p and a key at s then depends on the positions only by p - s.
    """
    cos, sin = rotation
    swapped = x.roll(x.shape[-1] // 2, -1)
    return torch.addcmul(x * cos, swapped, sin)
