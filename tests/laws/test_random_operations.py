"""Random operations on states: each row must predict what its own past says.

A machine starts a state, folds ragged chunks and single elements, selects, repeats and joins rows,
goes back to older states and branches from them, and sends states through bytes. Beside every state
stands the plain list of elements of each of its rows; read from nothing, they must give the same
distribution. That drives the tree operations, the tapes (growing, branched, of constant shape) and
the step kernels through orders of calls that no one would write down.
"""

from collections.abc import Collection
from typing import Any

import hypothesis.strategies as some
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import seriatim as st
from seriatim.core import tree
from seriatim.core.model import SequenceModel, State
from seriatim.decode.beam import beam_search_rows
from seriatim.models.build import build_model
from tests.decode.reference import END, random_attention, sources, written_out
from tests.laws.mutants import OnePositionForAll, PaddingIsRemembered, WritesInPlace
from tests.laws.toys import ToyAttention

V, BOUNDARY, MOST_ROWS = 4, 1, 6
CONFIGS: dict[str, Any] = {
    "gru": st.GRU(hidden_size=4, num_layers=2),
    "lstm": st.LSTM(hidden_size=4),
    "autoregressive": st.Autoregressive(window=3, embedding_size=3, hidden_size=4),
    "transformer, short context": st.Transformer(
        model_size=4, num_layers=2, num_heads=2, context=3
    ),
    "transformer, long context": st.Transformer(
        model_size=4, num_layers=1, num_heads=2, context=64
    ),
}
symbols = some.integers(0, V - 1)
rows_of_symbols = some.lists(some.lists(symbols, max_size=5), min_size=1, max_size=MOST_ROWS)


class States(RuleBasedStateMachine):
    """States of one model, each with the elements that its rows have seen."""

    model: SequenceModel
    capacity: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.states: list[tuple[State, list[list[int]]]] = []
        self.now = 0

    @initialize(size=some.integers(1, 3))
    def begin(self, size: int) -> None:
        self.add(self.model.start(size, capacity=self.capacity), [[] for _ in range(size)])

    def add(self, state: State, pasts: list[list[int]]) -> None:
        self.states.append((state, pasts))
        self.now = len(self.states) - 1

    @rule(chunks=rows_of_symbols)
    def fold_a_ragged_chunk(self, chunks: list[list[int]]) -> None:
        state, pasts = self.states[self.now]
        chunks = [chunks[i % len(chunks)] for i in range(len(pasts))]
        longest = max(map(len, chunks))
        x = torch.tensor([c + [0] * (longest - len(c)) for c in chunks]).view(len(pasts), longest)
        lengths = torch.tensor([len(c) for c in chunks])
        self.add(
            self.model.update(state, x, lengths),
            [p + c for p, c in zip(pasts, chunks, strict=True)],
        )

    @rule(elements=some.lists(symbols, min_size=MOST_ROWS, max_size=MOST_ROWS))
    def fold_one_element(self, elements: list[int]) -> None:
        state, pasts = self.states[self.now]
        x = torch.tensor(elements[: len(pasts)])
        self.add(
            self.model.step(state, x), [[*p, e] for p, e in zip(pasts, x.tolist(), strict=True)]
        )

    @rule(index=some.lists(some.integers(0, MOST_ROWS), min_size=1, max_size=MOST_ROWS))
    def select_rows(self, index: list[int]) -> None:
        state, pasts = self.states[self.now]
        index = [i % len(pasts) for i in index]
        self.add(tree.select(state, torch.tensor(index)), [pasts[i] for i in index])

    @precondition(lambda self: len(self.states[self.now][1]) * 2 <= MOST_ROWS)
    @rule()
    def repeat_rows(self) -> None:
        state, pasts = self.states[self.now]
        self.add(tree.repeat(state, 2), [p for p in pasts for _ in range(2)])

    @precondition(lambda self: self.capacity is None)
    @rule(other=some.integers(0, 99))
    def join_with_another(self, other: int) -> None:
        state, pasts = self.states[self.now]
        other_state, other_pasts = self.states[other % len(self.states)]
        if len(pasts) + len(other_pasts) <= MOST_ROWS:
            self.add(tree.cat([state, other_state]), pasts + other_pasts)

    @rule(which=some.integers(0, 99))
    def go_back(self, which: int) -> None:
        self.now = which % len(self.states)

    @rule()
    def save_and_load(self) -> None:
        state, pasts = self.states[self.now]
        self.add(self.model.load_state(self.model.save_state(state)), pasts)

    @invariant()
    def every_row_predicts_what_its_past_says(self) -> None:
        for state, pasts in self.states[max(0, self.now - 1) : self.now + 1]:
            seen = self.model.predict(state).dense()  # type: ignore[attr-defined]
            for row, past in zip(seen, pasts, strict=True):
                alone = self.model.update(self.model.start(1), torch.tensor([past]).view(1, -1))
                expected = self.model.predict(alone).dense()[0]  # type: ignore[attr-defined]
                torch.testing.assert_close(row, expected, rtol=0, atol=1e-9)


def run(
    subject: SequenceModel,
    capacity: int | None = None,
    examples: int = 12,
    phases: Collection[Phase] = tuple(Phase),
) -> None:
    """Drive one model through random operations."""

    class Machine(States):
        model = subject

    Machine.capacity = capacity
    with torch.inference_mode():
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=12,
                deadline=None,
                derandomize=True,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [None, 64])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_row_predicts_what_its_past_says_after_random_operations(
    name: str, capacity: int | None
) -> None:
    torch.manual_seed(0)
    run(build_model(CONFIGS[name], V, BOUNDARY).double().eval(), capacity)


@pytest.mark.parametrize("mutant", [WritesInPlace, OnePositionForAll, PaddingIsRemembered])
def test_random_operations_find_a_fault(mutant: type[ToyAttention]) -> None:
    with pytest.raises(AssertionError, match="not close"):
        run(mutant(V, BOUNDARY).double(), examples=100, phases=[Phase.generate])


@pytest.mark.slow
@given(
    seed=some.integers(0, 99),
    num_symbols=some.integers(2, 5),
    count=some.integers(1, 4),
    width=some.integers(2, 6),
    max_length=some.integers(1, 5),
    has_end=some.booleans(),
    alpha=some.sampled_from([0.0, 0.6, 1.0]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_random_search_finds_what_a_search_written_out_finds(
    seed: int,
    num_symbols: int,
    count: int,
    width: int,
    max_length: int,
    has_end: bool,
    alpha: float,
) -> None:
    model = random_attention(seed, num_symbols)
    states = sources(model, count)
    end = END if has_end else None
    options: dict[str, Any] = {
        "max_length": max_length,
        "end": end,
        "alpha": alpha if has_end else 0.0,
    }
    with torch.inference_mode():
        results = beam_search_rows(model, states, beam=width, num_best=width, **options)
        for i, result in enumerate(results):
            row: State = tree.select(states, torch.tensor([i]))
            expected = written_out(model, row, width=width, **options)[:width]
            assert [h.symbols for h in result] == [h.symbols for h in expected]
            assert [h.log_prob for h in result] == pytest.approx(
                [h.log_prob for h in expected], abs=1e-9
            )
