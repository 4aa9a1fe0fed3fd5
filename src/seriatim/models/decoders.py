"""Decoders: folds over a target that attend to the memory of a source.

A decoder computes the memory from the encoder's states once (`bind`), starts from it (`empty`) and
folds embedded symbols (`forward`). Knows how a target's past and its source are combined; not how a
source was read, nor how symbols are embedded or predicted.

Shapes: B rows, L elements of a chunk, S positions of the source, D features, H heads; in a memory
M sources with G rows each.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.model import Carry
from seriatim.core.products import Linear
from seriatim.core.tree import Tree
from seriatim.layers import alignment_scores
from seriatim.layers.attention import EVERYTHING, AttentionMask, MultiHeadAttention, weights
from seriatim.layers.blocks import Unit, tap_weights
from seriatim.layers.kernels.attention_rnn import attend_and_step
from seriatim.layers.kernels.dropout import dropout
from seriatim.layers.kv_tape import Chunk, Tape, empty_tape
from seriatim.layers.positions import Rotation
from seriatim.layers.recurrent_taps import tap_chunk
from seriatim.models.encoders import padding_bias
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.models.recurrent_stack import RecurrentStack
from seriatim.models.source_memory import Memory
from seriatim.models.transformer_parts import (
    add_positions,
    initialize_blocks,
    make_attention,
    make_feedforward,
    make_last_norm,
    make_norm,
)

_CROSS = "attention.cross"
_UNBOUNDED = 2**30  # the context of a target: nothing of it is dropped


class Decoder(nn.Module, ABC):
    """A fold over the target; a carry is (the state of the target, the memory)."""

    @abstractmethod
    def bind(self, states: Tensor, lengths: Tensor | None, summary: Tensor) -> Memory:
        """The memory of sources.

        Args:
            states: (B, S, D) the states of the encoder.
            lengths: (B,) on the CPU, the number of valid positions of each row; None: all.
            summary: (B, D) each source as one vector, as of `Encoder.summary`.
        """

    @abstractmethod
    def empty(self, batch_size: int, memory: Memory, capacity: int | None) -> Carry:
        """The carry before the first element."""

    @abstractmethod
    def forward(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """As `SequenceModel.advance`, for embedded symbols e (B, L, D); features (B, L, D)."""


# ---- the Transformer ----------------------------------------------------------------------------


class DecoderBlock(Unit):
    """Masked self-attention, attention to the source, a feed-forward network, each residual.

    norm first:  h <- h + Dropout(f(Norm(h)))
    norm last:   h <- Norm(h + Dropout(f(h)))       (Vaswani et al. 2017, 3.1)
    """

    def __init__(self, config: Seq2Seq) -> None:
        super().__init__()
        self.norm_first, self.dropout = config.norm_first, config.dropout
        self.attention, self.attention_norm = make_attention(config), make_norm(config)
        self.cross, self.cross_norm = make_attention(config), make_norm(config)
        self.feedforward, self.feedforward_norm = make_feedforward(config), make_norm(config)

    def forward(
        self, h: Tensor, chunk: Chunk, layer: int, rotation: Rotation | None, memory: Memory
    ) -> Tensor:
        """h (B, L, D) to (B, L, D)."""

        def attend_to_past(x: Tensor) -> Tensor:
            q, k, v = self.attention.project(x, rotation)
            k, v = chunk.view(layer, k, v)
            if taps.is_on():
                tap_weights(self, "attention.masked", q, k, chunk)
            y: Tensor = self.attention(q, k, v, chunk.mask)
            return y

        def attend_to_source(x: Tensor) -> Tensor:
            q = self.cross.project_queries(x)
            if taps.is_on():
                _tap_cross(self, memory, layer, q, chunk.lengths)
            y: Tensor = self.cross.output(memory.attend(layer, q).transpose(1, 2).flatten(2))
            return y

        h = self._residual(h, attend_to_past, self.attention_norm)
        h = self._residual(h, attend_to_source, self.cross_norm)
        h = self._residual(h, self.feedforward, self.feedforward_norm)
        if taps.is_on():
            taps.put(self, "hidden", taps.Record(h, chunk.lengths))
        return h

    def _residual(self, h: Tensor, f: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        y = f(norm(h) if self.norm_first else h)
        h = h + dropout(y, self.dropout, is_training=self.training)
        return h if self.norm_first else norm(h)


def _tap_cross(
    owner: nn.Module, memory: Memory, layer: int, q: Tensor, lengths: Tensor | None
) -> None:
    """Put the attention weights of queries q (B, H, L, d_k) on the positions of the source."""
    size = q.shape[:3].numel() * memory.keys[layer].shape[2] * max(4, q.element_size())
    if taps.wanted(owner, _CROSS, size):
        mask = EVERYTHING if memory.bias is None else AttentionMask(memory.bias)
        with taps.grad_mode():
            ((_, _, alpha),) = weights(memory.join_groups(q), memory.keys[layer], mask)
            taps.put(owner, _CROSS, taps.Record(memory.split_groups(alpha), lengths, axis=2))


class TransformerDecoder(Decoder):
    """N blocks; the state of the target is a `Tape` of its whole past."""

    def __init__(self, config: Seq2Seq) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_layers))
        self.norm = make_last_norm(config)
        initialize_blocks(self.blocks, config, 3 * config.decoder_layers)

    def bind(self, states: Tensor, lengths: Tensor | None, summary: Tensor) -> Memory:
        """The keys and values of every layer."""
        pairs = [cross.project_memory(states) for cross in self._crosses()]
        keys, values = zip(*pairs, strict=True)
        return Memory(keys, values, padding_bias(lengths, states.shape[1], states))

    def empty(self, batch_size: int, memory: Memory, capacity: int | None) -> Carry:
        """An empty tape, and the memory."""
        config = self.config
        tape = empty_tape(
            batch_size,
            num_layers=config.decoder_layers,
            num_heads=config.num_heads,
            key_size=config.head_size,
            value_size=config.value_size or config.head_size,
            context=_UNBOUNDED,
            like=self._crosses()[0].weight,
            capacity=capacity,
        )
        return tape, memory

    def forward(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Features are the outputs of the last block."""
        tape: Tape
        tape, memory = carry
        chunk = tape.append(e.shape[1], lengths, keep=keep)
        h, rotation = add_positions(e, chunk.positions, self.config, is_training=self.training)
        for layer, block in enumerate(self.blocks):
            h = block(h, chunk, layer, rotation, memory)
        return self.norm(h), (chunk.keep(), memory) if keep else None

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The blocks, as layers."""
        return {"layers": self.blocks}

    def _crosses(self) -> list[MultiHeadAttention]:
        return [block.cross for block in self.blocks if isinstance(block, DecoderBlock)]


# ---- recurrent layers ---------------------------------------------------------------------------


class RecurrentDecoder(Decoder):
    """RNN, LSTM or GRU that starts from a summary of the source (Sutskever et al. 2014).

        h_0 = tanh(W_i z + b_i),    h_t = g(h_{t-1}, E y_{t-1}),    features_t = h_t

    z is the summary of the source, and every part of the state of every layer has its own W_i, as
    in Bahdanau et al. 2015, A.2.2 (Sutskever et al. copy the state, which needs an encoder of the
    same kind and size). The state of the target is that of the layers.
    """

    def __init__(self, config: Seq2Seq) -> None:
        super().__init__()
        self.config = config
        self.stack = self._make_stack(config)
        num_parts = len(tree.leaves(self._zeros()))
        self.start = Linear(config.model_size, num_parts * config.model_size)

    def _make_stack(self, config: Seq2Seq) -> RecurrentStack:
        size = config.model_size
        return RecurrentStack(config.decoder, size, size, config.decoder_layers, config.dropout)

    def _zeros(self) -> Carry:
        """A state of the target of one row, for its structure."""
        return self.stack.zeros(1)

    def bind(self, states: Tensor, lengths: Tensor | None, summary: Tensor) -> Memory:
        """The states to start from, without keys and values."""
        return Memory((), (), None, self._initial(summary))

    def _initial(self, summary: Tensor) -> Carry:
        zeros = self._zeros()
        parts = iter(torch.tanh(self.start(summary)).chunk(len(tree.leaves(zeros)), -1))
        return tree.map_leaves(lambda _: next(parts), zeros)

    def _one_head(self, keys: Tensor, states: Tensor, lengths: Tensor | None, z: Tensor) -> Memory:
        """The memory of keys and values (B, S, D) and of a summary z (B, D)."""
        bias = padding_bias(lengths, states.shape[1], states)
        return Memory((keys[:, None],), (states[:, None],), bias, self._initial(z))

    def empty(self, batch_size: int, memory: Memory, capacity: int | None) -> Carry:
        """The states to start from."""
        return memory.initial, Memory(memory.keys, memory.values, memory.bias, (), memory.group)

    def forward(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Features are the outputs of the last layer."""
        own, memory = carry
        outputs, own = self.stack(own, self._dropped(e), lengths, keep=keep)
        return self._dropped(outputs), (own, memory) if keep else None

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The layers of the stack."""
        return {"layers": self.stack.cells}

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, is_training=self.training)


class MultiplicativeDecoder(RecurrentDecoder):
    """Recurrent layers first, then attention to the source (Luong, Pham, Manning 2015).

        h_t = g(h_{t-1}, E y_{t-1})
        alpha_t = softmax_s(h_t' W_a h_s)                         equations 7 and 8, "general"
        c_t = sum_s alpha_ts h_s
        h~_t = tanh(W_c [c_t; h_t])                               equation 5

    Features are h~_t. There is no input feeding (their section 3.3), so the recurrence does not
    depend on the attention, and a whole target is computed at once.
    """

    def __init__(self, config: Seq2Seq) -> None:
        super().__init__(config)
        size = config.model_size
        self.score = Linear(size, size, bias=False)
        self.combine = Linear(2 * size, size, bias=False)

    def bind(self, states: Tensor, lengths: Tensor | None, summary: Tensor) -> Memory:
        """Keys W_a h_s and values h_s, as one head."""
        return self._one_head(self.score(states), states, lengths, summary)

    def forward(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Features h~."""
        own, memory = carry
        h, own = self.stack(own, self._dropped(e), lengths, keep=keep)
        # The fused kernel divides by sqrt(D); Luong et al. do not.
        q = h[:, None] * h.shape[-1] ** 0.5
        if taps.is_on():
            _tap_cross(self.stack.cells[-1], memory, 0, q, lengths)
        c = memory.attend(0, q)[:, 0]
        joined = torch.tanh(self.combine(torch.cat([c, h], -1)))
        return self._dropped(joined), (own, memory) if keep else None


class AdditiveDecoder(RecurrentDecoder):
    """Attention to the source before every step (Bahdanau, Cho, Bengio 2015, A.1.2 and A.2.2).

        e_tj = v' tanh(W_a s_{t-1} + U_a h_j),    alpha_t = softmax_j(e_tj)
        c_t = sum_j alpha_tj h_j
        s_t = g(s_{t-1}, [E y_{t-1}; c_t])
        features_t = tanh(W_o [s_t; c_t; E y_{t-1}])             for equation 4; theirs is maxout

    With several layers, s is the state of the first one, which alone depends on the attention
    (as in Wu et al. 2016, 3); the layers above run over the whole chunk at once, and the output of
    the last one is the s_t of the features.
    """

    def __init__(self, config: Seq2Seq) -> None:
        super().__init__(config)
        size = config.model_size
        self.query = Linear(size, size, bias=False)
        self.key = Linear(size, size, bias=False)
        self.score = nn.Parameter(torch.empty(size).uniform_(-(size**-0.5), size**-0.5))
        self.combine = Linear(3 * size, size)

    def _make_stack(self, config: Seq2Seq) -> RecurrentStack:
        size = config.model_size
        self.first = RecurrentStack(config.decoder, 2 * size, size, 1, 0.0)
        above = config.decoder_layers - 1
        return RecurrentStack(config.decoder, size, size, above, config.dropout)

    def _zeros(self) -> Carry:
        return self.first.zeros(1), self.stack.zeros(1)

    def bind(self, states: Tensor, lengths: Tensor | None, summary: Tensor) -> Memory:
        """Keys U_a h_j and values h_j, as one head."""
        return self._one_head(self.key(states), states, lengths, summary)

    def forward(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Features are features_t of the equation above."""
        (bottom, above), memory = carry
        e = self._dropped(e)
        is_training = torch.is_grad_enabled() and not taps.is_on()
        fold = self.fold_at_once if is_training else self.fold_by_steps
        c, states, alphas = fold(bottom[0], memory, e)
        s = self.first.cells[0].output(states)
        if taps.is_on():
            cell = self.first.cells[0]
            tap_chunk(cell, bottom[0], torch.cat([e, c], -1), s, lengths)
            taps.put(cell, _CROSS, taps.Record(alphas, lengths, axis=2))
        if keep:
            bottom = (tree.last_valid(states, lengths, bottom[0]),)
        if len(self.stack.cells):
            s, above = self.stack(above, self._dropped(s), lengths, keep=keep)
        joined = torch.tanh(self.combine(torch.cat([s, c, e], -1)))
        return self._dropped(joined), ((bottom, above), memory) if keep else None

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The first layer, which attends, and those of the stack above it."""
        cells = (*self.first.cells, *self.stack.cells)
        return {f"layers.{i}": cell for i, cell in enumerate(cells)}

    def fold_by_steps(self, h: Tree, memory: Memory, e: Tensor) -> tuple[Tensor, Tree, Tensor]:
        """The first layer over a chunk, one step after another, as its equations.

        Args:
            h: its state before the chunk.
            memory: the memory of the sources.
            e: (B, L, D) embedded symbols.

        Returns:
            The contexts c (B, L, D), the state after every step, each part (B, L, D), and the
            weights (B, 1, L, S).
        """
        cell, kernel = self.first.cells[0], self.first.kernel
        states, contexts, alphas = [], [], []
        for e_t in e.unbind(1):
            alpha = self._alpha(memory, cell.output(h))
            c = memory.split_groups(alignment_scores.context(alpha, memory.values[0]))[:, 0, 0]
            h = kernel.step(cell, h, torch.cat([e_t, c], -1))
            states.append(h)
            contexts.append(c)
            alphas.append(memory.split_groups(alpha))
        after = tree.map_leaves(lambda *steps: torch.stack(steps, 1), *states)
        return torch.stack(contexts, 1), after, torch.cat(alphas, 2)

    def fold_at_once(self, h: Tree, memory: Memory, e: Tensor) -> tuple[Tensor, Tree, Tensor]:
        """`fold_by_steps` for training: faster with gradients, but without the weights."""
        memory = memory.ungrouped()
        w, u, b_w, b_u = self.first.cells[0].weights
        size = e.shape[-1]
        contexts, states = attend_and_step(
            self.config.decoder,
            F.linear(e, w[:, :size], b_w),
            tuple(tree.leaves(h)),
            (w[:, size:], u, b_u),
            (self.query.weight, self.score),
            (
                memory.keys[0][:, 0],
                memory.values[0][:, 0],
                None if memory.bias is None else memory.bias[:, 0, 0],
            ),
        )
        parts = iter(states)
        return contexts, tree.map_leaves(lambda _: next(parts), h), contexts.new_empty(0)

    def _alpha(self, memory: Memory, s: Tensor) -> Tensor:
        """(M, 1, G, S) the attention weights of one step, from s_{t-1} (B, D)."""
        q = memory.join_groups(self.query(s)[:, None, None])
        scores = alignment_scores.additive(q[:, 0], memory.keys[0][:, 0], self.score)
        return alignment_scores.weights(scores[:, None], memory.bias)


RECURRENT: Mapping[str, Callable[[Seq2Seq], Decoder]] = {
    "additive": AdditiveDecoder,
    "multiplicative": MultiplicativeDecoder,
    "none": RecurrentDecoder,
}


def make_decoder(config: Seq2Seq) -> Decoder:
    """The decoder that a configuration describes."""
    if config.decoder == "transformer":
        return TransformerDecoder(config)
    return RECURRENT[config.attention or "additive"](config)
