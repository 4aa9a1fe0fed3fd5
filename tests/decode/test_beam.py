"""Beam search of many sources, against a search written out prefix by prefix and enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.distributions import Discrete
from seriatim.core.ensembles import Mixture, Product
from seriatim.core.model import SequenceModel
from seriatim.decode.beam import beam_search, beam_search_rows
from seriatim.decode.greedy import greedy_search
from seriatim.decode.hypotheses import Hypothesis, bounds, length_penalty
from seriatim.errors import ConfigError, ModelError
from seriatim.models import Seq2Seq
from seriatim.models.build import build_model
from tests.decode.reference import END, assert_same, random_attention, row_of, sources, written_out
from tests.laws.toys import ToyAttention, ToyWindow


class PrefersOdd:
    """A scorer whose scores depend on the previous symbol, with a known ceiling or none."""

    def __init__(self, num_symbols: int, ceiling: float) -> None:
        self.num_symbols, self.bound = num_symbols, ceiling

    def start(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, dtype=torch.int64)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        return x

    def scores(self, state: Tensor) -> Tensor:
        symbols = torch.arange(self.num_symbols)
        return 0.7 * ((symbols + state[:, None]) % 2).double()

    def ceiling(self) -> float:
        return self.bound


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5, -0.5])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_searching_many_sources_equals_the_search_written_out(width: int, alpha: float) -> None:
    for seed in range(2):
        model = random_attention(seed)
        state = sources(model, 5)
        results = beam_search_rows(model, state, beam=width, max_length=6, end=END, alpha=alpha)
        for i in range(5):
            with torch.no_grad():
                expected = written_out(
                    model, row_of(state, i), width=width, max_length=6, end=END, alpha=alpha
                )
            assert_same(results[i], expected[:width])


@pytest.mark.parametrize("ceiling", [0.7, float("inf")])
@pytest.mark.parametrize("weight", [1.0, 0.3, -0.5])
def test_scorers_rank_as_in_the_search_written_out(weight: float, ceiling: float) -> None:
    model = random_attention(1)
    state = sources(model, 5)
    scorers = [(PrefersOdd(5, ceiling), weight)]
    results = beam_search_rows(
        model, state, beam=3, max_length=6, end=END, alpha=0.6, scorers=scorers
    )
    for i in range(5):
        with torch.no_grad():
            expected = written_out(
                model, row_of(state, i), width=3, max_length=6, end=END, alpha=0.6, scorers=scorers
            )
        assert_same(results[i], expected[:3])


def test_the_results_of_a_source_do_not_depend_on_its_batch() -> None:
    model = random_attention(3)
    state = sources(model, 7)
    limits = torch.tensor([9, 0, 3, 1, 7, 5, 2])
    together = beam_search_rows(model, state, beam=3, max_length=limits, end=END, alpha=0.6)
    for i, limit in enumerate(limits.tolist()):
        alone = beam_search(model, row_of(state, i), beam=3, max_length=limit, end=END, alpha=0.6)
        assert_same(together[i], alone)
        assert all(len(h.symbols) <= limit for h in alone)
    assert together[1] == [Hypothesis((), 0.0, 0.0, False)]


def test_a_beam_as_wide_as_the_space_finds_all_sequences_in_order() -> None:
    model = random_attention(0, num_symbols=3)
    state = sources(model, 4)
    results = beam_search_rows(model, state, beam=27, max_length=3, end=END)
    inner = [0, 2]
    sequences = [s for n in range(4) for s in itertools.product(inner, repeat=n)]
    for i in range(4):
        assert {h.symbols for h in results[i]} == set(sequences)
        assert sum(np.exp(h.log_prob) for h in results[i]) == pytest.approx(1.0)
        scores = [h.score for h in results[i]]
        assert scores == sorted(scores, reverse=True)


def _no_bound(rank: NDArray[np.float64], *_: object) -> NDArray[np.float64]:
    return np.where(rank > -np.inf, np.inf, -np.inf)


@pytest.mark.parametrize("num_best", [1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, -1.0])
def test_early_stopping_returns_the_results_of_the_full_search(
    alpha: float, num_best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[bool, int] = {}
    for stops in (True, False):
        if not stops:
            monkeypatch.setattr("seriatim.decode.search.bounds", _no_bound)
        results = []
        for seed in range(4):
            model = random_attention(seed)
            counted = _Counting(model)
            state = sources(model, 4)
            results += beam_search_rows(
                counted, state, beam=4, max_length=10, end=END, alpha=alpha, num_best=num_best
            )
            steps[stops] = steps.get(stops, 0) + counted.rows
        if stops:
            early = results
    for a, b in zip(early, results, strict=True):
        assert_same(a, b)
    assert steps[True] < steps[False], "it stops early"


class _Counting(SequenceModel):
    """A model that counts the rows it has advanced."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__(model.element)
        self.model, self.rows = model, 0

    def empty(self, batch_size: int, **options: object) -> object:  # type: ignore[override]
        return self.model.empty(batch_size)

    def advance(self, carry, x, lengths, *, keep=True):  # type: ignore[no-untyped-def]
        self.rows += len(x)
        return self.model.advance(carry, x, lengths, keep=keep)

    def emit(self, features):  # type: ignore[no-untyped-def]
        return self.model.emit(features)


