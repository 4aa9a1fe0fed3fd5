"""Beam search of many sources, against a search written out prefix by prefix and enumeration."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.distributions import Discrete, as_discrete
from seriatim.core.ensembles import Mixture, Product
from seriatim.core.model import SequenceModel, State
from seriatim.decode.beam import beam_search, beam_search_rows
from seriatim.decode.greedy import greedy_search
from seriatim.decode.hypotheses import Hypothesis, bounds, length_penalty
from seriatim.decode.sampling import Sampling, sample_sequences
from seriatim.decode.scoring import Scorers
from seriatim.errors import ConfigError, ModelError
from seriatim.models import Seq2Seq
from seriatim.models.build import build_model
from tests.laws.toys import ToyAttention, ToyWindow

END = 1


def random_attention(seed: int, num_symbols: int = 5, std: float = 1.5) -> ToyAttention:
    model = ToyAttention(num_symbols, END).double()
    torch.manual_seed(seed)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=std)
    return model


def sources(model: SequenceModel, count: int) -> State:
    """States of rows with different pasts of different lengths."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randint(model.num_symbols, (count, 4), generator=generator)
    lengths = torch.arange(count) % 5
    with torch.no_grad():
        return model.update(model.start(count), x, lengths)


def _row(state: State, i: int) -> State:
    selected: State = tree.select(state, torch.tensor([i]))
    return selected


def written_out(
    model: SequenceModel,
    state: State,
    *,
    width: int,
    max_length: int,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
) -> list[Hypothesis]:
    """Beam search of one source, prefix by prefix: each has its own state."""
    start: tuple[tuple[int, ...], float, float] = ((), 0.0, 0.0)
    live = [(*start, state, [s.start(1) for s, _ in scorers])]
    results = []
    for length in range(1, max_length + 1):
        extensions = []
        for symbols, log_prob, extra, past, memories in live:
            row = as_discrete(model.predict(past)).dense()[0]
            for x in range(model.num_symbols):
                bonus = sum(
                    w * float(s.scores(m)[0, x])
                    for (s, w), m in zip(scorers, memories, strict=True)
                )
                p, e = log_prob + float(row[x]), extra + bonus
                if p > -np.inf and e > -np.inf:
                    extensions.append(((*symbols, x), p, e, past, memories))
        extensions.sort(key=lambda extension: -(extension[1] + extension[2]))
        for rank, (symbols, p, e, _, _) in enumerate(extensions):
            if symbols[-1] == end and rank < width:
                score = (p + e) / length_penalty(length, alpha)
                results.append(Hypothesis(symbols[:-1], p, score, True))
        going_on = [e for e in extensions if e[0][-1] != end][:width]
        live = []
        for symbols, p, e, past, memories in going_on:
            x = torch.tensor(symbols[-1:])
            after = [s.update(m, x) for (s, _), m in zip(scorers, memories, strict=True)]
            live.append((symbols, p, e, model.step(past, x), after))
    for symbols, p, e, _, _ in live:
        results.append(Hypothesis(symbols, p, (p + e) / length_penalty(len(symbols), alpha), False))
    return sorted(results, key=lambda h: -h.score)


def _assert_same(results: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(h.symbols, h.is_ended) for h in results] == [(h.symbols, h.is_ended) for h in expected]
    for a, b in zip(results, expected, strict=True):
        assert a.log_prob == pytest.approx(b.log_prob, abs=1e-12)
        assert a.score == pytest.approx(b.score, abs=1e-12)


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
        results = beam_search_rows(model, state, width=width, max_length=6, end=END, alpha=alpha)
        for i in range(5):
            with torch.no_grad():
                expected = written_out(
                    model, _row(state, i), width=width, max_length=6, end=END, alpha=alpha
                )
            _assert_same(results[i], expected[:width])


@pytest.mark.parametrize("ceiling", [0.7, float("inf")])
@pytest.mark.parametrize("weight", [1.0, 0.3, -0.5])
def test_scorers_rank_as_in_the_search_written_out(weight: float, ceiling: float) -> None:
    model = random_attention(1)
    state = sources(model, 5)
    scorers = [(PrefersOdd(5, ceiling), weight)]
    results = beam_search_rows(
        model, state, width=3, max_length=6, end=END, alpha=0.6, scorers=scorers
    )
    for i in range(5):
        with torch.no_grad():
            expected = written_out(
                model, _row(state, i), width=3, max_length=6, end=END, alpha=0.6, scorers=scorers
            )
        _assert_same(results[i], expected[:3])


def test_the_results_of_a_source_do_not_depend_on_its_batch() -> None:
    model = random_attention(3)
    state = sources(model, 7)
    limits = torch.tensor([9, 0, 3, 1, 7, 5, 2])
    together = beam_search_rows(model, state, width=3, max_length=limits, end=END, alpha=0.6)
    for i, limit in enumerate(limits.tolist()):
        alone = beam_search(model, _row(state, i), width=3, max_length=limit, end=END, alpha=0.6)
        _assert_same(together[i], alone)
        assert all(len(h.symbols) <= limit for h in alone)
    assert together[1] == [Hypothesis((), 0.0, 0.0, False)]


def test_a_beam_as_wide_as_the_space_finds_all_sequences_in_order() -> None:
    model = random_attention(0, num_symbols=3)
    state = sources(model, 4)
    results = beam_search_rows(model, state, width=27, max_length=3, end=END)
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
                counted, state, width=4, max_length=10, end=END, alpha=alpha, num_best=num_best
            )
            steps[stops] = steps.get(stops, 0) + counted.rows
        if stops:
            early = results
    for a, b in zip(early, results, strict=True):
        _assert_same(a, b)
    assert steps[True] < steps[False], "it stops early"


