"""Heads are named after the patterns they were built from; heads without one are not named."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seriatim.analysis.inspect.head_names import (
    NamedHead,
    SelfMap,
    describe_cross_heads,
    describe_heads,
    is_delimiter,
    visible_keys,
)

T = 96


def text(seed: int = 0) -> tuple[Tensor, list[str]]:
    """Random symbols of which some are delimiters."""
    draw = torch.Generator().manual_seed(seed)
    symbols = torch.randint(12, (T,), generator=draw)
    return symbols, ["abcdefghij .\n"[i] for i in symbols.tolist()]


def causal(scores: Tensor) -> Tensor:
    """Softmax over what came before."""
    hidden = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def heads_of(*maps: Tensor) -> list[NamedHead]:
    symbols, pieces = text()
    return describe_heads([SelfMap(torch.stack(maps), symbols, pieces)])


def uniform() -> Tensor:
    return causal(torch.zeros(T, T))


def head_attending(where: Callable[[int, int], bool], strength: float = 6.0) -> Tensor:
    """A head that prefers the keys s of query t where `where(t, s)`, beside a uniform rest."""
    wanted = torch.tensor([[where(t, s) for s in range(T)] for t in range(T)])
    return causal(strength * wanted)


SYMBOLS, PIECES = text()


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("previous position", lambda t, s: s == t - 1),
        ("itself", lambda t, s: s == t),
        ("3 back", lambda t, s: s == t - 3),
        ("first position", lambda t, s: s == 0),
        ("induction", lambda t, s: 0 < s <= t and bool(SYMBOLS[s - 1] == SYMBOLS[t])),
        ("same symbol", lambda t, s: s < t and bool(SYMBOLS[s] == SYMBOLS[t])),
        ("delimiter", lambda t, s: PIECES[s] in " .\n"),
        ("the last 4", lambda t, s: 0 < t - s <= 4),
    ],
)
def test_a_head_gets_the_name_of_its_pattern(name: str, where: Callable[[int, int], bool]) -> None:
    plain, built = heads_of(uniform(), head_attending(where))
    assert plain.names == []
    assert built.names == [name]
    best = built.scores[0]
    assert best.score > 0.5 > best.chance
    assert built.entropy < plain.entropy


def test_a_uniform_head_is_at_chance_in_every_score() -> None:
    (head,) = heads_of(uniform())
    assert head.names == []
    for score in head.scores:
        assert score.score == pytest.approx(score.chance)
        assert score.excess == pytest.approx(0.0, abs=1e-6)
    assert head.entropy == pytest.approx(head.even_entropy)
    assert head.distance == pytest.approx(head.even_distance)


def test_random_maps_get_a_name_at_most_once_in_twenty() -> None:
    draw = torch.Generator().manual_seed(5)
    maps = [causal(1.5 * torch.randn(T, T, generator=draw)) for _ in range(100)]
    named = [head.names for head in heads_of(*maps) if head.names]
    assert len(named) <= 5, named


def test_chance_is_uniform_attention_over_the_visible_keys() -> None:
    (head,) = heads_of(uniform())
    previous = next(s for s in head.scores if s.pattern == "previous position")
    # Query t sees t + 1 positions, one of them the previous.
    assert previous.chance == pytest.approx(sum(1 / (t + 1) for t in range(1, T)) / (T - 1))


def test_keys_outside_of_a_window_do_not_count_towards_chance() -> None:
    window = 4
    place = torch.arange(T)
    behind = place[:, None] - place
    banded = ((behind >= 0) & (behind < window)).float()
    banded /= banded.sum(1, keepdim=True)
    assert torch.equal(visible_keys(banded[None], is_self=True), banded > 0)
    (head,) = heads_of(banded)
    assert head.names == []
    assert head.distance == pytest.approx(head.even_distance)
    assert "5 back" not in {score.pattern for score in head.scores}


def test_a_head_so_sharp_that_the_rest_is_rounded_away_keeps_its_name() -> None:
    sharp = head_attending(lambda t, s: s == 0, 1000.0)
    assert int((sharp > 0).sum()) == T
    (head,) = heads_of(sharp)
    assert head.names == ["first position"]
    assert torch.equal(visible_keys(sharp[None], is_self=True), torch.ones(T, T).tril() > 0)


def test_a_map_with_weight_ahead_sees_everything_but_padding() -> None:
    weights = torch.zeros(4, 4)
    weights[:, :3] = 1 / 3
    weights[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    seen = torch.tensor([True, True, True, False]).expand(4, -1)
    assert torch.equal(visible_keys(weights[None], is_self=True), seen)
    assert torch.equal(visible_keys(weights[None, :2], is_self=False), seen[:2])


def test_a_head_made_of_two_patterns_has_both_names_the_stronger_first() -> None:
    first = head_attending(lambda t, s: s == 0, 30.0)
    previous = head_attending(lambda t, s: s == t - 1, 30.0)
    (head,) = heads_of(0.65 * previous + 0.35 * first)
    assert head.names == ["previous position", "first position"]


def test_the_mean_distance_is_that_of_the_weights() -> None:
    (head,) = heads_of(head_attending(lambda t, s: s == t - 3, 50.0))
    # The first three queries do not see so far, and attend to all they see.
    assert head.distance == pytest.approx(3.0, abs=0.1)


def test_heads_are_measured_over_all_sequences_together() -> None:
    symbols, pieces = text()
    built = head_attending(lambda t, s: s == t - 1)
    short = [
        SelfMap(built[None, a : a + 8, a : a + 8], symbols[a : a + 8], pieces[a : a + 8])
        for a in range(0, T, 8)
    ]
    rows = [
        SelfMap(m.weights / m.weights.sum(-1, keepdim=True), m.symbols, m.pieces) for m in short
    ]
    assert describe_heads(rows[:1])[0].names == []  # one of eight queries shows nothing
    assert describe_heads(rows)[0].names[0] == "previous position"


def test_a_map_without_choice_names_no_head() -> None:
    one = torch.ones(2, 1, 1)
    assert describe_heads([SelfMap(one, torch.zeros(1, dtype=torch.int64), ["a"])]) == []


def test_a_head_that_moves_along_the_source_is_monotone() -> None:
    places = torch.arange(30)
    diagonal = (-0.5 * (places[:, None] - places).abs()).softmax(-1)
    backwards = diagonal.flip(1)
    even = torch.full((30, 30), 1 / 30)
    pieces = [*"abcdefghijklmnopqrstuvwxyz....\n"[:30]]
    along, against, nothing = describe_cross_heads(
        [(torch.stack([diagonal, backwards, even]), pieces)]
    )
    assert along.monotone is not None and along.monotone > 0.95
    assert against.monotone is not None and against.monotone < -0.95
    assert nothing.monotone == 0.0
    assert (along.names, against.names) == (["along the source"], ["against the source"])
    assert nothing.names == []
    assert along.entropy < nothing.entropy == pytest.approx(nothing.even_entropy)


def test_a_few_symbols_are_too_few_to_call_a_head_monotone() -> None:
    places = torch.arange(5)
    diagonal = (-3.0 * (places[:, None] - places).abs()).softmax(-1)
    one = (diagonal[None], list("abcde"))
    assert describe_cross_heads([one])[0].names == []
    assert describe_cross_heads([one] * 8)[0].names == ["along the source"]


def test_random_maps_over_a_source_get_a_name_at_most_once_in_twenty() -> None:
    draw = torch.Generator().manual_seed(6)
    maps = (1.5 * torch.randn(200, 24, 24, generator=draw)).softmax(-1)
    heads = describe_cross_heads([(maps, list("abcdefghijklmnopqrstuvwx"))])
    assert len([head for head in heads if head.names]) <= 10


def test_delimiters_have_no_letter_and_no_digit() -> None:
    assert [c for c in ["a", " ", "\n", ".", "7", "é", "--", ""] if is_delimiter(c)] == [
        " ",
        "\n",
        ".",
        "--",
        "",
    ]
