"""`check_model`: test any model against the laws of the contract, and report.

The laws themselves are in `seriatim.laws.laws`. Knows the laws and their report; no family.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core.elements import Numbers
from seriatim.core.model import SequenceModel
from seriatim.core.tree import Tree
from seriatim.core.validation import checked_arguments
from seriatim.core.values import NumberInput
from seriatim.errors import ConfigError, ContractError
from seriatim.laws.cases import Case, SymbolCase
from seriatim.laws.claims import BrokenLawError
from seriatim.laws.laws import LAWS
from seriatim.laws.number_cases import NumberCase


@dataclass(frozen=True)
class LawResult:
    """The result of one law.

    Attributes:
        number: the number of the law, 1 .. 20.
        claim: the law in words.
        holds: whether it holds; None: it does not apply to this model.
        note: the extent of the test ("all 4,225 sequences", "sampled"), or the violation.
    """

    number: int
    claim: str
    holds: bool | None
    note: str


@dataclass(frozen=True)
class LawReport:
    """The results of `check_model`, one per law.

    Attributes:
        results: the results in order of the laws.
        seconds: the time that the tests took.
    """

    results: tuple[LawResult, ...]
    seconds: float

    def __repr__(self) -> str:
        broken = ", ".join(map(str, self.broken))
        shown = f"laws {broken} are broken" if broken else "no law is broken"
        return f"LawReport({shown}, {len(self.results)} in {self.seconds:.1f} s)"

    @property
    def ok(self) -> bool:
        """Whether no law is broken."""
        return all(r.holds is not False for r in self.results)

    @property
    def broken(self) -> list[int]:
        """The numbers of the broken laws."""
        return [r.number for r in self.results if r.holds is False]

    def raise_if_broken(self) -> None:
        """
        Raises:
            ContractError: if a law is broken; the message names each with its violation.
        """
        if not self.ok:
            broken = [r for r in self.results if r.holds is False]
            lines = [f"law {r.number} ({r.claim}): {r.note}" for r in broken]
            raise ContractError("the model breaks the contract: " + "; ".join(lines))

    def __str__(self) -> str:
        marks = {True: "holds", False: "BROKEN", None: "n/a"}
        lines = [f"{r.number:2d}  {marks[r.holds]:6s}  {r.claim}: {r.note}" for r in self.results]
        return "\n".join(lines)


@checked_arguments
def check_model(
    model: SequenceModel,
    *,
    example: Tensor | NumberInput | None = None,
    memory: Tree | None = None,
    laws: Collection[int] | None = None,
    seconds: float = 60.0,
    dtype: torch.dtype = torch.float64,
) -> LawReport:
    """Test a model against the twenty laws, on a copy in float64.

    Args:
        model: any `SequenceModel`, fitted or not, including your own.
        example: (B >= 3, T >= 4, ...) the symbols to test with, or the numbers, NaN where missing;
            `NumberInput` for a model that takes known inputs. None: random symbols, or numbers
            drawn from the model, some of which are taken out.
        memory: the memory of a source of one row, for models that take a source.
        laws: the numbers of the laws to test; None: all twenty.
        seconds: the approximate time for enumeration in seconds; if it does not suffice, less is
            enumerated, or sampled, and the notes say so.
        dtype: the precision of the copy; in float32, values may differ by rounding, and only
            grosser faults are found.

    Returns:
        The report; `report.raise_if_broken()` turns a broken law into an error.
    """
    started = time.perf_counter()
    case = _case_of(model, example, memory, seconds, dtype)
    results = []
    for number, (claim, law) in enumerate(LAWS, start=1):
        if laws is not None and number not in laws:
            continue
        try:
            note = law(case)
            holds = None if note.startswith("n/a") else True
        except BrokenLawError as broken:
            holds, note = False, str(broken)
        except Exception as error:  # a model that fails on a legal call breaks the law
            holds, note = False, f"raised {type(error).__name__}: {error}"
        results.append(LawResult(number, claim, holds, note.removeprefix("n/a: ")))
    return LawReport(tuple(results), time.perf_counter() - started)


def _case_of(
    model: SequenceModel,
    example: Tensor | NumberInput | None,
    memory: Tree | None,
    seconds: float,
    dtype: torch.dtype,
) -> Case:
    if isinstance(model.element, Numbers):
        return NumberCase(model, example, memory, seconds, dtype)
    if isinstance(example, NumberInput):
        raise ConfigError("the example is of numbers, and the model of symbols: give its symbols")
    return SymbolCase(model, example, memory, seconds, dtype)
