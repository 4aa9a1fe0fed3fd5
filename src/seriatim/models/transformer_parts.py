"""Parts of Transformers from their options: chosen, sized and initialized.

Knows options and the parts of `layers`; not what they are stacked into, nor what for.

Shapes: B rows, L elements, D features.
"""

import math

from torch import Tensor, nn

from seriatim.layers.attention import MultiHeadAttention
from seriatim.layers.blocks import Block, FeedForward, RMSNorm, SwiGLU
from seriatim.layers.kernels.dropout import dropout
from seriatim.layers.positions import Rotation, rotation, sinusoids
from seriatim.models.options.transformer import TransformerConfig

STD = 0.02  # the standard deviation of weights after a norm (Radford et al. 2019)


def make_block(config: TransformerConfig) -> Block:
    """A block of self-attention and a feed-forward network."""
    return Block(
        make_attention(config),
        make_feedforward(config),
        (make_norm(config), make_norm(config)),
        norm_first=config.norm_first,
        dropout=config.dropout,
    )


def make_attention(config: TransformerConfig) -> MultiHeadAttention:
    """Attention with heads of the configured sizes."""
    return MultiHeadAttention(
        config.model_size,
        config.num_heads,
        config.head_size,
        config.value_size or config.head_size,
        bias=config.attention_bias,
    )


def make_norm(config: TransformerConfig) -> nn.Module:
    """A norm over D features."""
    if config.norm == "rms":
        return RMSNorm(config.model_size, config.norm_epsilon or 1e-6)
    return nn.LayerNorm(config.model_size, config.norm_epsilon or 1e-5, bias=config.bias)


def make_last_norm(config: TransformerConfig) -> nn.Module:
    """The norm after the last block, if the blocks have theirs first."""
    return make_norm(config) if config.norm_first else nn.Identity()


def make_feedforward(config: TransformerConfig) -> nn.Module:
    """The feed-forward network of a block."""
    size, inner = config.model_size, config.feedforward_size
    if config.feedforward == "swiglu":
        # Three matrices instead of two: 8/3 D keeps the number of weights (Shazeer 2020, 2).
        return SwiGLU(size, inner or 8 * math.ceil(size / 3), bias=config.bias)
    activation = nn.ReLU() if config.feedforward == "relu" else nn.GELU()
    return FeedForward(size, inner or 4 * size, activation, bias=config.bias)


def initialize_blocks(blocks: nn.Module, config: TransformerConfig, num_sublayers: int) -> None:
    """Initialize weights, by where the norms are.

    Norm first: N(0, 0.02^2), and output weights smaller by sqrt(num_sublayers): each sublayer adds
    to the residual stream, whose variance would grow with depth (Radford et al. 2019, 2.3). Norm
    last: Glorot, Bengio 2010; the norm would let small sublayers vanish against the stream, and
    training stalls. (Measured: 3.36 nats against 2.23 after 300 steps on characters.)

    Args:
        blocks: the blocks of a stack.
        config: the options of the blocks.
        num_sublayers: the number of sublayers of the whole stack.
    """
    residual = STD / math.sqrt(num_sublayers)
    for name, parameter in blocks.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2 and not config.norm_first:
            nn.init.xavier_uniform_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=residual if name.endswith("output.weight") else STD)


def add_positions(
    h: Tensor, positions: Tensor, config: TransformerConfig, *, is_training: bool
) -> tuple[Tensor, Rotation | None]:
    """Embedded symbols with their positions: the input of the first block, and a rotation.

    Args:
        h: (B, L, D) embedded symbols.
        positions: (L,) or (B, L) positions of the symbols.
        config: the options of the blocks.
        is_training: whether to apply dropout.

    Returns:
        The input (B, L, D), and the rotation of queries and keys, None with sinusoidal positions.
    """
    turn = None
    if config.positions == "sinusoidal":
        h = h + sinusoids(positions, config.model_size, h.dtype)
    else:
        turn = rotation(positions, config.head_size, h.dtype, base=config.rotary_base)
    return dropout(h, config.dropout, is_training=is_training), turn


def embed(embedding: nn.Embedding, x: Tensor, config: TransformerConfig) -> Tensor:
    """(B, L, D) the embeddings of symbols x (B, L)."""
    h: Tensor = embedding(x)
    return h * math.sqrt(config.model_size) if config.scale_embeddings else h
