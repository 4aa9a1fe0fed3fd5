"""The tape: the elements that each element sees, for any order of appends and any rows.

The oracle is enumeration: keys are the numbers 1000 row + position, so what a query sees can be
read off and compared with the last `context` elements of its row.
"""

import random
import threading

import pytest
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.errors import ConfigError
from seriatim.layers.attention import EVERYTHING
from seriatim.layers.kv_tape import FixedTape, GrowingTape, Tape, empty_tape

LIKE = torch.zeros((), dtype=torch.float64)


def new(rows: int = 1, context: int = 4, capacity: int | None = None) -> Tape:
    return empty_tape(
        rows,
        num_layers=2,
        num_heads=1,
        key_size=1,
        value_size=2,
        context=context,
        like=LIKE,
        capacity=capacity,
    )


def push(
    tape: Tape, elements: list[list[int]], *, keep: bool = True
) -> tuple[list[list[set[int]]], Tape | None]:
    """Append the elements of every row, padded; what each sees, read off the second layer."""
    longest = max(map(len, elements))
    lengths = torch.tensor([len(e) for e in elements])
    padded = torch.tensor([e + [-1] * (longest - len(e)) for e in elements], dtype=LIKE.dtype)
    keys = padded[:, None, :, None]
    level = all(len(e) == longest for e in elements)
    chunk = tape.append(longest, None if level else lengths, keep=keep)
    chunk.view(0, keys + 0.5, keys.repeat(1, 1, 1, 2))
    k, v = chunk.view(1, keys, keys.repeat(1, 1, 1, 2))
    assert torch.equal(k, v[..., :1])
    k = k.repeat_interleave(chunk.mask.group, 0)
    visible = torch.ones(len(elements), longest, k.shape[2], dtype=torch.bool)
    if chunk.mask.is_causal:
        visible &= torch.ones_like(visible).tril()
    if chunk.mask.bias is not None:
        visible &= (chunk.mask.bias == 0).reshape(-1, longest, k.shape[2])
    assert visible.any(-1).all(), "a query that sees nothing makes NaN, at padding too"
    seen = [
        [set(k[row, 0, visible[row, i], 0].int().tolist()) for i in range(len(own))]
        for row, own in enumerate(elements)
    ]
    return seen, chunk.keep() if keep else None


class History:
    """Rows as plain lists: what the elements of a tape must see."""

    def __init__(self, rows: int, context: int) -> None:
        self.rows: list[list[int]] = [[] for _ in range(rows)]
        self.context = context

    def extend(self, counts: list[int]) -> tuple[list[list[int]], list[list[set[int]]]]:
        """New elements of every row, and what each must see."""
        elements, expected = [], []
        for row, count in enumerate(counts):
            first = len(self.rows[row])
            elements.append([1000 * row + p for p in range(first, first + count)])
            self.rows[row] += elements[-1]
            ends = range(first + 1, first + count + 1)
            expected.append([set(self.rows[row][max(0, e - self.context) : e]) for e in ends])
        return elements, expected


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("capacity", [None, 4, 9])
@pytest.mark.parametrize("context", [1, 2, 4])
def test_every_element_sees_the_last_context_elements_of_its_row(
    context: int, capacity: int | None, grad: bool
):
    draw = random.Random(context)
    for is_ragged in (False, True):
        history, tape = History(3, context), new(3, context, capacity)
        for _ in range(25):
            count = draw.randint(1, 6)
            counts = [draw.randint(0, count) if is_ragged else count for _ in range(3)]
            if not any(counts):
                continue
            elements, expected = history.extend(counts)
            with torch.set_grad_enabled(grad):
                unkept, _ = push(tape, elements, keep=False)
                seen, tape = push(tape, elements)
            assert seen == unkept == expected


def test_rows_that_were_ragged_can_be_continued_in_single_steps():
    history, tape = History(2, 4), new(2, 4)
    for counts in ([3, 1], [1, 1], [1, 1], [0, 2], *[[1, 1]] * 20):
        elements, expected = history.extend(counts)
        with torch.no_grad():
            seen, tape = push(tape, elements)
        assert seen == expected


