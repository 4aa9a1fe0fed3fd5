"""`check_model`: hold any model to the laws of the contract, and report.

The laws themselves are in `seriatim.laws.laws`. Knows them and their report; no family.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from seriatim.core.model import SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ContractError
from seriatim.laws.cases import Case
from seriatim.laws.laws import LAWS, BrokenLawError


@dataclass(frozen=True)
class LawResult:
    """What became of one law.

    Attributes:
        number: 1 .. 16.
        claim: the law in words.
        holds: whether it held; None: it does not apply to this model.
        note: how much was looked at ("all 4,225 sequences", "sampled"), or what broke.
    """

    number: int
    claim: str
    holds: bool | None
    note: str


@dataclass(frozen=True)
class LawReport:
    """What `check_model` found, one result per law."""

    results: tuple[LawResult, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """No law is broken."""
        return all(r.holds is not False for r in self.results)

    @property
    def broken(self) -> list[int]:
        """The numbers of the laws that do not hold."""
        return [r.number for r in self.results if r.holds is False]

    def raise_if_broken(self) -> None:
        """
        Raises:
            ContractError: a law does not hold; the message lists each with its difference.
        """
        if not self.ok:
            lines = [f"law {r.number} ({r.claim}): {r.note}" for r in self.results if not r.holds]
            raise ContractError("the model breaks the contract: " + "; ".join(lines))

    def __str__(self) -> str:
        marks = {True: "holds", False: "BROKEN", None: "n/a"}
        lines = [f"{r.number:2d}  {marks[r.holds]:6s}  {r.claim}: {r.note}" for r in self.results]
        return "\n".join(lines)


def check_model(
    model: SequenceModel,
    *,
    example: Tensor | None = None,
    memory: Tree | None = None,
    laws: Collection[int] | None = None,
    budget_s: float = 60.0,
) -> LawReport:
    """Hold a model to the sixteen laws, in float64, on a copy (the model itself is not touched).

    Args:
        model: any `SequenceModel`, fitted or not, your own included.
        example: (B >= 3, T >= 4) symbols to try; None: random ones.
        memory: the memory of a bound source, of one row, for models that answer to one.
        laws: the numbers of the laws to try; None: all sixteen.
        budget_s: what enumeration may take, about; less is enumerated, or sampled, to keep it,
            and the notes say so.

    Returns:
        The report; `report.raise_if_broken()` turns a broken law into an error.
    """
    started = time.perf_counter()
    case = Case.of(model, example, memory, budget_s)
    results = []
    for number, (claim, law) in enumerate(LAWS, start=1):
        if laws is not None and number not in laws:
            continue
        try:
            note = law(case)
            holds = None if note.startswith("n/a") else True
        except BrokenLawError as broken:
            holds, note = False, str(broken)
        except Exception as error:  # a model that fails on a lawful call breaks the law
            holds, note = False, f"raised {type(error).__name__}: {error}"
        results.append(LawResult(number, claim, holds, note.removeprefix("n/a: ")))
    return LawReport(tuple(results), time.perf_counter() - started)
