"""Branched tapes: rows follow other rows, every one sees its own past, and nothing is copied.

The oracle is enumeration, as in `test_tape`: keys are numbers, and the slots that a query sees are
compared with the list of elements of its row.
"""

import random

import pytest
import torch

from seriatim.core import tree
from seriatim.decode.beam import beam_search_rows
from seriatim.layers.kv_tape import BranchedTape, GrowingTape
from seriatim.models import Transformer
from seriatim.models.build import build_model
from tests.layers.test_kv_tape import new, push


class Search:
    """A beam of `width` rows for each source, by lists: the elements of each row."""

    def __init__(self, sources: int, width: int, context: int, prompt: int) -> None:
        self.width, self.context, self.count = width, context, 0
        self.rows: list[list[int]] = [[] for _ in range(sources)]
        self.tape = new(sources, context=context)
        if prompt:
            self.push(prompt)
        self.follow([row for row in range(sources) for _ in range(width)])

    def push(self, length: int = 1) -> None:
        elements = []
        for row in self.rows:
            elements.append(list(range(self.count, self.count + length)))
            self.count += length
            row += elements[-1]
        seen, self.tape = push(self.tape, elements)
        for row, found in zip(self.rows, seen, strict=True):
            for back, one in enumerate(reversed(found)):
                end = len(row) - back
                assert one == set(row[max(0, end - self.context) : end])

    def follow(self, index: list[int]) -> None:
        self.rows = [list(self.rows[i]) for i in index]
        self.tape = tree.select(self.tape, torch.tensor(index))

    def follow_some(self, rng: random.Random, sources: list[int], width: int) -> None:
        """Rows of `width` for each of these sources, each after any row of its source."""
        self.follow(
            [
                source * self.width + rng.randrange(self.width)
                for source in sources
                for _ in range(width)
            ]
        )
        self.width = width


@torch.no_grad()
@pytest.mark.parametrize("context", [1, 2, 5, 1000])
@pytest.mark.parametrize("prompt", [0, 1, 7])
def test_every_row_sees_its_own_past_whichever_row_it_follows(context: int, prompt: int):
    rng = random.Random(context + prompt)
    search = Search(4, 3, context, prompt)
    sources = 4
    for step in range(60):
        search.push()
        if step in (20, 40):
            sources -= 1
            search.follow_some(rng, rng.sample(range(sources + 1), sources), search.width)
        elif step == 50:
            search.follow_some(rng, list(range(sources)), 2)
        elif rng.random() < 0.8:
            search.follow_some(rng, list(range(sources)), search.width)
        assert isinstance(search.tape, BranchedTape)


@torch.no_grad()
def test_following_copies_no_key_and_leaves_the_old_tape_usable():
    rng = random.Random(0)
    search = Search(2, 4, 1000, 5)
    search.push()
    old, rows = search.tape, [list(row) for row in search.rows]
    where = [t.data_ptr() for t in old.keys]
    search.follow_some(rng, [0, 1], 4)
    assert [t.data_ptr() for t in search.tape.keys] == where
    for _ in range(5):
        search.push()
    for elements in ([[900 + i] for i in range(8)], [[800 + i] for i in range(8)]):
        seen, _ = push(old, elements)
        assert seen == [[{*row, e}] for row, (e,) in zip(rows, elements, strict=True)]


@torch.no_grad()
def test_the_pool_of_rows_that_agree_is_hardly_larger_than_the_past_of_one():
    rng = random.Random(1)
    search = Search(2, 4, 10_000, 3)
    for _ in range(400):
        search.push()
        search.follow_some(rng, [0, 1], 4)
    assert isinstance(search.tape, BranchedTape)
    assert search.tape.seen.shape[2] < 1.6 * 403 + 64 + 32


@torch.no_grad()
def test_rows_that_share_too_little_are_separated():
    search = Search(1, 8, 10_000, 2)
    for _ in range(100):
        search.push()
    assert isinstance(search.tape, GrowingTape)