def test_level_rows_need_no_mask_for_a_single_step():
    tape = new(2)
    with torch.no_grad():
        for i in range(9):
            assert tape.append(1, None, keep=False).mask == EVERYTHING
            _, tape = push(tape, [[i], [i]])


def test_a_ragged_prompt_needs_no_mask_but_the_causal_one():
    lengths = torch.tensor([3, 1])
    for keep in (True, False):
        mask = new(2).append(3, lengths, keep=keep).mask
        assert mask.is_causal
        assert mask.bias is None


@torch.no_grad()
def test_a_branch_and_its_sibling_can_both_be_continued():
    _, old = push(new(), [[0, 1]])
    _, old = push(old, [[2]])
    _, left = push(old, [[10]])
    _, right = push(old, [[20]])
    assert push(right, [[21]])[0] == [[{1, 2, 20, 21}]]
    assert push(left, [[11]])[0] == [[{1, 2, 10, 11}]]
    assert push(old, [[30]])[0] == [[{0, 1, 2, 30}]]


@torch.no_grad()
def test_a_line_of_steps_writes_in_place_and_a_branch_copies_once():
    tape, buffers = new(context=64), set()
    held = []
    for i in range(1000):
        _, tape = push(tape, [[i]])
        held.append(tape)  # else an address could be used again
        buffers.add(tape.keys[0].data_ptr())
    assert len(buffers) <= 6 + 1000 / 64
    old = held[-10]
    _, branch = push(old, [[5000]])
    assert branch.keys[0].data_ptr() != old.keys[0].data_ptr()
    _, further = push(branch, [[5001]])
    assert further.keys[0].data_ptr() == branch.keys[0].data_ptr()


@torch.no_grad()
def test_a_tape_holds_no_more_than_twice_its_context():
    for counts in ([1, 1], [1, 0], [3, 1]):
        tape, history = new(2, context=8), History(2, 8)
        for _ in range(100):
            elements, expected = history.extend(counts)
            seen, tape = push(tape, elements)
            assert seen == expected
            assert tape.keys[0].shape[2] <= 16
            assert tape.keys[0].untyped_storage().nbytes() <= 2 * 16 * LIKE.element_size()
    _, tape = push(new(context=8), [list(range(100))])
    assert tape.keys[0].untyped_storage().nbytes() <= 16 * LIKE.element_size()


def test_a_tape_that_autograd_records_is_bounded_too():
    tape, history = new(2, context=8), History(2, 8)
    for _ in range(40):
        elements, expected = history.extend([2, 1])
        seen, tape = push(tape, elements)
        assert seen == expected
        assert tape.keys[0].shape[2] <= 16


def test_tensors_that_autograd_recorded_are_never_overwritten():
    weight = torch.ones((), dtype=LIKE.dtype, requires_grad=True)

    def step(tape: Tape, at: int) -> tuple[Tensor, Tape]:
        keys = (weight * at).expand(1, 1, 1, 1)
        chunk = tape.append(1, None)
        for layer in (0, 1):
            k, _ = chunk.view(layer, keys, keys.repeat(1, 1, 1, 2))
        return (k * k).sum(), chunk.keep()

    _, tape = step(new(), 1)
    loss, tape = step(tape, 2)
    with torch.no_grad():
        step(tape, 3)
        step(tape, 4)
    assert torch.autograd.grad(loss, weight)[0] == 2 * (1 + 4)


def test_a_tape_of_inference_mode_can_be_continued_outside_of_it():
    with torch.inference_mode():
        _, tape = push(new(), [[0]])
        _, tape = push(tape, [[1]])
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert push(tape, [[2]])[0] == [[{0, 1, 2}]]


