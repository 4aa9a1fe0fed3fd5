"""What a comparison says in words, held to what was found."""

from typing import Any

from seriatim.comparison.text import Candidate, advice, family_sentence, text_sentence
from seriatim.metrics.significance import PairwiseDifference


def candidate(name: str, bits: float, operations: float, **more: Any) -> Candidate:
    return Candidate(
        **{
            "name": name,
            "bits": bits,
            "mean_bits": bits,
            "operations": operations,
            "num_bytes": 1000,
            "history": [],
            "epochs": 1.0,
            **more,
        }
    )


def told(a: str, b: str, difference: float, p: float) -> PairwiseDifference:
    return PairwiseDifference(a, b, difference, (difference - 0.1, difference + 0.1), p, p)


def test_the_better_is_named_first_and_luck_is_not_called_a_win() -> None:
    real = text_sentence(told("a", "b", 0.5, 0.002), "character")
    assert real.startswith("b beats a on text like this: 0.5000 bits per character less")
    assert "0.4000 to 0.6000" in real and "p = 0.002" in real
    luck = text_sentence(told("a", "b", -0.05, 0.4), "symbol")
    assert luck.startswith("a and b cannot be told apart on text like this")
    assert "-0.0500 to 0.1500" in luck


def test_families_are_spoken_of_under_their_budget() -> None:
    found = family_sentence(told("lstm", "rnn", -0.5, 0.0001), "character", "2 minutes each")
    assert found.startswith("lstm beats rnn under this budget (2 minutes each)")
    assert "p < 0.001" in found


def test_the_best_is_recommended_where_the_difference_is_real() -> None:
    found = advice(
        [candidate("a", 2.0, 1e6), candidate("b", 2.5, 10)],
        [told("a", "b", -0.5, 0.001)],
        [],
        None,
        unit="character",
    )
    assert found["model"] == "a" and found["tied"] == ["a"]
    assert "Take a: 2.000 bits per character, 0.500 less than b" in found["sentence"]


def test_of_models_that_cannot_be_told_apart_the_cheapest_is_recommended() -> None:
    found = advice(
        [candidate("a", 2.0, 1e6), candidate("b", 2.01, 1e3), candidate("c", 9.0, 1)],
        [told("a", "b", -0.01, 0.5), told("a", "c", -7, 0.001), told("b", "c", -7, 0.001)],
        [],
        None,
        unit="character",
    )
    assert found["model"] == "b" and found["tied"] == ["a", "b"]
    assert "b takes 1,000 times fewer operations" in found["sentence"]


def test_a_family_is_recommended_by_its_mean_over_seeds_not_by_its_luckiest_model() -> None:
    lucky = candidate("lucky", 1.9, 1e3, mean_bits=2.4)
    steady = candidate("steady", 2.0, 1e3, mean_bits=2.0)
    texts, families = told("lucky", "steady", -0.1, 0.001), told("lucky", "steady", 0.4, 0.001)
    by_text = advice([lucky, steady], [texts], [], None, unit="character")
    by_family = advice([lucky, steady], [texts], [families], None, unit="character")
    assert (by_text["model"], by_family["model"]) == ("lucky", "steady")


def test_without_statements_nothing_is_called_more_than_luck() -> None:
    found = advice([candidate("a", 2.0, 1), candidate("b", 3.0, 1)], [], [], None, unit="symbol")
    assert "too short to say that this is more than luck" in found["sentence"]


def test_a_mixture_is_spoken_of_where_it_gains_for_certain() -> None:
    mixture = {"bits": 1.9, "gain": 0.1, "best": "a", "weights": {"a": 0.7, "b": 0.27, "c": 0.03}}
    for p_value, is_named in ((0.001, True), (0.3, False)):
        found = advice(
            [candidate("a", 2.0, 1), candidate("b", 2.5, 1)],
            [told("a", "b", -0.5, 0.001)],
            [],
            {**mixture, "p_value": p_value},
            unit="character",
        )
        assert ("1.900 bits per character, 5.0% less than a alone" in found["sentence"]) == is_named
        assert ("(a 70%, b 27%)" in found["sentence"]) == is_named


def test_models_that_were_cut_off_or_overfitted_are_named() -> None:
    falling = [{"valid": v} for v in (5.0, 4.0, 3.5, 3.2, 3.0)]
    overfitted = [{"valid": v} for v in (5.0, 3.0, 3.1, 3.3, 3.6)]
    found = advice(
        [
            candidate("a", 2.0, 1, history=falling),
            candidate("b", 3, 1, history=overfitted, epochs=9),
        ],
        [told("a", "b", -1, 0.001)],
        [],
        None,
        unit="character",
    )
    assert "a was still getting better when the budget ended" in found["sentence"]
    assert "b got worse on validation text towards the end" in found["sentence"]


def test_a_model_that_is_hardly_worse_and_much_cheaper_is_named_too() -> None:
    found = advice(
        [candidate("a", 2.0, 1e6), candidate("b", 2.02, 1e3)],
        [told("a", "b", -0.02, 0.001)],
        [],
        None,
        unit="character",
    )
    assert found["model"] == "a"
    assert "If speed counts more, b is within 2% of it" in found["sentence"]


def test_nothing_trained_is_said_plainly() -> None:
    assert advice([], [], [], None, unit="character")["model"] is None


def test_how_much_of_the_text_was_seen_is_said_where_it_was_not_all() -> None:
    history = [{"valid": 3.0}]
    some = [
        candidate("a", 2.0, 1, history=history, epochs=0.1),
        candidate("b", 3.0, 1, history=history, epochs=0.25),
        candidate("c", 4.0, 1, history=history, epochs=2.0),
        candidate("counted", 5.0, 1, epochs=0.5),
    ]
    found = advice(some, [told("a", "b", -1, 0.001)], [], None, unit="character")
    assert "a and b have seen only 10% to 25% of the training text." in found["sentence"]
