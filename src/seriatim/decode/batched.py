"""How targets are found for many sources: which search, in which batches, under which wishes.

Sources are sorted by length, searched side by side, and put back in order; every source finds
what it would find alone. Knows models bound to sources, searches and phrases of symbols; no
text, no files and no training.

Shapes: B sources of a batch, S source positions, L target positions, K beam.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.model import SequenceModel
from seriatim.data.batches.pairs import cut_batches
from seriatim.decode.beam import beam_search_rows
from seriatim.decode.constraints import Forbidden, Fusion, constrained_beam_search
from seriatim.decode.diverse import diverse_beam_search
from seriatim.decode.greedy import greedy_rows, sample_candidates
from seriatim.decode.hypotheses import Hypothesis
from seriatim.decode.sampling import Sampling
from seriatim.decode.search import Scorers
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.tasks.language_model import LanguageModel

Ids: TypeAlias = NDArray[np.int64]
Phrases: TypeAlias = Sequence[Sequence[int]]
Bind: TypeAlias = Callable[[list[int]], SequenceModel]  # the model bound to these sources


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How targets are found.

    Attributes:
        beam: width K of the beam; 1 is greedy search.
        num_best: results for each source.
        alpha: of the length penalty (Wu et al. 2016, equation 14).
        groups: parts of the beam that are kept apart from one another (Vijayakumar et al. 2018),
            so that the results differ; a divisor of the beam.
        sampling: draw from the model instead of searching; the beam is then not used.
        seed: of the draws.
        least_risk: of `num_best` samples, give first the one that the others are most like
            (minimum Bayes risk with chrF; Eikema, Aziz 2020).
        forbidden: texts that must not occur in a target, also inside of longer words.
        fusion: a language model of the target's symbols and its weight: its log-probabilities
            times the weight are added in the search (Gulcehre et al. 2015, 4.1).
        max_length: symbols of a target at most, its end counted; None: by the translator's
            length rule.
        places: source and target places searched at once, those of every prefix counted.
    """

    beam: int = 4
    num_best: int = 1
    alpha: float = 0.6
    groups: int = 1
    sampling: Sampling | None = None
    seed: int = 0
    least_risk: bool = False
    forbidden: tuple[str, ...] = ()
    fusion: "tuple[LanguageModel, float] | None" = None
    max_length: int | None = None
    places: int = 16_384

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ConfigError(
                f"a beam of {self.beam} holds no prefix: give 1 (greedy search) or more"
            )
        if self.num_best < 1 or (self.sampling is None and self.num_best > self.beam):
            raise ConfigError(
                f"{self.num_best} results cannot come from a beam of {self.beam}: ask for 1 to "
                f"{self.beam}, or widen the beam"
            )
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length {self.max_length} leaves no room: give 1 or more")
        if not math.isfinite(self.alpha):
            raise ConfigError(f"alpha {self.alpha} is no length penalty: give a number such as 0.6")
        if self.least_risk and self.sampling is None:
            raise ConfigError("least_risk chooses among samples: give sampling as well")
        if self.sampling is not None and (self.forbidden or self.fusion or self.groups > 1):
            raise ConfigError(
                "forbidden texts, fusion and groups belong to searches, and sampling was asked "
                "for: leave one of them out"
            )


@dataclass(frozen=True)
class SearchConstraints:
    """What a search is to mind beside the model.

    Attributes:
        forbidden: phrases of symbols that must not occur.
        required: for each source the phrases that must occur; None: none.
        fusion: another model of the same symbols, and its weight.
    """

    forbidden: Phrases = ()
    required: Sequence[Phrases] | None = None
    fusion: tuple[SequenceModel, float] | None = field(default=None)

    def scorers(self, num_symbols: int) -> Scorers:
        """What is added to log-probabilities."""
        found = []
        if self.forbidden:
            found.append((Forbidden([self.forbidden], num_symbols), 1.0))
        return [*found, *([(Fusion(self.fusion[0]), self.fusion[1])] if self.fusion else [])]