@torch.no_grad()
def test_threads_that_append_to_one_tape_do_not_disturb_each_other():
    _, root = push(new(context=32), [[0]])
    _, root = push(root, [[1]])
    wrong: list[int] = []
    barrier = threading.Barrier(4)

    def walk(me: int) -> None:
        with torch.no_grad():
            for round_ in range(30):
                tape, seen = root, {0, 1}
                barrier.wait()
                for i in range(10):
                    element = 10000 * me + 100 * round_ + i
                    seen = seen | {element}
                    found, tape = push(tape, [[element]])
                    if found != [[seen]]:
                        wrong.append(element)

    threads = [threading.Thread(target=walk, args=(me,)) for me in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@torch.no_grad()
@pytest.mark.parametrize("capacity", [None, 4])
def test_rows_can_be_selected_repeated_and_joined(capacity: int | None):
    _, tape = push(new(2, capacity=capacity), [[0, 1, 2], [100, 101, 102]])
    chosen = tree.select(tape, torch.tensor([1, 1, 0]))
    assert push(chosen, [[7], [8], [9]])[0] == [
        [{100, 101, 102, 7}],
        [{100, 101, 102, 8}],
        [{0, 1, 2, 9}],
    ]
    assert push(tree.repeat(tape, 2), [[6], [7], [8], [9]])[0][1] == [{0, 1, 2, 7}]
    _, short = push(new(1, capacity=capacity), [[200]])
    _, empty = push(new(2, capacity=capacity), [[300, 301], []])
    together = tree.cat([tape, short, empty])
    seen, together = push(together, [[1], [2], [3], [4], [5]])
    assert seen == [[{0, 1, 2}], [{100, 101, 102, 2}], [{200, 3}], [{300, 301, 4}], [{5}]]
    for i in range(10):
        seen, together = push(together, [[50 + i]] * 5)
    assert seen == [[{56, 57, 58, 59}]] * 5


@torch.no_grad()
def test_level_tapes_of_one_length_stay_level_when_joined():
    _, one = push(new(), [[0, 1]])
    _, other = push(new(), [[10, 11]])
    together = tree.cat([one, other])
    assert isinstance(together, GrowingTape)
    assert together.ragged is None
    assert push(together, [[2], [12]])[0] == [[{0, 1, 2}], [{10, 11, 12}]]


@torch.no_grad()
@pytest.mark.parametrize("capacity", [None, 4])
@pytest.mark.parametrize("is_ragged", [False, True])
def test_a_tape_survives_saving_and_loading(capacity: int | None, is_ragged: bool):
    first = [[0, 1, 2], [100]] if is_ragged else [[0, 1], [100, 101]]
    _, tape = push(new(2, capacity=capacity), first)
    again = tree.from_bytes(tree.to_bytes(tape, owner="m"), owner="m")
    assert type(again) is type(tape)
    assert push(again, [[7], [8]])[0] == push(tape, [[7], [8]])[0]


@torch.no_grad()
def test_a_long_tape_saves_only_the_elements_that_a_later_one_sees():
    tape = new(context=8)
    for i in range(100):
        _, tape = push(tape, [[i]])
    assert all(leaf.shape[2] == 7 for leaf in tree.leaves(tape))


@torch.no_grad()
def test_a_fixed_tape_never_changes_its_shape_and_leaves_the_old_one_alone():
    tape = new(2, context=4, capacity=100)
    shapes = [leaf.shape for leaf in tree.leaves(tape)]
    assert isinstance(tape, FixedTape)
    assert tape.keys[0].shape[2] == 4, "room beyond the context would never be used"
    for i in range(11):
        before = [leaf.clone() for leaf in tree.leaves(tape)]
        _, after = push(tape, [[i], [i]])
        assert all(map(torch.equal, before, tree.leaves(tape)))
        assert [leaf.shape for leaf in tree.leaves(after)] == shapes
        tape = after


def test_a_capacity_that_holds_nothing_is_refused():
    with pytest.raises(ConfigError, match="capacity = 0: give 1 or more"):
        new(capacity=0)
