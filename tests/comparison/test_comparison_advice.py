"""What a comparison says in words follows from its figures."""

from dataclasses import replace
from typing import Any

import pytest

from seriatim.comparison.advice import family_sentence, recommend, text_sentence
from seriatim.comparison.record import EvaluationBits, MixtureRecord, ModelResult, SeedBits
from seriatim.metrics.significance import PairwiseDifference
from tests.comparison.made_up_results import model


def candidate(name: str, bits: float, operations: float, **more: Any) -> ModelResult:
    """A model of one seed, all of whose bits are given."""
    figures: dict[str, Any] = {
        "bits": bits,
        "seeds": (SeedBits(0, bits, bits),),
        "operations_per_symbol": operations,
        "bytes": 1000,
        "history": (),
        **more,
    }
    return replace(model(name), **figures)


def difference(a: str, b: str, bits: float, p: float) -> PairwiseDifference:
    return PairwiseDifference(a, b, bits, (bits - 0.1, bits + 0.1), p, p)


def evaluations(*valid: float) -> tuple[EvaluationBits, ...]:
    return tuple(
        EvaluationBits(step=i, epoch=0.1 * i, seconds=1.0 * i, train=None, valid=bits)
        for i, bits in enumerate(valid)
    )


def test_the_better_is_named_first_and_luck_is_not_called_a_win() -> None:
    real = text_sentence(difference("a", "b", 0.5, 0.002), "character")
    assert real.startswith("b beats a on text like this: 0.5000 bits per character less")
    assert "0.4000 to 0.6000" in real and "p = 0.002" in real
    luck = text_sentence(difference("a", "b", -0.05, 0.4), "symbol")
    assert luck.startswith("a and b cannot be told apart on text like this")
    assert "-0.0500 to 0.1500" in luck


def test_families_are_compared_under_their_budget() -> None:
    pair = difference("lstm", "rnn", -0.5, 0.0001)
    sentence = family_sentence(pair, "character", "2 minutes each")
    assert sentence.startswith("lstm beats rnn under this budget (2 minutes each)")
    assert "p < 0.001" in sentence


def test_the_best_is_recommended_where_the_difference_is_real() -> None:
    advice = recommend(
        [candidate("a", 2.0, 1e6), candidate("b", 2.5, 10)],
        [difference("a", "b", -0.5, 0.001)],
        [],
        None,
        unit="character",
    )
    assert advice.model == "a" and advice.tied == ("a",)
    assert "Take a: 2.000 bits per character, 0.500 less than b" in advice.sentence


def test_of_models_that_cannot_be_told_apart_the_cheapest_is_recommended() -> None:
    advice = recommend(
        [candidate("a", 2.0, 1e6), candidate("b", 2.01, 1e3), candidate("c", 9.0, 1)],
        [
            difference("a", "b", -0.01, 0.5),
            difference("a", "c", -7, 0.001),
            difference("b", "c", -7, 0.001),
        ],
        [],
        None,
        unit="character",
    )
    assert advice.model == "b" and advice.tied == ("a", "b")
    assert "b needs 1,000 times fewer operations" in advice.sentence


def test_a_family_is_recommended_by_its_mean_over_seeds_not_by_its_luckiest_model() -> None:
    lucky = candidate("lucky", 1.9, 1e3, seeds=(SeedBits(0, 1.9, None), SeedBits(1, 2.9, None)))
    steady = candidate("steady", 2.0, 1e3)
    texts = [difference("lucky", "steady", -0.1, 0.001)]
    families = [difference("lucky", "steady", 0.4, 0.001)]
    by_text = recommend([lucky, steady], texts, [], None, unit="character")
    by_family = recommend([lucky, steady], texts, families, None, unit="character")
    assert (by_text.model, by_family.model) == ("lucky", "steady")


def test_without_statements_nothing_is_called_more_than_luck() -> None:
    models = [candidate("a", 2.0, 1), candidate("b", 3.0, 1)]
    advice = recommend(models, [], [], None, unit="symbol")
    assert "too short to say that this is more than luck" in advice.sentence


@pytest.mark.parametrize(("p_value", "is_named"), [(0.001, True), (0.3, False), (None, False)])
def test_a_mixture_is_named_where_its_gain_is_certain(p_value: float, is_named: bool) -> None:
    mixture = MixtureRecord(
        weights={"a": 0.7, "b": 0.27, "c": 0.03},
        bits=1.9,
        interval=None,
        bits_per_character=1.9,
        contributions={},
        best="a",
        gain=0.1,
        p_value=p_value,
        left_out=(),
    )
    advice = recommend(
        [candidate("a", 2.0, 1), candidate("b", 2.5, 1)],
        [difference("a", "b", -0.5, 0.001)],
        [],
        mixture,
        unit="character",
    )
    assert ("1.900 bits per character, 5.0% less than a alone" in advice.sentence) == is_named
    assert ("(a 70%, b 27%)" in advice.sentence) == is_named


def test_models_that_were_cut_off_or_overfitted_are_named() -> None:
    advice = recommend(
        [
            candidate("a", 2.0, 1, history=evaluations(5.0, 4.0, 3.5, 3.2, 3.0)),
            candidate("b", 3.0, 1, history=evaluations(5.0, 3.0, 3.1, 3.3, 3.6), epochs=9.0),
        ],
        [difference("a", "b", -1, 0.001)],
        [],
        None,
        unit="character",
    )
    assert "a was still improving when the budget ended" in advice.sentence
    assert "b got worse on the validation text towards the end" in advice.sentence


def test_a_model_that_is_hardly_worse_and_much_cheaper_is_named_too() -> None:
    advice = recommend(
        [candidate("a", 2.0, 1e6), candidate("b", 2.02, 1e3)],
        [difference("a", "b", -0.02, 0.001)],
        [],
        None,
        unit="character",
    )
    assert advice.model == "a"
    assert "If speed matters more, b is within 2% of it" in advice.sentence


def test_without_a_trained_model_none_is_recommended() -> None:
    assert recommend([], [], [], None, unit="character").model is None


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        ((0.1, 0.25), "a and b have seen only 10% to 25% of the training text."),
        ((0.1, 0.101), "a and b have seen only 10% of the training text."),
        ((0.1, 2.0), "a has seen only 10% of the training text."),
    ],
)
def test_models_that_did_not_see_all_of_the_text_are_named(
    epochs: tuple[float, float], words: str
) -> None:
    history = evaluations(3.0)
    models = [
        candidate("a", 2.0, 1, history=history, epochs=epochs[0]),
        candidate("b", 3.0, 1, history=history, epochs=epochs[1]),
        candidate("counted", 5.0, 1, epochs=0.5),
    ]
    advice = recommend(models, [difference("a", "b", -1, 0.001)], [], None, unit="character")
    assert words in advice.sentence
