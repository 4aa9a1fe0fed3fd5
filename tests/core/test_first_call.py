"""A model that a user wrote wrongly is told so at its first call, in one sentence."""

from typing import Any

import pytest
import torch
from torch import nn

import seriatim as st
from seriatim.core.first_call import check_first_call
from seriatim.errors import ContractError
from tests.laws.toys_numbers import ToyAR, ToyRecurrent
from tests.tasks.my_models import FadingAverage

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "logits": (
        {"emit": lambda self, f: self.head(f)},
        r"emit returns a Tensor: return a Distribution, such as seriatim\.Categorical",
    ),
    "one feature a row": (
        {"advance": lambda self, c, x, n, keep=True: (c, c)},
        r"features of shape \(2, 16\) for 2 rows of 3 elements: give \(2, 3, ...\)",
    ),
    "features alone": (
        {"advance": lambda self, c, x, n, keep=True: self.embedding(x)},
        r"advance returns a Tensor: return \(features, carry\)",
    ),
    "a width that does not fit": (
        {"emit": lambda self, f: st.Categorical(nn.Linear(3, 5)(f))},
        r"of 3 elements \(test_first_call.py, line \d+\): RuntimeError: mat1 and mat2 shapes",
    ),
    "a mean over time": (
        {"emit": lambda self, f: st.Categorical(self.head(f.mean(1)))},
        "Wrong",
    ),
    "empty without rows": (
        {"empty": lambda self: torch.zeros(1)},
        "empty fails on 2 rows of 3 elements: TypeError",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named(mistake: str) -> None:
    methods, sentence = MISTAKES[mistake]
    wrong = type("Wrong", (FadingAverage,), {**methods, "__module__": __name__})(5, 1)
    with pytest.raises(ContractError, match=sentence):
        st.train(wrong, [0, 1, 2, 3], options={"steps": 1})


def test_a_right_model_is_left_as_it_was() -> None:
    model = FadingAverage(5, 1)
    torch.manual_seed(1)
    check_first_call(model)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert model.training and torch.equal(drawn, torch.rand(1))
    check_first_call(FadingAverage(5, 1).to("meta"))


def test_a_model_of_numbers_is_called_with_numbers() -> None:
    check_first_call(ToyAR())
    check_first_call(ToyRecurrent("counts"))
    wrong = type("Wrong", (ToyRecurrent,), {"emit": lambda self, f: st.Categorical(self.head(f))})
    with pytest.raises(ContractError, match=r"return a Density, such as Normal\(mean, scale\)"):
        check_first_call(wrong())
