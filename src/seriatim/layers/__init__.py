"""Layers as equations: cells, attention, positions, blocks and tapes."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.layers.attention import AttentionMask as AttentionMask
    from seriatim.layers.attention import MultiHeadAttention as MultiHeadAttention
    from seriatim.layers.blocks import Block as Block
    from seriatim.layers.blocks import FeedForward as FeedForward
    from seriatim.layers.blocks import RMSNorm as RMSNorm
    from seriatim.layers.blocks import SwiGLU as SwiGLU
    from seriatim.layers.cells import Cell as Cell
    from seriatim.layers.cells import GRUCell as GRUCell
    from seriatim.layers.cells import LayerNormGRUCell as LayerNormGRUCell
    from seriatim.layers.cells import LayerNormLSTMCell as LayerNormLSTMCell
    from seriatim.layers.cells import LayerNormRNNCell as LayerNormRNNCell
    from seriatim.layers.cells import LSTMCell as LSTMCell
    from seriatim.layers.cells import RNNCell as RNNCell
    from seriatim.layers.kv_tape import Tape as Tape
    from seriatim.layers.kv_tape import empty_tape as empty_tape

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "attention": ["AttentionMask", "MultiHeadAttention"],
        "blocks": ["Block", "FeedForward", "RMSNorm", "SwiGLU"],
        "cells": [
            *("Cell", "GRUCell", "LSTMCell", "RNNCell"),
            *("LayerNormGRUCell", "LayerNormLSTMCell", "LayerNormRNNCell"),
        ],
        "kv_tape": ["Tape", "empty_tape"],
    },
)