@torch.no_grad()
@pytest.mark.parametrize("length", [2, 5])
def test_a_longer_chunk_separates_the_rows_and_sees_the_same(length: int):
    rng = random.Random(2)
    search = Search(3, 2, 6, 4)
    for _ in range(5):
        search.push()
        search.follow_some(rng, [0, 1, 2], 2)
    search.push(length)
    assert isinstance(search.tape, GrowingTape)
    search.push()


@torch.no_grad()
def test_rows_of_different_lengths_are_separated_and_can_be_continued():
    tape = tree.repeat(push(new(2, context=9), [[0, 1], [10, 11]])[1], 2)
    seen, after = push(tape, [[2], [], [12, 13], [14]])
    assert seen == [[{0, 1, 2}], [], [{10, 11, 12}, {10, 11, 12, 13}], [{10, 11, 14}]]
    assert push(after, [[5], [6], [7], [8]])[0] == [
        [{0, 1, 2, 5}],
        [{0, 1, 6}],
        [{10, 11, 12, 13, 7}],
        [{10, 11, 14, 8}],
    ]


@torch.no_grad()
def test_a_saved_branched_tape_still_shares_when_loaded():
    rng = random.Random(3)
    search = Search(2, 3, 50, 4)
    for _ in range(6):
        search.push()
        search.follow_some(rng, [0, 1], 3)
    again = tree.from_bytes(tree.to_bytes(search.tape, owner="m"), owner="m")
    assert isinstance(again, BranchedTape)
    assert again.group == 3
    elements = [[500 + i] for i in range(6)]
    assert push(again, elements)[0] == push(search.tape, elements)[0]
    assert tree.rows(search.tape) == 6


@torch.no_grad()
def test_branched_and_other_tapes_can_be_joined():
    rng = random.Random(4)
    search = Search(2, 2, 50, 2)
    search.push()
    search.follow_some(rng, [0, 1], 2)
    _, other = push(new(1, context=50), [[700, 701]])
    for tapes, rows in (
        ([search.tape, other], [*search.rows, [700, 701]]),
        ([other, search.tape], [[700, 701], *search.rows]),
    ):
        elements = [[800 + i] for i in range(5)]
        seen, _ = push(tree.cat(tapes), elements)
        assert seen == [[{*row, e}] for row, (e,) in zip(rows, elements, strict=True)]


def test_gradients_reach_the_elements_before_the_branch():
    model = build_model(
        Transformer(model_size=8, num_layers=2, num_heads=2, context=8), 5, 1
    ).double()
    x, y = torch.tensor([[2, 3, 0], [3, 3, 2]]), torch.tensor([4, 2, 0, 3])
    index = torch.tensor([0, 0, 1, 1])

    def loss(branch: bool) -> torch.Tensor:
        if branch:
            state = model.step(tree.select(model.update(model.start(2), x), index), y)
        else:
            state = model.update(model.start(4), torch.cat([x[index], y[:, None]], 1))
        return model.predict(state).dense()[:, 0].sum()

    found = [
        torch.autograd.grad(loss(branch), list(model.parameters())) for branch in (True, False)
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("context", [4, 64])
def test_a_beam_on_branched_tapes_has_the_log_probabilities_of_the_model(context: int):
    torch.manual_seed(0)
    model = build_model(
        Transformer(model_size=16, num_layers=2, num_heads=2, context=context), 7, 1
    )
    model = model.double().eval()
    prompts = torch.tensor([[2, 3, 4, 2], [5, 6, 2, 2]])
    with torch.no_grad():
        state = model.update(model.start(2), prompts)
        found = beam_search_rows(model, state, beam=3, max_length=12, end=1)
        for prompt, hypotheses in zip(prompts.tolist(), found, strict=True):
            for h in hypotheses:
                symbols = torch.tensor([[*prompt, *h.symbols, *([1] if h.is_ended else [])]])
                state, total = model.start(1), 0.0
                for t, x in enumerate(symbols[0]):
                    if t >= len(prompt):
                        total += float(model.predict(state).log_prob(x[None]))
                    state = model.step(state, x[None])
                assert total == pytest.approx(h.log_prob, abs=1e-10)
