"""The settings of a search: what a user chooses when targets are decoded from sources.

Knows numbers, texts and the parts of a language model; no search and no task.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from seriatim.core.model import SequenceModel
from seriatim.core.validation import checked_arguments
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.decode.sampling import Sampling
from seriatim.errors import ConfigError


class FusedModel(Protocol):
    """A language model that can be fused into a search: a fitted `LanguageModel` is one."""

    @property
    def model(self) -> SequenceModel | None:
        """The model of symbols; None before fitting."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary of the model; None before fitting."""


@checked_arguments
@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How targets are decoded.

    Attributes:
        beam: the width K of the beam; 1 is greedy search.
        num_best: the number of results for each source.
        alpha: the exponent of the length penalty (Wu et al. 2016, equation 14).
        num_groups: the number of groups that the beam is divided into so that the results differ
            (diverse beam search, Vijayakumar et al. 2018); a divisor of the beam.
        sampling: how to draw targets from the model instead of searching; the beam is ignored.
        seed: the seed of the draws.
        minimum_bayes_risk: whether to rank the `num_best` samples by how much the others agree
            with them (minimum Bayes risk with chrF; Eikema, Aziz 2020).
        forbid: texts that must not occur in a target, not even inside longer words.
        fuse: a language model over the target's symbols, whose weighted log-probabilities are
            added in the search (Gulcehre et al. 2015, section 4.1); None: none.
        fuse_weight: the weight of the log-probabilities of `fuse`.
        max_length: the maximum number of symbols of a target, its end included; None: the
            translator's length rule decides.
        token_budget: the number of source and target positions searched at once, those of every
            prefix included.
    """

    beam: int = 4
    num_best: int = 1
    alpha: float = 0.6
    num_groups: int = 1
    sampling: Sampling | None = None
    seed: int = 0
    minimum_bayes_risk: bool = False
    forbid: tuple[str, ...] = ()
    fuse: FusedModel | None = None
    fuse_weight: float = 0.2
    max_length: int | None = None
    token_budget: int = 16_384

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ConfigError(f"beam is {self.beam}: give 1 (greedy search) or more")
        if self.num_best < 1 or (self.sampling is None and self.num_best > self.beam):
            raise ConfigError(
                f"a beam of {self.beam} cannot return {self.num_best} results: ask for 1 to "
                f"{self.beam}, or widen the beam"
            )
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length {self.max_length} leaves no room: give 1 or more")
        if not math.isfinite(self.alpha):
            raise ConfigError(
                f"alpha {self.alpha} is not a length penalty: give a number such as 0.6"
            )
        if self.minimum_bayes_risk and self.sampling is None:
            raise ConfigError("minimum_bayes_risk ranks samples: give sampling as well")
        if self.sampling is not None and (self.forbid or self.fuse or self.num_groups > 1):
            raise ConfigError(
                "forbid, fuse and num_groups apply to a search, not to sampling: leave "
                "out one of them"
            )

    def check_required(self) -> None:
        """Check that these settings allow texts that must occur.

        Raises:
            ConfigError: if sampling or groups were chosen.
        """
        if self.sampling is not None or self.num_groups > 1:
            raise ConfigError(
                "required texts need plain beam search: leave out sampling and num_groups"
            )