def test_no_continuation_has_a_score_above_the_bound_of_its_prefix() -> None:
    rng = np.random.default_rng(0)
    for alpha, ceiling in itertools.product((0.0, 0.6, 1.5, -0.5), (0.0, 0.4)):
        rank = -3 * rng.random((1, 1)) + 1
        limits = np.array([9])
        bound = float(bounds(rank, 3, limits, alpha, ceiling)[0, 0])
        for m in range(4, 10):
            for _ in range(200):
                steps = ceiling - rng.exponential(rng.choice([1e-3, 1.0]), m - 3)
                score = float(rank[0, 0] + steps.sum()) / length_penalty(m, alpha)
                assert score <= bound + 1e-12
        best = max(
            (float(rank[0, 0]) + (m - 3) * ceiling) / length_penalty(m, alpha) for m in range(4, 10)
        )
        assert bound >= best - 1e-12


def test_patience_returns_the_best_of_the_first_results() -> None:
    model = random_attention(2)
    state = sources(model, 5)
    results = beam_search_rows(
        model, state, beam=2, max_length=30, end=END, alpha=1.0, patience=0.5, num_best=1
    )
    for i in range(5):
        with torch.no_grad():
            everything = written_out(
                model, row_of(state, i), width=2, max_length=30, end=END, alpha=1.0
            )
        first = min((h for h in everything if h.is_ended), key=lambda h: len(h.symbols))
        assert results[i][0].symbols == first.symbols


def test_greedy_search_equals_a_beam_of_one() -> None:
    for seed in range(5):
        model = random_attention(seed)
        state = sources(model, 11)
        limits = torch.arange(11)
        results = greedy_search(model, state, max_length=limits, end=END)
        beams = beam_search_rows(model, state, beam=1, max_length=limits, end=END)
        for h, beam in zip(results, beams, strict=True):
            assert_same([h], beam)


def test_greedy_search_with_a_scorer_equals_a_beam_of_one() -> None:
    model = random_attention(4)
    state = sources(model, 6)
    scorers = [(PrefersOdd(5, 0.7), -1.0)]
    results = greedy_search(model, state, max_length=8, scorers=scorers)
    beams = beam_search_rows(model, state, beam=1, max_length=8, scorers=scorers)
    for h, beam in zip(results, beams, strict=True):
        assert_same([h], beam)
        assert len(h.symbols) == 8 and not h.is_ended


def test_no_sources_give_no_results() -> None:
    model = ToyWindow().double()
    state = row_of(model.start(1), 0)
    nobody = tree.select(state, torch.tensor([], dtype=torch.int64))
    assert beam_search_rows(model, nobody, beam=2, max_length=3) == []
    assert greedy_search(model, nobody, max_length=3) == []


def test_impossible_rules_are_refused() -> None:
    model = ToyWindow().double()
    state = model.start(2)
    for message, options in (
        ("width of a beam is 0", {"beam": 0, "max_length": 3}),
        ("num_best 3", {"beam": 2, "max_length": 3, "num_best": 3}),
        ("negative", {"beam": 2, "max_length": -1}),
        ("3 values for 2 sources", {"beam": 2, "max_length": torch.tensor([1, 2, 3])}),
        ("patience", {"beam": 2, "max_length": 3, "patience": 0.0}),
    ):
        with pytest.raises(ConfigError, match=message):
            beam_search_rows(model, state, **options)  # type: ignore[arg-type]


