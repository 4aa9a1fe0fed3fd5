"""Reading a prompt: the state after it, and what the model says of each of its symbols.

A prompt is read alone, in chunks, so the state after it is the same in any company. The boundary is
folded once: a prompt of ids may begin with it, as prompts of evaluation harnesses do, or not. In
models of lines and documents a boundary within a prompt ends one sequence and begins another, as in
`seriatim score`.

States after prompts are remembered for each client apart, so that nobody learns from the time of
an answer what others have asked.

Knows models, states and symbols; no text and no protocol.

Shapes: T symbols of a prompt, L of a chunk.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from seriatim.core import tree
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel, State
from seriatim.data.vocab.vocabulary import Ids
from seriatim.serve.rows import Listed, list_symbols

_CHUNK = 512  # symbols read at once: between two chunks others have their turn
_REMEMBERED = 32  # prompts of each client


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt that was read.

    Attributes:
        state: the state of one row after it.
        listed: (T,) what was predicted of each symbol, None of the first; empty if not asked for.
    """

    state: State
    listed: list[Listed | None]


def read_prompt(
    model: SequenceModel,
    ids: Ids,
    *,
    has_ends: bool,
    num_top: int | None,
    breathe: Callable[[], None],
    memory: "PromptMemory | None" = None,
) -> ReadPrompt:
    """Read the symbols of a prompt.

    Args:
        model: the model.
        ids: (T,) the symbols.
        has_ends: whether the boundary ends a sequence.
        num_top: the number of most probable symbols to list at each symbol; None: none is listed.
        breathe: a function to call between chunks; it raises to stop.
        memory: the states of earlier prompts of the same client.
    """
    if num_top is None:
        begun = begin_prompt(model, ids, has_ends=has_ends, memory=memory)
        return ReadPrompt(_read_on(model, begun, breathe, memory), [])
    own, begins_with_boundary = _without_boundary(model, ids)
    state = model.start(1)
    listed: list[Listed | None] = []
    for begin, end in _chunks(own, model, has_ends, _step(model)):
        if begin == end:  # a boundary that ends a sequence: what comes is another one
            listed += _list_chunk(model, state, own[begin : end + 1], num_top)[0]
            state = model.start(1)
            continue
        found, state = _list_chunk(model, state, own[begin:end], num_top)
        listed += found
        breathe()
    if begins_with_boundary:
        listed.insert(0, None)
    elif listed:
        listed[0] = None
    return ReadPrompt(state, listed)


def _step(model: SequenceModel) -> int:
    return max(1, min(_CHUNK, model.positions_at_once))


def _chunks(ids: Ids, model: SequenceModel, has_ends: bool, size: int) -> list[tuple[int, int]]:
    """Where chunks begin and end; an empty one stands before each boundary that ends a sequence."""
    cuts = np.flatnonzero(ids == model.boundary).tolist() if has_ends else []
    chunks: list[tuple[int, int]] = []
    start = 0
    for cut in [*cuts, None]:
        stop = len(ids) if cut is None else cut
        chunks += [(i, min(i + size, stop)) for i in range(start, stop, size)]
        if cut is not None:
            chunks.append((cut, cut))
            start = cut + 1
    return chunks


def _list_chunk(
    model: SequenceModel, state: State, ids: Ids, num_top: int
) -> tuple[list[Listed | None], State]:
    """What is predicted of each symbol of a chunk from the state before it; the state after."""
    x = torch.from_numpy(np.ascontiguousarray(ids))[None].to(model.device)
    first = list_symbols(as_discrete(model.predict(state)), x[:, 0], num_top)
    features, carry = model.advance(state.carry, x, None)
    listed: list[Listed | None] = [*first]
    if len(ids) > 1:
        before = tree.map_leaves(lambda t: t[0, :-1], features)
        listed += list_symbols(as_discrete(model.emit(before)), x[0, 1:], num_top)
    return listed, State(tree.at_last(features, None), carry)


@dataclass(frozen=True)
class BegunPrompt:
    """A prompt of which a beginning is remembered.

    Attributes:
        ids: the symbols of its last sequence, without boundaries.
        num_read: how many of them have been read.
        state: the state of one row after these.
    """

    ids: Ids
    num_read: int
    state: State


def begin_prompt(
    model: SequenceModel, ids: Ids, *, has_ends: bool, memory: "PromptMemory | None" = None
) -> BegunPrompt:
    """The state after the longest beginning of a prompt that is remembered; see `read_prompt`."""
    own, _ = _without_boundary(model, ids)
    if has_ends and len(at := np.flatnonzero(own == model.boundary)):
        own = own[at[-1] + 1 :]
    found = None if memory is None else memory.longest(own)
    return BegunPrompt(own, *((0, model.start(1)) if found is None else found))


def _without_boundary(model: SequenceModel, ids: Ids) -> tuple[Ids, bool]:
    """The symbols after the boundary with which they may begin, and whether they do."""
    begins = len(ids) > 0 and int(ids[0]) == model.boundary
    return (ids[1:] if begins else ids), begins


def _read_on(
    model: SequenceModel,
    begun: BegunPrompt,
    breathe: Callable[[], None],
    memory: "PromptMemory | None",
) -> State:
    ids, state = begun.ids, begun.state
    for begin in range(begun.num_read, len(ids), _CHUNK):
        x = torch.from_numpy(np.ascontiguousarray(ids[begin : begin + _CHUNK]))[None]
        state = model.update(state, x.to(model.device))
        breathe()
    if memory is not None and len(ids) > begun.num_read:
        memory.keep(ids, state)
    return state


class PromptMemory:
    """The states after the last prompts of one client at one model."""

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: the bytes of all states; the oldest are forgotten first.
        """
        self._max_bytes, self.num_bytes = max_bytes, 0
        self._states: OrderedDict[bytes, tuple[Ids, State, int]] = OrderedDict()

    def longest(self, ids: Ids) -> tuple[int, State] | None:
        """The state after the longest remembered beginning of a prompt, and its length."""
        best: tuple[int, bytes] | None = None
        for key, (known, _, _) in self._states.items():
            is_longer = best is None or len(known) > best[0]
            if is_longer and len(known) <= len(ids) and np.array_equal(ids[: len(known)], known):
                best = len(known), key
        if best is None:
            return None
        self._states.move_to_end(best[1])
        return best[0], self._states[best[1]][1]

    def keep(self, ids: Ids, state: State) -> None:
        """Remember the state after a prompt."""
        size = tree.num_bytes(state) + ids.nbytes
        if size > self._max_bytes:
            return
        self._states[ids.tobytes()] = ids.copy(), state, size
        self.num_bytes += size
        while self.num_bytes > self._max_bytes or len(self._states) > _REMEMBERED:
            self.num_bytes -= self._states.popitem(last=False)[1][2]
