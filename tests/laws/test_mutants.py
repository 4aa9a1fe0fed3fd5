"""The laws can fail: every law catches the faults made for it."""

import pytest
import torch

from seriatim.errors import ContractError
from seriatim.laws.check import LawReport, LawResult, check_model
from seriatim.laws.laws import LAWS
from tests.laws.mutants import MUTANTS, Fault
from tests.laws.toys import ToyAttention, ToyWindow


def _name(fault: Fault) -> str:
    law, model, patch = fault
    patched = "" if patch.__name__ == "nullcontext" else f"-{patch.__name__}"
    return f"law{law}-{model.__name__}{patched}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", MUTANTS, ids=_name)
def test_the_law_catches_its_mutant(fault: Fault) -> None:
    law, model, patch = fault
    with patch():
        report = check_model(model(), laws=[law], seconds=2)
    assert law in report.broken, str(report)


def test_every_law_has_a_mutant() -> None:
    assert {law for law, _, _ in MUTANTS} == set(range(1, len(LAWS) + 1))
    assert len(LAWS) == 16


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
    law, mutant, patch = MUTANTS[0]
    with patch():
        assert check_model(mutant(), laws=[law], dtype=torch.float32).broken == [law]