class _Counting(SequenceModel):
    """A model that counts the rows it has advanced."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__(model.num_symbols, model.boundary)
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
        model, state, width=2, max_length=30, end=END, alpha=1.0, patience=0.5, num_best=1
    )
    for i in range(5):
        with torch.no_grad():
            everything = written_out(
                model, _row(state, i), width=2, max_length=30, end=END, alpha=1.0
            )
        first = min((h for h in everything if h.is_ended), key=lambda h: len(h.symbols))
        assert results[i][0].symbols == first.symbols


def test_greedy_search_equals_a_beam_of_one() -> None:
    for seed in range(5):
        model = random_attention(seed)
        state = sources(model, 11)
        limits = torch.arange(11)
        results = greedy_search(model, state, max_length=limits, end=END)
        beams = beam_search_rows(model, state, width=1, max_length=limits, end=END)
        for h, beam in zip(results, beams, strict=True):
            _assert_same([h], beam)


def test_greedy_search_with_a_scorer_equals_a_beam_of_one() -> None:
    model = random_attention(4)
    state = sources(model, 6)
    scorers = [(PrefersOdd(5, 0.7), -1.0)]
    results = greedy_search(model, state, max_length=8, scorers=scorers)
    beams = beam_search_rows(model, state, width=1, max_length=8, scorers=scorers)
    for h, beam in zip(results, beams, strict=True):
        _assert_same([h], beam)
        assert len(h.symbols) == 8 and not h.is_ended


def test_samples_do_not_depend_on_the_batch_or_the_number_of_samples() -> None:
    model = random_attention(0, std=0.5)
    state = sources(model, 6)
    ids = torch.tensor([10, 11, 12, 13, 14, 15])
    limits = torch.tensor([5, 20, 0, 9, 9, 9])
    many = sample_sequences(
        model, state, num_samples=4, max_length=limits, end=END, seed=3, row_ids=ids
    )
    for i in (0, 1, 2, 5):
        one = _row(state, i)
        few = sample_sequences(
            model,
            one,
            num_samples=2,
            max_length=limits[i : i + 1],
            end=END,
            seed=3,
            row_ids=ids[i : i + 1],
        )
        _assert_same(few[0], many[i][:2])
    assert len({h.symbols for h in many[1]}) > 1


def test_a_sample_has_the_log_prob_of_the_model() -> None:
    model = random_attention(5, std=0.5)
    state = model.start(2)
    for row in sample_sequences(
        model, state, num_samples=5, max_length=6, end=END, sampling=Sampling(temperature=2.0)
    ):
        for h in row:
            total, at = 0.0, model.start(1)
            for x in [*h.symbols, END] if h.is_ended else h.symbols:
                with torch.no_grad():
                    total += float(model.predict(at).log_prob(torch.tensor([x])))
                    at = model.step(at, torch.tensor([x]))
            assert h.log_prob == h.score == pytest.approx(total)


def test_samples_of_temperature_zero_are_greedy() -> None:
    model = random_attention(6)
    state = sources(model, 3)
    drawn = sample_sequences(
        model, state, num_samples=2, max_length=7, end=END, sampling=Sampling(temperature=0)
    )
    for h, row in zip(greedy_search(model, state, max_length=7, end=END), drawn, strict=True):
        assert row[0].symbols == row[1].symbols == h.symbols


def test_no_sources_give_no_results() -> None:
    model = ToyWindow().double()
    state = _row(model.start(1), 0)
    nobody = tree.select(state, torch.tensor([], dtype=torch.int64))
    assert beam_search_rows(model, nobody, width=2, max_length=3) == []
    assert greedy_search(model, nobody, max_length=3) == []


def test_impossible_rules_are_refused() -> None:
    model = ToyWindow().double()
    state = model.start(2)
    for message, options in (
        ("width 0", {"width": 0, "max_length": 3}),
        ("num_best 3", {"width": 2, "max_length": 3, "num_best": 3}),
        ("negative", {"width": 2, "max_length": -1}),
        ("3 values for 2 sources", {"width": 2, "max_length": torch.tensor([1, 2, 3])}),
        ("patience", {"width": 2, "max_length": 3, "patience": 0.0}),
    ):
        with pytest.raises(ConfigError, match=message):
            beam_search_rows(model, state, **options)  # type: ignore[arg-type]


def test_a_model_that_predicts_nan_is_refused() -> None:
    model = ToyWindow().double()
    torch.nn.init.constant_(model.table, float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        beam_search_rows(model, model.start(2), width=2, max_length=3)


@pytest.mark.parametrize("composed", [Mixture, Product])
def test_compositions_are_searched_like_any_model(composed: type[Mixture] | type[Product]) -> None:
    model = composed([random_attention(0), ToyWindow(5, END).double()])
    state = sources(model, 4)
    results = beam_search_rows(model, state, width=3, max_length=6, end=END)
    for i in range(4):
        with torch.no_grad():
            expected = written_out(model, _row(state, i), width=3, max_length=6, end=END)
        _assert_same(results[i], expected[:3])


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
    results = beam_search_rows(model, state, width=3, max_length=6, end=END)
    for i, n in enumerate(lengths.tolist()):
        with torch.no_grad():
            own = model.bind(Batch(x[i : i + 1, :n], x[i : i + 1, :n]))
            _assert_same(
                results[i], written_out(own, own.start(1), width=3, max_length=6, end=END)[:3]
            )
