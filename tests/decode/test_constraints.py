"""Constraints, scorers, fusion and diversity, against searches written out and enumeration."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from seriatim.core.distributions import as_discrete
from seriatim.core.ensembles import Scorer
from seriatim.core.model import SequenceModel
from seriatim.decode.beam import beam_search_rows
from seriatim.decode.constraints import Forbidden, Fusion, constrained_beam_search
from seriatim.decode.diverse import diverse_beam_search
from seriatim.decode.greedy import greedy_search
from seriatim.decode.hypotheses import Hypothesis
from seriatim.errors import ConfigError
from tests.decode.reference import END, assert_same, random_attention, row_of, sources, written_out
from tests.laws.toys import ToyWindow

V = 5


def _log_prob(model: SequenceModel, h: Hypothesis) -> float:
    total, state = 0.0, model.start(1)
    with torch.no_grad():
        for x in [*h.symbols, END] if h.is_ended else h.symbols:
            total += float(model.predict(state).log_prob(torch.tensor([x])))
            state = model.step(state, torch.tensor([x]))
    return total


def _contains(symbols: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    size = len(phrase)
    return any(symbols[i : i + size] == phrase for i in range(len(symbols) - size + 1))


def _totals(scorer: Scorer, symbols: tuple[int, ...]) -> list[float]:
    """The score of each symbol of a sequence."""
    state, given = scorer.start(1), []
    for x in symbols:
        given.append(float(scorer.scores(state)[0, x]))
        state = scorer.update(state, torch.tensor([x]))
    return given


class LengthReward:
    """1 for every symbol but the end: a scorer with a positive ceiling."""

    def start(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        return state

    def scores(self, state: Tensor) -> Tensor:
        return (torch.arange(V) != END).double().expand(len(state), -1)

    def ceiling(self) -> float:
        return 1.0


class RepetitionPenalty:
    """-1 for each earlier occurrence of a symbol: a scorer whose state is a table of counts."""

    def start(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, V)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        return state.scatter_add(1, x[:, None], torch.ones(len(state), 1))

    def scores(self, state: Tensor) -> Tensor:
        return -state

    def ceiling(self) -> float:
        return 0.0


SCORERS: dict[str, Scorer] = {
    "forbidden": Forbidden([[(0,), (3, 3, 2), (2, 4)]], V),
    "length": LengthReward(),
    "repetition": RepetitionPenalty(),
    "fusion": Fusion(random_attention(9)),
}


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_ranks_as_in_the_search_written_out(name: str) -> None:
    model, scorers = random_attention(1), [(SCORERS[name], 0.6)]
    state = sources(model, 4)
    results = beam_search_rows(
        model, state, beam=3, max_length=6, end=END, alpha=0.6, scorers=scorers
    )
    for i in range(4):
        with torch.no_grad():
            expected = written_out(
                model, row_of(state, i), width=3, max_length=6, end=END, alpha=0.6, scorers=scorers
            )
        assert_same(results[i], expected[:3])


def test_scorers_have_known_scores() -> None:
    symbols = (2, 3, 3, 2, 0, 3)
    ruled_out = _totals(SCORERS["forbidden"], symbols)
    assert ruled_out == [0, 0, 0, -math.inf, -math.inf, 0]
    assert _totals(SCORERS["forbidden"], (2, 4)) == [0, -math.inf]
    assert _totals(SCORERS["forbidden"], (3, 3, 3, 2)) == [0, 0, 0, -math.inf], "overlapping"
    other = random_attention(9)
    expected = _log_prob(other, Hypothesis(symbols, 0.0, 0.0, False))
    with torch.no_grad():
        assert sum(_totals(SCORERS["fusion"], symbols)) == pytest.approx(expected)


def test_no_score_is_above_the_ceiling() -> None:
    generator = torch.Generator().manual_seed(0)
    for scorer in SCORERS.values():
        state = scorer.start(8)
        with torch.no_grad():
            for _ in range(6):
                assert float(scorer.scores(state).max()) <= scorer.ceiling()
                state = scorer.update(state, torch.randint(V, (8,), generator=generator))


def test_each_source_has_its_own_forbidden_phrases() -> None:
    model = random_attention(2)
    state = model.start(3)
    own = [[(4,)], [], [(0, 0), (3,)]]
    results = beam_search_rows(
        model, state, beam=3, max_length=6, end=END, scorers=[(Forbidden(own, V), 1.0)]
    )
    for i in range(3):
        scorers = [(Forbidden([own[i]], V), 1.0)]
        alone = beam_search_rows(
            model, model.start(1), beam=3, max_length=6, end=END, scorers=scorers
        )
        assert_same(results[i], alone[0])
        for h in results[i]:
            assert not any(_contains(h.symbols, p) for p in own[i])
    greedy = greedy_search(
        model, state, max_length=6, end=END, scorers=[(Forbidden([[(4,)]], V), 1.0)]
    )
    assert all(4 not in h.symbols for h in greedy)


def test_a_constrained_beam_as_wide_as_the_space_finds_all_sequences_with_the_phrases() -> None:
    model = random_attention(3, num_symbols=4)
    phrases = [[(2, 3)], [(0,), (3, 3)], []]
    hypotheses = constrained_beam_search(
        model, model.start(3), phrases=phrases, beam=400, max_length=4, end=END
    )
    for own, results in zip(phrases, hypotheses, strict=True):
        sequences = (s for n in range(5) for s in itertools.product([0, 2, 3], repeat=n))
        expected = {s for s in sequences if all(_contains(s, p) for p in own)}
        assert {h.symbols for h in results} == expected
        assert [h.log_prob for h in results] == sorted((h.log_prob for h in results), reverse=True)
        assert all(h.is_ended == (len(h.symbols) < 4) for h in results)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_narrow_constrained_beam_meets_every_phrase_and_scores_like_the_model(width: int) -> None:
    for seed in range(4):
        model = random_attention(seed)
        phrases = [[(4, 4, 0), (2,)], [(3,)], [(0, 0, 2), (2, 0)]]
        hypotheses = constrained_beam_search(
            model, model.start(3), phrases=phrases, beam=width, max_length=9, end=END, alpha=0.6
        )
        for own, results in zip(phrases, hypotheses, strict=True):
            assert results
            for h in results:
                assert all(_contains(h.symbols, p) for p in own)
                assert h.log_prob == pytest.approx(_log_prob(model, h))


def test_the_results_of_a_constrained_source_do_not_depend_on_its_batch() -> None:
    model = random_attention(5)
    phrases = [[(4, 0)], [(2,), (3, 3)], [], [(0,)]]
    together = constrained_beam_search(
        model, model.start(4), phrases=phrases, beam=4, max_length=8, end=END
    )
    for own, results in zip(phrases, together, strict=True):
        alone = constrained_beam_search(
            model, model.start(1), phrases=[own], beam=4, max_length=8, end=END
        )
        assert_same(results, alone[0])


def test_constraints_that_cannot_be_met_are_refused_with_the_reason() -> None:
    model = ToyWindow(V, END).double()
    impossible: list[tuple[str, list[tuple[int, ...]]]] = [
        ("is empty", [()]),
        ("symbol 7", [(2, 7)]),
        ("nothing follows its end symbol", [(2, END)]),
        ("has 4 symbols, and max_length 4 leaves room for 3", [(2, 2, 2, 2)]),
        ("was found for row 1", [(2, 3), (0, 4), (3, 3, 2)]),
    ]
    for message, phrases in impossible:
        with pytest.raises(ConfigError, match=message):
            constrained_beam_search(
                model, model.start(2), phrases=[[], phrases], beam=4, max_length=4, end=END
            )
    with pytest.raises(ConfigError, match="3 lists of phrases do not fit 2 rows"):
        constrained_beam_search(
            model, model.start(2), phrases=[[], [], []], beam=4, max_length=4, end=END
        )


def diverse_written_out(
    model: SequenceModel, *, groups: int, width: int, max_length: int, strength: float
) -> list[Hypothesis]:
    """Vijayakumar et al. 2018, algorithm 1, for one source, prefix by prefix."""
    beams = [[((), 0.0, model.start(1))] for _ in range(groups)]
    results: dict[tuple[tuple[int, ...], bool], float] = {}
    for _ in range(max_length):
        chosen: list[int] = []
        for g, beam in enumerate(beams):
            extensions = []
            for symbols, p, state in beam:
                row = as_discrete(model.predict(state)).dense()[0]
                for x in range(model.num_symbols):
                    total = p + float(row[x])
                    extensions.append(
                        (total - strength * chosen.count(x), (*symbols, x), total, state)
                    )
            extensions.sort(key=lambda e: -e[0])
            for _, symbols, p, _ in extensions[:width]:
                if symbols[-1] == END:
                    results[symbols[:-1], True] = p
            going_on = [e for e in extensions if e[1][-1] != END][:width]
            beams[g] = [
                (symbols, p, model.step(state, torch.tensor(symbols[-1:])))
                for _, symbols, p, state in going_on
            ]
            chosen += [e[1][-1] for e in going_on]
    for beam in beams:
        for symbols, p, _ in beam:
            results[symbols, False] = p
    hypotheses = [Hypothesis(symbols, p, p, ended) for (symbols, ended), p in results.items()]
    return sorted(hypotheses, key=lambda h: -h.score)


@pytest.mark.parametrize(("groups", "width", "strength"), [(2, 2, 0.7), (3, 1, 1.5), (2, 3, 0.0)])
def test_diverse_search_equals_the_algorithm_written_out(
    groups: int, width: int, strength: float
) -> None:
    for seed in range(3):
        model = random_attention(seed)
        with torch.no_grad():
            expected = diverse_written_out(
                model, groups=groups, width=width, max_length=5, strength=strength
            )
        results = diverse_beam_search(
            model,
            model.start(2),
            beam=groups * width,
            num_groups=groups,
            max_length=5,
            end=END,
            strength=strength,
        )
        # A group stops when nothing that it could still find is among its best.
        assert_same(results[0][:width], expected[:width])
        assert_same(results[0], results[1])


def test_one_group_is_plain_beam_search() -> None:
    model = random_attention(4)
    state = sources(model, 3)
    plain = beam_search_rows(model, state, beam=3, max_length=7, end=END, alpha=0.6)
    diverse = diverse_beam_search(
        model, state, beam=3, num_groups=1, max_length=7, end=END, alpha=0.6
    )
    for a, b in zip(plain, diverse, strict=True):
        assert_same(a, b)


def test_scorers_of_a_source_apply_in_all_its_groups() -> None:
    model = random_attention(4)
    own = [[(4,)], [(0,), (3,)]]
    hypotheses = diverse_beam_search(
        model,
        model.start(2),
        beam=4,
        num_groups=2,
        max_length=6,
        end=END,
        scorers=[(Forbidden(own, V), 1.0)],
    )
    for phrases, results in zip(own, hypotheses, strict=True):
        assert results
        assert not any(_contains(h.symbols, p) for h in results for p in phrases)


def test_groups_differ_more_with_a_stronger_penalty() -> None:
    model = random_attention(6, std=0.7)

    def first_symbols(strength: float) -> int:
        results = diverse_beam_search(
            model,
            model.start(1),
            beam=4,
            num_groups=4,
            max_length=5,
            end=END,
            strength=strength,
        )
        return len({h.symbols[:1] for h in results[0]})

    assert first_symbols(0.0) == 1
    assert first_symbols(50.0) > 2


def test_groups_that_do_not_divide_the_beam_are_refused() -> None:
    model = random_attention(0)
    for message, options in (
        ("cannot be split into 3", {"num_groups": 3}),
        ("num_groups = 0: give 1 or more", {"num_groups": 0}),
        ("make the groups alike", {"num_groups": 2, "strength": -1.0}),
    ):
        with pytest.raises(ConfigError, match=message):
            diverse_beam_search(model, model.start(1), beam=4, max_length=3, **options)  # type: ignore[arg-type]