def search(
    bind: Bind,
    sizes: Ids,
    limits: Ids,
    decoding: Decoding,
    wishes: SearchConstraints,
    *,
    end: int,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[list[Hypothesis]]:
    """The best targets of every source, in the order of the sources.

    Args:
        bind: the model bound to some of the sources.
        sizes: (N,) symbols of each source.
        limits: (N,) symbols of each target, its end counted, at most.
        decoding: how.
        wishes: what else counts.
        end: the symbol that ends a target.
        first: the number of the first source, for the counters of sampling and for messages.
        progress: called with the number of sources done so far.

    Raises:
        ConfigError: wishes that cannot be met; the message names the source.
    """
    found: list[list[Hypothesis]] = [[] for _ in sizes]
    run = _Run(bind, limits, decoding, wishes, end, first)
    done = 0
    for group in _groups(sizes, limits, decoding):
        for place, hypotheses in zip(group, run.group(group), strict=True):
            if not hypotheses:
                raise ConfigError(
                    f"source {first + place + 1:,}: what is forbidden leaves no target at all: "
                    "forbid less"
                )
            found[place] = hypotheses
        done += len(group)
        if progress is not None:
            progress(done)
    return found


def _groups(sizes: Ids, limits: Ids, decoding: Decoding) -> Iterator[list[int]]:
    """Sources that are searched together: of like length, bounded in memory."""
    order = np.argsort(-sizes, kind="stable")
    rows = decoding.beam if decoding.sampling is None else decoding.num_best
    # Most targets end long before their limit, which is about twice what is expected.
    targets = rows * (limits[order] // 2 + 1)
    cuts = cut_batches(sizes[order], targets, batch_size=1, token_budget=decoding.places)
    for begin, finish in pairwise(cuts.tolist()):
        yield [int(i) for i in order[begin:finish]]


@dataclass(frozen=True)
class _Run:
    """One search over all sources; `group` does some of them."""

    bind: Bind
    limits: Ids
    decoding: Decoding
    wishes: SearchConstraints
    end: int
    first: int

    def group(self, group: list[int]) -> list[list[Hypothesis]]:
        """The results of these sources."""
        if self.wishes.required is None:
            return self._plain(group)
        try:
            return self._required(group, self.wishes.required)
        except ConfigError as error:
            if len(group) == 1:
                raise ConfigError(f"source {self.first + group[0] + 1:,}: {error}") from None
            # The message counts within a group, whose order the user does not know.
            return [result for i in group for result in self.group([i])]

    def _plain(self, group: list[int]) -> list[list[Hypothesis]]:
        model, decoding = self.bind(group), self.decoding
        most = torch.from_numpy(self.limits[group])
        with torch.inference_mode():
            state = model.start(len(group))
        if decoding.sampling is not None:
            drawn = sample_candidates(
                model,
                state,
                num_samples=decoding.num_best,
                max_length=most,
                end=self.end,
                sampling=decoding.sampling,
                seed=decoding.seed,
                row_ids=torch.tensor(group) + self.first,
            )
            return [sorted(candidates, key=lambda h: -h.log_prob) for candidates in drawn]
        scorers = self.wishes.scorers(model.num_symbols)
        if decoding.beam == 1:
            found = greedy_rows(model, state, max_length=most, end=self.end, scorers=scorers)
            return [[hypothesis] for hypothesis in found]
        if decoding.groups > 1:
            return diverse_beam_search(
                model,
                state,
                width=decoding.beam,
                num_groups=decoding.groups,
                max_length=most,
                end=self.end,
                alpha=decoding.alpha,
                scorers=scorers,
                num_best=decoding.num_best,
            )
        return beam_search_rows(
            model,
            state,
            width=decoding.beam,
            max_length=most,
            end=self.end,
            alpha=decoding.alpha,
            scorers=scorers,
            num_best=decoding.num_best,
        )

    def _required(self, group: list[int], required: Sequence[Phrases]) -> list[list[Hypothesis]]:
        model, decoding = self.bind(group), self.decoding
        with torch.inference_mode():
            state = model.start(len(group))
        return constrained_beam_search(
            model,
            state,
            phrases=[required[i] for i in group],
            width=decoding.beam,
            max_length=torch.from_numpy(self.limits[group]),
            end=self.end,
            alpha=decoding.alpha,
            scorers=self.wishes.scorers(model.num_symbols),
            num_best=decoding.num_best,
        )


def check_required(decoding: Decoding, required: Sequence[Sequence[str]], sources: int) -> None:
    """
    Raises:
        ConfigError: not one list for each source, or required texts in something else than a
            plain beam.
    """
    if len(required) != sources:
        raise ConfigError(
            f"there are {sources:,} sources and {len(required):,} lists of required texts: give "
            "a list for each source, an empty one where nothing is required"
        )
    if decoding.sampling is not None or decoding.groups > 1:
        raise ConfigError("required texts need a plain beam: leave out sampling and groups")
