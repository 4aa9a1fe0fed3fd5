"""What `seriatim compare` prints of a comparison."""

from dataclasses import replace

from seriatim.comparison.text import conclusions, summary
from tests.comparison.made_up_results import comparison, mixture, not_run, with_model


def test_a_table_the_statements_and_the_recommendation_are_printed_in_this_order() -> None:
    text = summary(comparison(["a", "b", "c"]))
    lines = text.splitlines()
    assert lines[0].endswith("600,000 of test text; 3 minutes of training each.")
    assert lines[2].startswith("model  bits per character") and lines[2].endswith("seeds")
    assert "1.7400 to 1.7600" in lines[3], "the range over the seeds"
    assert text.index("Each model and the next best") < text.index("The best mixture: 1.6200")
    assert text.index("The best mixture") < text.index("Take a")
    assert lines[-1] == "Training took 15 min 0 s, everything else 40 s."


def test_only_neighbours_in_the_order_of_the_bits_are_compared_in_words() -> None:
    lines = conclusions(replace(comparison(["a", "b", "c"]), families=()))
    assert lines[1:3] == [
        "  a is not told apart from b on text like this",
        "  b is not told apart from c on text like this",
    ]


def test_models_that_were_not_run_have_a_row_and_a_reason() -> None:
    record = with_model(comparison(["a"]), not_run("late", "the budget is too small"))
    text = summary(record)
    assert "late was not run: the budget is too small" in text
    assert any(line.split() == ["late", "not", "run"] for line in text.splitlines())


def test_models_without_weight_contribute_nothing_to_the_mixture() -> None:
    record = comparison(["a", "b", "c"])
    weights = {"a": 1.0, "b": 0.0, "c": 0.0}
    mixed = replace(mixture(["a", "b", "c"]), weights=weights, left_out=("d",))
    text = "\n".join(conclusions(replace(record, mixture=mixed)))
    assert "a 100% (without it +0.1000); none of b, c contributes" in text
    assert "left out, because their symbols differ: d." in text
    alone = replace(mixed, weights={"a": 0.6, "b": 0.4, "c": 0.0}, left_out=())
    assert "; c does not contribute." in "\n".join(conclusions(replace(record, mixture=alone)))


def test_without_statements_there_is_no_heading_for_them() -> None:
    record = replace(comparison(["a", "b"]), texts=(), families=(), mixture=None, notes=())
    assert conclusions(record) == [record.recommendation.sentence]
