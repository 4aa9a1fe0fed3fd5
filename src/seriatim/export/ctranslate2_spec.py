"""How weights of ours fill CTranslate2's specifications, whose equations are the same.

Knows Transformer layers and CTranslate2's names; no model.
"""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core.extras import import_extra
from seriatim.layers.attention import MultiHeadAttention
from seriatim.layers.blocks import RMSNorm, SwiGLU
from seriatim.models.options.transformer import TransformerConfig

Spec: TypeAlias = Any  # CTranslate2 has no types of its own

MISSING = "this export needs ctranslate2, which is not installed: pip install 'seriatim[ct2]'"
ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "swiglu": "SWISH"}


def library(module: str) -> Any:
    """A module of CTranslate2."""
    return import_extra(f"ctranslate2.{module}", MISSING)


def layer_options(config: TransformerConfig) -> dict[str, Any]:
    """The options of a specification of layers."""
    return {
        "pre_norm": config.norm_first,
        "activation": library("specs.common_spec").Activation[ACTIVATIONS[config.feedforward]],
        "ffn_glu": config.feedforward == "swiglu",
        "rms_norm": config.norm == "rms",
        "rotary_dim": 0 if config.positions == "rotary" else None,  # 0: the whole head
        "rotary_interleave": False,
        "rotary_base": config.rotary_base,
        "head_dim": config.head_size,
    }


def fill_self_attention(spec: Spec, block: Any) -> None:
    """The self-attention of a block, and its norm."""
    attention: MultiHeadAttention = block.attention
    fill_norm(spec.layer_norm, block.attention_norm)
    _rows(spec.linear[0], attention, 0, len(attention.weight))
    fill_linear(spec.linear[1], attention.output)


def fill_cross_attention(spec: Spec, block: Any) -> None:
    """The attention of a block to the source, and its norm."""
    attention: MultiHeadAttention = block.cross
    queries = attention.num_heads * attention.key_size
    fill_norm(spec.layer_norm, block.cross_norm)
    _rows(spec.linear[0], attention, 0, queries)
    _rows(spec.linear[1], attention, queries, len(attention.weight))
    fill_linear(spec.linear[2], attention.output)


def _rows(spec: Spec, attention: MultiHeadAttention, begin: int, end: int) -> None:
    """Rows of the joint weight of W_q, W_k and W_v as a layer."""
    spec.weight = as_array(attention.weight[begin:end])
    if attention.bias is not None:
        spec.bias = as_array(attention.bias[begin:end])


def fill_feedforward(spec: Spec, block: Any) -> None:
    """The feed-forward network of a block, and its norm."""
    network = block.feedforward
    fill_norm(spec.layer_norm, block.feedforward_norm)
    fill_linear(spec.linear_1, network.output)
    if not isinstance(network, SwiGLU):
        fill_linear(spec.linear_0, network.inner)
        return
    inner: nn.Linear = network.inner
    biases = (None, None) if inner.bias is None else inner.bias.chunk(2)
    layers = (spec.linear_0, spec.linear_0_noact)
    for layer, weight, bias in zip(layers, inner.weight.chunk(2), biases, strict=True):
        layer.weight = as_array(weight)
        if bias is not None:
            layer.bias = as_array(bias)


def fill_linear(spec: Spec, layer: nn.Module) -> None:
    """The weights of a linear layer, or of an embedding as one."""
    typed: Any = layer
    spec.weight = as_array(typed.weight)
    bias = dict(layer.named_parameters()).get("bias")
    if bias is not None:
        spec.bias = as_array(bias)


def fill_norm(spec: Spec, norm: nn.Module) -> None:
    """The weights of a norm, zeros where CTranslate2 has a bias and ours has none."""
    typed: Any = norm
    spec.gamma = as_array(typed.weight)
    if not isinstance(norm, RMSNorm):
        spec.beta = as_array(torch.zeros_like(typed.weight) if typed.bias is None else typed.bias)


def as_array(weight: Tensor) -> NDArray[np.float32]:
    """The values of a weight, which may share its memory."""
    return weight.detach().float().cpu().contiguous().numpy()
