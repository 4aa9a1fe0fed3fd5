"""Models and searches with one fault each: faults from other projects, and obvious ones.

MUTANTS lists at least one fault for every law, which this law must catch.
"""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.distributions import Categorical
from seriatim.core.model import SequenceModel, State
from seriatim.decode import hypotheses, search
from tests.laws.toys import Notes, ToyAttention, ToyWindow


class PeeksAhead(ToyAttention):
    def mask(self, valid: Tensor, slot: Tensor, own: Tensor) -> Tensor:
        return valid[:, None] & (slot <= own + 1) | (slot == own)


class ChunkForgetsCarry(ToyAttention):
    """Seen in transformers PR #46741 and vllm PR #22034."""

    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        carry = self.empty(len(x)) if x.shape[1] > 1 else carry
        return super().advance(carry, x, lengths, keep=keep)


class IgnoresCapacity(ToyAttention):
    def empty(self, batch_size: int, *, memory: Any = None, capacity: int | None = None) -> Any:
        carry = super().empty(batch_size)
        return (
            carry if capacity is None else dataclasses.replace(carry, position=carry.position + 1)
        )


class PairsForgetPosition(ToyAttention):
    def positions(self, position: Tensor, length: int) -> Tensor:
        return super().positions(position * 0 if length == 2 else position, length)


class PaddingLeaks(ToyAttention):
    """Seen in speechbrain #501: results that depend on the padding of the batch."""

    def mask(self, valid: Tensor, slot: Tensor, own: Tensor) -> Tensor:
        return super().mask(valid, slot, own) | ~valid[:, None]


class PaddingIsRemembered(ToyAttention):
    def note(self, carry: Notes, new: Tensor, valid: Tensor, n: Tensor) -> Notes:
        return super().note(carry, new, torch.ones_like(valid), n)


class OnePositionForAll(ToyAttention):
    """Seen in unsloth #3699: one position for a whole ragged batch."""

    def positions(self, position: Tensor, length: int) -> Tensor:
        return super().positions(position[:1].expand_as(position), length)


class RowsDependOnTheirIndex(ToyAttention):
    """The meaning of a row depends on its index in the batch."""

    def positions(self, position: Tensor, length: int) -> Tensor:
        return super().positions(position + torch.arange(len(position)), length)


class WritesInPlace(ToyAttention):
    """An append-only tape that is modified in place without checking its end."""

    def note(self, carry: Notes, new: Tensor, valid: Tensor, n: Tensor) -> Notes:
        carry.position.add_(n)
        seen, real = torch.cat([carry.seen, new], 1), torch.cat([carry.valid, valid], 1)
        return Notes(seen, real, carry.position)


class IsNotNormalized(ToyWindow):
    def emit(self, features: Any) -> Any:
        return _Raw(self.table[features[..., 0] * (self.num_symbols + 1) + features[..., 1]])


class _Raw(Categorical):
    def log_prob(self, x: Tensor) -> Tensor:
        return self.logits.gather(-1, x[..., None])[..., 0]

    def dense(self) -> Tensor:
        return self.logits


class DenseDisagrees(ToyWindow):
    def emit(self, features: Any) -> Any:
        return _Tempered(self.table[features[..., 0] * (self.num_symbols + 1) + features[..., 1]])


class _Tempered(Categorical):
    def dense(self) -> Tensor:
        return (self.logits / 2).log_softmax(-1)


@tree.register
@dataclasses.dataclass(frozen=True)
class ForgetfulNotes(Notes):
    """Loses its position when it is flattened and rebuilt."""

    @classmethod
    def build(cls, subtrees: Any, static: Any) -> "ForgetfulNotes":
        seen, valid, position = subtrees
        return cls(seen, valid, position if seen.shape[1] < 5 else position * 0)


class LosesItsPosition(ToyAttention):
    def note(self, carry: Notes, new: Tensor, valid: Tensor, n: Tensor) -> Notes:
        notes = super().note(carry, new, valid, n)
        return ForgetfulNotes(notes.seen, notes.valid, notes.position)


class ChunkStopsTheGradient(ToyAttention):
    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        features, new = super().advance(carry, x, lengths, keep=keep)
        return (features.detach() if x.shape[1] > 1 else features), new