def test_a_model_that_predicts_nan_is_refused() -> None:
    model = ToyWindow().double()
    torch.nn.init.constant_(model.table, float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        beam_search_rows(model, model.start(2), beam=2, max_length=3)


@pytest.mark.parametrize("composed", [Mixture, Product])
def test_compositions_are_searched_like_any_model(composed: type[Mixture] | type[Product]) -> None:
    model = composed([random_attention(0), ToyWindow(5, END).double()])
    state = sources(model, 4)
    results = beam_search_rows(model, state, beam=3, max_length=6, end=END)
    for i in range(4):
        with torch.no_grad():
            expected = written_out(model, row_of(state, i), width=3, max_length=6, end=END)
        assert_same(results[i], expected[:3])


@pytest.mark.parametrize("composed", [Mixture, Product])
def test_each_member_of_an_ensemble_reads_the_source_itself(
    composed: type[Mixture] | type[Product],
) -> None:
    """Encoder-decoders of different kinds, ragged sources: batched equals alone."""
    torch.manual_seed(0)
    sizes = {"model_size": 8, "encoder_layers": 1, "decoder_layers": 1}
    kinds = [
        Seq2Seq(num_heads=2, **sizes),
        Seq2Seq(encoder="lstm", decoder="gru", attention="additive", **sizes),
    ]
    members = [build_model(kind, 6, END).double().eval() for kind in kinds]
    for member in members:
        for p in member.parameters():
            torch.nn.init.normal_(p, std=0.5)
    model = composed(members)
    assert not model.training
    x = torch.tensor([[2, 3, 4, END], [5, END, 0, 0], [2, 3, END, 0]])
    lengths = torch.tensor([4, 2, 3])
    with torch.no_grad():
        memory = model.encode(Batch(x, x, lengths))
        state = model.start(3, memory=memory)
        first = [
            m.predict(m.start(3, memory=k)).dense() for m, k in zip(members, memory, strict=True)
        ]
        together = model.predict(state)
        assert isinstance(together, Discrete)
        mixed = torch.stack(first).logsumexp(0) - np.log(2)
        multiplied = torch.stack(first).mean(0).log_softmax(-1)
        expected = mixed if composed is Mixture else multiplied
    assert torch.allclose(together.dense(), expected)
    results = beam_search_rows(model, state, beam=3, max_length=6, end=END)
    for i, n in enumerate(lengths.tolist()):
        with torch.no_grad():
            own = model.bind(Batch(x[i : i + 1, :n], x[i : i + 1, :n]))
            assert_same(
                results[i], written_out(own, own.start(1), width=3, max_length=6, end=END)[:3]
            )


def test_early_stopping_is_exact_under_a_length_penalty() -> None:
    """The bound by which the search stops must hold under a length penalty too."""
    for seed in range(20):
        model = ToyAttention().double()
        torch.manual_seed(seed)
        for p in model.parameters():
            torch.nn.init.normal_(p, std=1.5)
        for alpha in (0.0, 0.6, 1.0):
            few = beam_search(model, model.start(1), beam=2, max_length=8, end=1, alpha=alpha)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("seriatim.decode.search.bounds", _no_bound)
                all_ = beam_search(model, model.start(1), beam=2, max_length=8, end=1, alpha=alpha)
            assert [h.symbols for h in few] == [h.symbols for h in all_]
            assert [h.score for h in few] == pytest.approx([h.score for h in all_])


def test_a_result_cut_by_max_length_says_so() -> None:
    results = beam_search(ToyWindow(), ToyWindow().start(1), beam=27, max_length=3, end=1)
    assert {h.is_ended for h in results} == {True, False}
    assert all(h.is_ended or len(h.symbols) == 3 for h in results)
    assert all(1 not in h.symbols for h in results)


def test_the_length_penalty_is_that_of_wu_et_al() -> None:
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 1.0) == pytest.approx(2.0)


class Forbid:
    """A scorer that forbids a symbol and rewards another."""

    def start(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        return state + 1

    def scores(self, state: Tensor) -> Tensor:
        return torch.tensor([-math.inf, 0.0, 5.0]).expand(len(state), 3)

    def ceiling(self) -> float:
        return 5.0


def test_a_scorer_ranks_but_never_enters_log_prob() -> None:
    model = ToyWindow().double()
    results = beam_search(model, model.start(1), beam=4, max_length=4, scorers=[(Forbid(), 1.0)])
    assert results
    for h in results:
        assert 0 not in h.symbols
        assert h.score == pytest.approx(h.log_prob + 5 * h.symbols.count(2))
