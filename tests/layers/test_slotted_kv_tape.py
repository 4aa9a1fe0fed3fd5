"""Slotted tapes: rows come, go on by one element in place, and leave; each sees its own past.

The oracle is enumeration, as in `test_kv_tape`: keys are numbers, and the slots that a query sees
are compared with the last `context` elements of its row.
"""

import random

import pytest
import torch

from seriatim.core import tree
from seriatim.errors import ConfigError
from seriatim.layers.kv_tape import GrowingTape
from seriatim.layers.slotted_kv_tape import SlottedTape
from seriatim.models import Transformer
from seriatim.models.build import build_model
from tests.layers.test_kv_tape import new, push


class Company:
    """Rows that come and go, by lists: the elements of each row."""

    def __init__(self, context: int, seed: int) -> None:
        self.context, self.draw, self.count = context, random.Random(seed), 0
        self.rows: list[list[int]] = [[], []]
        self.tape = new(2, context=context)

    def push(self, lengths: list[int]) -> None:
        elements = []
        for row, length in zip(self.rows, lengths, strict=True):
            elements.append(list(range(self.count, self.count + length)))
            self.count += length
            row += elements[-1]
        seen, self.tape = push(self.tape, elements)
        for row, found in zip(self.rows, seen, strict=True):
            for back, one in enumerate(reversed(found)):
                end = len(row) - back
                assert one == set(row[max(0, end - self.context) : end])

    def other(self) -> tuple[list[int], GrowingTape]:
        """A row that was read alone."""
        length = self.draw.randint(1, 2 * self.context)
        elements = list(range(self.count, self.count + length))
        self.count += length
        return elements, push(new(1, context=self.context), [elements])[1]

    def put(self) -> None:
        elements, tape = self.other()
        at = self.draw.randrange(len(self.rows))
        self.tape = tree.put(self.tape, torch.tensor([at]), tape)
        self.rows[at] = elements

    def join(self) -> None:
        elements, tape = self.other()
        self.tape = tree.cat([self.tape, tape])
        self.rows.append(elements)

    def select(self) -> None:
        index = [self.draw.randrange(len(self.rows)) for _ in range(self.draw.randint(1, 4))]
        self.tape = tree.select(self.tape, torch.tensor(index))
        self.rows = [list(self.rows[i]) for i in index]


@torch.no_grad()
@pytest.mark.parametrize("context", [1, 2, 5, 40])
@pytest.mark.parametrize("seed", range(4))
def test_every_row_sees_its_own_past_whoever_comes_and_goes(context: int, seed: int) -> None:
    company = Company(context, seed)
    company.push([1, 1])
    company.put()
    for _ in range(150):
        kind = company.draw.random()
        if kind < 0.7:
            company.push([1] * len(company.rows))
        elif kind < 0.75:
            company.push([company.draw.randint(0, 3) for _ in company.rows[1:]] + [2])
        elif kind < 0.85:
            company.put()
        elif kind < 0.93:
            company.join()
        else:
            company.select()
    assert isinstance(company.tape, SlottedTape)


@torch.no_grad()
def test_a_step_and_a_row_that_joins_copy_no_ring() -> None:
    company = Company(40, 1)
    company.push([30, 20])
    company.put()
    before = company.tape.keys[0].data_ptr()
    company.push([1, 1])
    company.put()
    company.push([1, 1])
    assert company.tape.keys[0].data_ptr() == before


@torch.no_grad()
def test_a_tape_that_has_gone_on_is_refused() -> None:
    company = Company(8, 1)
    company.push([3, 3])
    company.put()
    old, rows = company.tape, [list(row) for row in company.rows]
    kept = tree.select(old, torch.tensor([0, 1]))
    company.push([1, 1])
    with pytest.raises(ConfigError, match="gone on"):
        push(old, [[1], [2]])
    with pytest.raises(ConfigError, match="gone on"):
        tree.put(old, torch.tensor([0]), company.other()[1])
    company.tape, company.rows = kept, rows
    company.push([1, 1])


@torch.inference_mode()
def test_a_transformer_steps_the_same_in_slots() -> None:
    config = Transformer(model_size=16, num_layers=2, num_heads=2, context=6)
    torch.manual_seed(0)
    model = build_model(config, 11, 1).double().eval()
    prompts = [torch.randint(11, (1, n)) for n in (3, 9, 1, 5)]
    states = [model.update(model.start(1), prompt) for prompt in prompts]
    together = tree.cat([states[0], states[1]])
    together = tree.put(together, torch.tensor([1]), states[2])
    together = tree.cat([together, states[1], states[3]])
    apart = [states[0], states[2], states[1], states[3]]
    for _ in range(12):
        x = torch.randint(11, (4,))
        together = model.step(together, x)
        apart = [model.step(state, x[i : i + 1]) for i, state in enumerate(apart)]
        expected = torch.cat([model.predict(state).dense() for state in apart])
        torch.testing.assert_close(model.predict(together).dense(), expected)
    again = model.load_state(model.save_state(together))
    torch.testing.assert_close(model.predict(again).dense(), model.predict(together).dense())
