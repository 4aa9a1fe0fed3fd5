"""Labels that follow from a text, and labels that users give."""

import pytest

from seriatim.analysis.inspect.labels import Label, text_labels, user_label
from seriatim.errors import DataError


def label_of(name: str, *sequences: list[str]) -> list[float]:
    return next(label for label in text_labels(sequences) if label.name == name).values.tolist()


def test_the_position_in_the_line_restarts_after_each_line_end() -> None:
    assert label_of("position in line", list("ab\ncd")) == [1, 2, 0, 1, 2]


def test_each_sequence_begins_its_own_line() -> None:
    assert label_of("position in line", ["a", "b"], ["c"]) == [1, 2, 1]


def test_positions_are_inside_quotes_from_the_opening_mark_to_before_the_closing_mark() -> None:
    assert label_of("inside quotes", list('a"bc"d')) == [0, 1, 1, 1, 0, 0]
    assert label_of("inside quotes", list("a“b”c")) == [0, 1, 1, 0, 0]


def test_a_quotation_left_open_ends_at_a_blank_line() -> None:
    assert label_of("inside quotes", list('"a\n\nb')) == [1, 1, 1, 0, 0]


def test_indentation_stays_until_the_line_ends() -> None:
    assert label_of("indentation", list("  a b\nc\n\td")) == [1, 2, 2, 2, 2, 0, 0, 0, 8, 8]


def test_the_depth_of_brackets_counts_open_ones_and_never_falls_below_none() -> None:
    assert label_of("depth of brackets", list("a([)])b")) == [0, 1, 2, 1, 0, 0, 0]


def test_letters_are_counted_from_the_beginning_of_the_word() -> None:
    assert label_of("letters of the word so far", list("ab c")) == [1, 2, 0, 1]
    assert label_of("inside a word", list("ab c")) == [1, 1, 0, 1]


def test_labels_of_long_symbols_hold_at_their_end() -> None:
    pieces = ["The", " cat", "\n", "  (sat"]
    assert label_of("position in line", pieces) == [3, 7, 0, 6]
    assert label_of("depth of brackets", pieces) == [0, 0, 0, 1]
    assert label_of("upper case", pieces) == [1, 0, 0, 0]


def test_constant_facts_are_no_labels() -> None:
    assert {label.name for label in text_labels([list("aaaa")])} == {
        "position in line",
        "letters of the word so far",
    }
    assert text_labels([]) == []


def test_given_numbers_are_quantities_and_few_values_are_classes() -> None:
    assert user_label("n", ["1", "2.5", 3]).classes == ()
    assert user_label("n", ["1", "0", "1"]).classes == ("0", "1")
    assert user_label("n", [True, False]).classes == ("False", "True")
    kinds = user_label("kind", ["noun", "verb", "noun"])
    assert kinds.classes == ("noun", "verb")
    assert kinds.columns().tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "a", "a"], "1 different values"),
        ([1.0, 2.0, float("nan")], "not finite"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        user_label("x", values)


def test_a_label_without_change_is_constant() -> None:
    import torch

    assert Label("x", torch.ones(3)).is_constant
    assert not Label("x", torch.tensor([0.0, 1.0])).is_constant
