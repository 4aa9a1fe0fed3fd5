"""Steps of models that are tried out for a budget: built, timed and thrown away.

Knows a corpus, models and the training loop; decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from seriatim.data.corpus import Corpus
from seriatim.metrics.size import num_parameters
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig
from seriatim.tasks.budget_policy import BudgetChoice, TextLength, Timed, choose
from seriatim.tasks.language_defaults import suited_options
from seriatim.train.budget import timed_step
from seriatim.train.loop import batches_of
from seriatim.train.options import TrainingOptions
from seriatim.train.seeding import seeded


@dataclass(frozen=True)
class TrialText:
    """A training text, for which a model and its training are chosen.

    Attributes:
        corpus: the text in symbols.
        num_symbols: the size of the vocabulary.
        boundary: the boundary symbol.
        device: the device on which to compute.
    """

    corpus: Corpus
    num_symbols: int
    boundary: int
    device: str

    def choose(
        self, config: ModelConfig, given: Mapping[str, Any], seconds: float, *, may_resize: bool
    ) -> BudgetChoice:
        """What suits the seconds that are left; see `budget_policy.choose`."""
        corpus = self.corpus
        return choose(
            config,
            lambda options: suited_options(config.recipe, options),
            given,
            TextLength(corpus.num_scored, corpus.num_sequences, corpus.is_stream),
            seconds,
            self._time,
            may_resize=may_resize,
        )

    def _time(self, config: ModelConfig, options: TrainingOptions) -> Timed:
        device = torch.device(self.device)
        with seeded(device, options.seed):
            model = build_model(config, self.num_symbols, self.boundary).to(device)
            source = batches_of(model, self.corpus, options)
            seconds = timed_step(model, source, options)
        return Timed(seconds, source.targets_per_step, num_parameters(model))
