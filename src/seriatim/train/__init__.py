"""Training by gradients: the loop, its options, optimizers, schedules and objectives.

    seriatim.train(model, data)     trains any model of symbols on arrays; see `train.symbols`

`seriatim.train.callbacks` and `seriatim.train.checkpoint` have the names of their packages.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.train.closed_form import ClosedForm as ClosedForm
    from seriatim.train.distributed import Ranks as Ranks
    from seriatim.train.distributed import join as join
    from seriatim.train.distributed import leave as leave
    from seriatim.train.evaluation import mean_nats as mean_nats
    from seriatim.train.loop import batches_of as batches_of
    from seriatim.train.loop import fit as fit
    from seriatim.train.loop import train as train
    from seriatim.train.objectives import PenalizedActivations as PenalizedActivations
    from seriatim.train.objectives import SmoothedLikelihood as SmoothedLikelihood
    from seriatim.train.optimizer import make_optimizer as make_optimizer
    from seriatim.train.options import TrainingOptions as TrainingOptions
    from seriatim.train.precision import apply_process_settings as apply_process_settings
    from seriatim.train.precision import choose_precision as choose_precision
    from seriatim.train.precision import process_settings as process_settings
    from seriatim.train.schedule import make_schedule as make_schedule
    from seriatim.train.trainer import Trainer as Trainer

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "closed_form": ["ClosedForm"],
        "distributed": ["Ranks", "join", "leave"],
        "evaluation": ["mean_nats"],
        "loop": ["batches_of", "fit", "train"],
        "objectives": ["PenalizedActivations", "SmoothedLikelihood"],
        "optimizer": ["make_optimizer"],
        "options": ["TrainingOptions"],
        "precision": ["apply_process_settings", "choose_precision", "process_settings"],
        "schedule": ["make_schedule"],
        "trainer": ["Trainer"],
    },
)


class _Callable(ModuleType):
    """This package, which can be called.

    Importing `seriatim.train.x` binds the package to the name `seriatim.train`, so a function of
    that name would be replaced by it at some moment.
    """

    @property
    def __wrapped__(self) -> Any:
        """The function, whose signature and documentation tools show."""
        from seriatim.train.symbols import train as function

        return function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.__wrapped__(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
