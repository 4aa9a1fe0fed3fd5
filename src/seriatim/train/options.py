"""The options of training, each defined once, as a frozen dataclass.

Knows names, defaults, ranges and contradictions. Does not know torch, models or data: the
command line reads this module for its help and must start quickly.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Literal

from annotated_types import Interval

from seriatim.core.records import Json
from seriatim.core.validation import option_class

Count = Annotated[int, Interval(gt=0)]
Positive = Annotated[float, Interval(gt=0.0)]
NotNegative = Annotated[float, Interval(ge=0.0)]
Fraction = Annotated[float, Interval(ge=0.0, le=1.0)]
Below1 = Annotated[float, Interval(ge=0.0, lt=1.0)]

DEFAULT_STEPS = 2000
SCORING_FRACTION = 0.05  # of a budget in minutes: what the final scores may take
BUDGETS = ("steps", "epochs", "minutes")  # at most one is given
# The default (learning rate, weight decay) of each optimizer, to which they mean different things.
RATES: Mapping[str, tuple[float, float]] = {"adamw": (2e-3, 0.01), "sgd": (1.0, 0.0)}
RECORDED = ("pace",)  # read back from a record, and given in no other way
# Options that only some choice of another option reads.
CONDITIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "betas": ("optimizer", ("adamw",)),
    "momentum": ("optimizer", ("sgd",)),
    "final_fraction": ("schedule", ("cosine",)),
    "decay": ("schedule", ("plateau", "step")),
    "plateau_patience": ("schedule", ("plateau",)),
    "decay_after": ("schedule", ("step",)),
    "decay_every": ("schedule", ("step",)),
}


@option_class
class TrainingOptions:
    """How a model is trained by gradients. At most one of steps, epochs and minutes may be given.

    Attributes:
        steps: the number of updates of the weights; 2,000 where none of steps, epochs and minutes
            is given, which costs the same whatever the size of the corpus.
        epochs: the number of passes over the training corpus; a fraction is allowed.
        minutes: the time for everything: reading, evaluations, final scores and saving included.
            The number of steps is measured again at every evaluation and the schedule follows the
            time; both are recorded, so that the run can be repeated.
        batch_size: the number B of rows of a batch.
        length: the number L of symbols of a row: chunks and windows of a stream, the longest
            piece of a sequence.
        token_budget: for line and document sequences: the number of positions of a batch,
            padding included, which decides the number of rows; None: batch_size rows.
        carry: for streams: True reads batch_size parts of the stream chunk after chunk and
            carries the state (truncated backpropagation through time); False takes random
            windows with a fresh state; None: carries unless the model's reach is bounded.
        optimizer: "adamw" (Loshchilov, Hutter 2019) or "sgd".
        learning_rate: the peak learning rate; None: 0.002 for adamw, 1 for sgd.
        weight_decay: the fraction of each matrix taken off, times the learning rate; biases,
            norms and embeddings are left alone. None: 0.01 for adamw, 0 for sgd.
        betas: the decay rates of adamw's averages of the gradient and of its square.
        momentum: the momentum of sgd.
        clip: the maximum global norm of the gradient; None: no clipping.
        label_smoothing: the fraction e of the target spread over all symbols, (1 - e) ln
            p(target) + e mean ln p (Szegedy et al. 2016; Vaswani et al. 2017, 5.4).
        activation_penalty: alpha times the mean square of the dropped-out features (Merity et
            al. 2017, activation regularization).
        temporal_penalty: beta times the mean square of the change of the features from step to
            step (Merity et al. 2017, temporal activation regularization).
        schedule: how the learning rate falls: "cosine" to final_fraction of the peak,
            "constant", "plateau" (times decay whenever validation has not improved), "step"
            (times decay every few epochs), "inverse-sqrt" (of the step: Vaswani et al. 2017,
            5.3).
        warmup: the number of steps of the linear warm-up; at most half of all steps count.
        final_fraction: cosine: the fraction of the learning rate left at the end.
        decay: plateau and step: the factor of the learning rate.
        plateau_patience: plateau: the number of evaluations in a row without improvement before
            the rate falls.
        decay_after: step: the number of epochs at the full rate.
        decay_every: step: the number of epochs between later falls.
        evaluate_every: the number of steps between evaluations; None: about 20 evaluations in
            all, fewer in short runs.
        evaluate_symbols: the maximum number of symbols of the validation corpus that one
            evaluation reads; None: a quarter of those trained on between two evaluations, at
            least 16,384.
        precision: "float32", "bf16" (products in bfloat16, weights and sums in float32), "auto":
            what the device does best, by its instructions; or "measure": the one whose products
            are faster here and now, which is recorded.
        accumulate: the number of parts into which a batch is cut, one after another, to need
            less memory; the gradient is that of the whole batch.
        auto_batch: whether to cut a batch whose step does not fit into memory into 2, 4, 8 ..
            times as many parts, until it does.
        average: the decay b of an exponential average of the weights, such as 0.995: about the
            last 1 / (1 - b) updates count, which should be at most a fifteenth of the run. The
            average is what is validated and what a run ends with (Polyak, Juditsky 1992;
            Vaswani et al. 2017, 6.1, average checkpoints). It helps where the learning rate is
            still high at the end; None: no averaging.
        recompute: whether to keep only the input of each block and recompute the rest for the
            gradients: less memory, more time (Chen et al. 2016).
        compile: whether torch.compile fuses the model.
        distributed: how several processes hold the model: "ddp", each has all weights (Li et al.
            2020), or "fsdp", each has some rows of every tensor (Zhao et al. 2023).
        patience: early stopping: the number of evaluations in a row without improvement after
            which training stops; None: never.
        seed: the seed of the order of the data and of dropout.
        pace: the pace of a run in minutes, which repeats it with its number of steps; see
            `History.repetition`.
    """

    steps: Count | None = None
    epochs: Positive | None = None
    minutes: Positive | None = None
    batch_size: Count = 32
    length: Count = 128
    token_budget: Count | None = None
    carry: bool | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive | None = None
    weight_decay: NotNegative | None = None
    betas: tuple[Below1, Below1] = (0.9, 0.99)
    momentum: Below1 = 0.0
    clip: Positive | None = 1.0
    label_smoothing: Below1 = 0.0
    activation_penalty: NotNegative = 0.0
    temporal_penalty: NotNegative = 0.0
    schedule: Literal["cosine", "constant", "plateau", "step", "inverse-sqrt"] = "cosine"
    warmup: Annotated[int, Interval(ge=0)] = 0
    final_fraction: Fraction = 0.1
    decay: Annotated[float, Interval(gt=0.0, lt=1.0)] = 0.5
    plateau_patience: Count = 2
    decay_after: NotNegative = 4.0
    decay_every: Positive = 1.0
    evaluate_every: Count | None = None
    evaluate_symbols: Count | None = None
    precision: Literal["auto", "float32", "bf16", "measure"] = "auto"
    accumulate: Count = 1
    auto_batch: bool = False
    average: Annotated[float, Interval(gt=0.0, lt=1.0)] | None = None
    recompute: bool = False
    compile: bool = False
    distributed: Literal["ddp", "fsdp"] = "ddp"
    patience: Count | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    pace: tuple[tuple[int, float, int], ...] = ()

    def __post_init__(self) -> None:
        budgets = [n for n in BUDGETS if getattr(self, n) is not None]
        if len(budgets) > 1:
            raise ValueError(f"{' and '.join(budgets)} are two budgets: give one of them")
        for field in fields(self):
            owner, choices = CONDITIONS.get(field.name, ("", ()))
            changed = getattr(self, field.name) != field.default
            if owner and changed and getattr(self, owner) not in choices:
                raise ValueError(
                    f"{field.name} applies to {owner} {' and '.join(choices)}, and {owner} is "
                    f"{getattr(self, owner)}: leave it out, or change {owner}"
                )
        if self.pace and self.steps is None:
            raise ValueError("pace repeats a run of known length: give steps too")

    @property
    def peak_rate(self) -> float:
        """The peak learning rate, given or the optimizer's default."""
        return RATES[self.optimizer][0] if self.learning_rate is None else self.learning_rate

    @property
    def decay_rate(self) -> float:
        """The weight decay, given or the optimizer's default."""
        return RATES[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    def to_json(self) -> Json:
        """Every option as JSON values, with the optimizer's default rates filled in."""
        chosen = {"learning_rate": self.peak_rate, "weight_decay": self.decay_rate}
        lists = {"betas": list(self.betas), "pace": [list(stretch) for stretch in self.pace]}
        return {**asdict(self), **lists, **chosen}


def configure_training(options: Json) -> TrainingOptions:
    """Training options from strings or JSON values.

    Raises:
        ConfigError: if an option does not exist, a value is out of its range, or two options
            contradict each other.
    """
    return TrainingOptions(**options)
