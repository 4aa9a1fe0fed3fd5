"""The laws can fail: every law catches the faults made for it."""

from collections.abc import Callable

import pytest
import torch

from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError, ContractError
from seriatim.laws.check import LawReport, LawResult, check_model
from seriatim.laws.laws import LAWS
from tests.laws.mutants import MUTANTS, Fault
from tests.laws.mutants_numbers import NUMBER_MUTANTS, NumberFault
from tests.laws.toys import ToyAttention, ToyWindow
from tests.laws.toys_numbers import ToyAR, ToyRecurrent


def _name(fault: Fault) -> str:
    law, model, patch = fault
    patched = "" if patch.__name__ == "nullcontext" else f"-{patch.__name__}"
    return f"law{law}-{model.__name__}{patched}"


@pytest.mark.parametrize("fault", MUTANTS, ids=_name)
def test_the_law_catches_its_mutant(fault: Fault) -> None:
    law, model, patch = fault
    with patch():
        report = check_model(model(), laws=[law], seconds=2)
    assert law in report.broken, str(report)


@pytest.mark.parametrize(
    "fault", NUMBER_MUTANTS, ids=lambda fault: f"law{fault[0]}-{fault[1].__name__}"
)
def test_the_law_catches_its_mutant_of_numbers(fault: NumberFault) -> None:
    law, model = fault
    report = check_model(model(), laws=[law], seconds=2)
    assert law in report.broken, str(report)
    assert "raised" not in report.results[0].note


def test_every_law_has_a_mutant() -> None:
    laws = {law for law, _, _ in MUTANTS} | {law for law, _ in NUMBER_MUTANTS}
    assert laws == set(range(1, len(LAWS) + 1))
    assert len(LAWS) == 20


NUMBERS: dict[str, Callable[[], SequenceModel]] = {
    "AR": ToyAR,
    "student": ToyRecurrent,
    "counts": lambda: ToyRecurrent("counts", 1),
    "mixture": lambda: ToyRecurrent("mixture"),
    "positive": lambda: ToyRecurrent("positive", 1),
}


@pytest.mark.parametrize("toy", NUMBERS)
def test_the_models_of_numbers_that_the_mutants_modify_obey_the_laws(toy: str) -> None:
    report = check_model(NUMBERS[toy](), seconds=2)
    report.raise_if_broken()
    applies = {r.number for r in report.results if r.holds is not None}
    everywhere = set(range(1, 20)) - {10, 11, 17}
    assert applies == (everywhere | {17, 20} if toy == "AR" else everywhere)


def test_a_model_of_numbers_is_checked_with_an_example() -> None:
    x = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0))
    x[0, 3:5] = x[1, 2, 0] = torch.nan
    check_model(ToyRecurrent(), example=x).raise_if_broken()
    known = torch.randn(3, 9, 1, generator=torch.Generator().manual_seed(1))
    check_model(ToyAR(), example=NumberInput(Values.of(x), known)).raise_if_broken()
    with pytest.raises(ConfigError, match="known ahead, and the example has none"):
        check_model(ToyAR(), example=x)
    with pytest.raises(ConfigError, match="the model of symbols"):
        check_model(ToyWindow(), example=NumberInput(Values.of(x)))


@pytest.mark.parametrize("toy", [ToyWindow, ToyAttention])
def test_the_models_that_the_mutants_modify_obey_the_laws(toy: type) -> None:
    check_model(toy(), seconds=2).raise_if_broken()


def test_the_error_of_a_broken_law_names_its_claim_and_difference() -> None:
    report = check_model(MUTANTS[0][1](), laws=[1])
    with pytest.raises(ContractError, match=r"law 1 \(Parallel = fold\): .* differs by"):
        report.raise_if_broken()


def test_the_error_of_a_broken_law_does_not_name_laws_that_do_not_apply() -> None:
    results = (LawResult(1, "a", False, "differs"), LawResult(2, "b", None, "no weights"))
    with pytest.raises(ContractError, match=r"breaks the contract: law 1 \(a\): differs$"):
        LawReport(results, 0.0).raise_if_broken()


@pytest.mark.slow
def test_in_float32_the_laws_hold_and_a_fault_is_still_found() -> None:
    for toy in (ToyAttention, ToyWindow):
        check_model(toy(), seconds=2, dtype=torch.float32).raise_if_broken()
    for model in NUMBERS.values():
        check_model(model(), dtype=torch.float32).raise_if_broken()
    law, mutant, patch = MUTANTS[0]
    with patch():
        assert check_model(mutant(), laws=[law], dtype=torch.float32).broken == [law]