class ReachTooShort(ToyWindow):
    @property
    def reach(self) -> int | None:
        return 1


class ReachTooLong(ToyWindow):
    @property
    def reach(self) -> int | None:
        return 3


class ReachNotUnbounded(ToyWindow):
    @property
    def reach(self) -> int | None:
        return None


class DropsTheCarryWithoutKeep(ToyAttention):
    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        return super().advance(carry if keep else self.empty(len(x)), x, lengths, keep=keep)


class ChunksOfThreeLoseOne(ToyAttention):
    def note(self, carry: Notes, new: Tensor, valid: Tensor, n: Tensor) -> Notes:
        notes = super().note(carry, new, valid, n)
        lost = 1 if new.shape[1] == 3 else 0
        return dataclasses.replace(notes, position=notes.position - lost)


# ---- faults of the generic code, patched in while the laws run ----------------------------------


def counts_padding() -> AbstractContextManager[Any]:
    def every_target(batch: Batch) -> Tensor:
        return torch.ones(batch.shape)

    return mock.patch.object(Batch, "target_weights", every_target)


def beam_does_not_reorder_states() -> AbstractContextManager[Any]:
    """Seen in transformers #46612: the state is not selected with its prefix."""

    class Unordered:
        @staticmethod
        def select(state: State, index: Tensor) -> State:
            same_size = isinstance(state, State) and tree.rows(state) == len(index)
            return state if same_size else tree.select(state, index)

    return mock.patch.object(search, "tree", Unordered)


def beam_forgets_what_ended() -> AbstractContextManager[Any]:
    honest = hypotheses.Results.add

    def only_unended(results: Any, *arguments: Any, is_ended: bool) -> None:
        if not is_ended:
            honest(results, *arguments, is_ended=False)

    return mock.patch.object(hypotheses.Results, "add", only_unended)


def beam_returns_its_score() -> AbstractContextManager[Any]:
    """A length penalty that leaks into the reported log-probability."""
    honest = hypotheses.Hypothesis

    def scored(symbols: Any, log_prob: float, score: float, is_ended: bool) -> Any:
        return honest(symbols, score, score, is_ended)

    return mock.patch.object(hypotheses, "Hypothesis", scored)


def beam_takes_the_rows_of_its_first_source() -> AbstractContextManager[Any]:
    """Seen in pytorch-seq2seq #122: rows of different sources mixed."""
    honest = search.BeamSearch._leave

    def mixed(self: Any, rows: Any, length: int) -> Any:
        return honest(self, rows % (self.num_rows // len(rows)), length)

    return mock.patch.object(search.BeamSearch, "_leave", mixed)


def any_model_may_load() -> AbstractContextManager[Any]:
    return mock.patch.object(SequenceModel, "fingerprint", return_value="the same")


Fault = tuple[int, Callable[[], SequenceModel], Callable[[], AbstractContextManager[Any]]]

MUTANTS: list[Fault] = [
    (1, PeeksAhead, nullcontext),
    (2, ChunkForgetsCarry, nullcontext),
    (2, IgnoresCapacity, nullcontext),
    (3, PairsForgetPosition, nullcontext),
    (4, PaddingLeaks, nullcontext),
    (5, PaddingIsRemembered, nullcontext),
    (5, OnePositionForAll, nullcontext),
    (6, ToyAttention, counts_padding),
    (7, RowsDependOnTheirIndex, nullcontext),
    (8, WritesInPlace, nullcontext),
    (9, IsNotNormalized, nullcontext),
    (9, DenseDisagrees, nullcontext),
    (10, ToyAttention, beam_forgets_what_ended),
    (11, ToyAttention, beam_does_not_reorder_states),
    (11, ToyAttention, beam_returns_its_score),
    (11, ToyAttention, beam_takes_the_rows_of_its_first_source),
    (12, LosesItsPosition, nullcontext),
    (12, ToyWindow, any_model_may_load),
    (13, ChunkStopsTheGradient, nullcontext),
    (14, ReachTooShort, nullcontext),
    (14, ReachTooLong, nullcontext),
    (14, ReachNotUnbounded, nullcontext),
    (15, ChunksOfThreeLoseOne, nullcontext),
    (16, DropsTheCarryWithoutKeep, nullcontext),
    (18, PeeksAhead, nullcontext),
]
