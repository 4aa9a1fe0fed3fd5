"""The laws of the contract: `check_model` tests any model, including your own, against them."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.laws.check import LawReport as LawReport
    from seriatim.laws.check import LawResult as LawResult
    from seriatim.laws.check import check_model as check_model

__all__, __getattr__, __dir__ = attach(
    __name__, {"check": ["LawReport", "LawResult", "check_model"]}
)
