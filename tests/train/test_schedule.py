"""Learning rates against their formulas, and options that contradict each other."""

import math

import pytest

from seriatim.errors import ConfigError
from seriatim.tasks.language_model import LanguageModel
from seriatim.train.options import TrainingOptions, configure_training
from seriatim.train.schedule import Schedule, make_schedule


def schedule(steps: int = 100, steps_per_epoch: int = 10, **options: object) -> Schedule:
    return make_schedule(configure_training(options), steps, steps_per_epoch)


def test_warmup_rises_linearly_to_the_peak_and_not_beyond() -> None:
    s = schedule(schedule="constant", learning_rate=0.8, warmup=4)
    assert [s.rate(t) for t in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_cosine_falls_from_the_peak_through_the_middle_to_the_final_fraction() -> None:
    s = schedule(learning_rate=2.0, warmup=20, final_fraction=0.1)
    assert s.rate(20) == pytest.approx(2.0)
    assert s.rate(60) == pytest.approx(2.0 * 0.55)  # the mean of 1 and 0.1
    assert s.rate(40) == pytest.approx(2.0 * (0.1 + 0.45 * (1 + math.cos(math.pi / 4))))
    assert s.rate(100) == pytest.approx(0.2)


def test_cosine_never_rises_after_the_warmup() -> None:
    rates = [schedule(warmup=10).rate(t) for t in range(10, 100)]
    assert rates == sorted(rates, reverse=True)


def test_warmup_takes_at_most_half_of_a_short_run() -> None:
    s = schedule(steps=10, schedule="constant", learning_rate=1.0, warmup=1000)
    assert s.rate(4) == 1.0
    assert s.rate(3) == pytest.approx(0.8)


def test_step_follows_the_recipe_of_zaremba() -> None:
    """Section 4.1: rate 1 for 4 epochs, then halved with every epoch."""
    s = schedule(
        schedule="step", optimizer="sgd", learning_rate=1.0, decay=0.5, decay_after=4, decay_every=1
    )
    epochs = [s.rate(10 * epoch) for epoch in range(8)]
    assert epochs == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    assert s.rate(39) == 1.0  # the last step of the fourth epoch


def test_step_falls_every_few_epochs() -> None:
    s = schedule(schedule="step", learning_rate=1.0, decay=0.1, decay_after=1, decay_every=2)
    epochs = [s.rate(10 * epoch) for epoch in range(6)]
    assert epochs == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_plateau_falls_after_the_given_evaluations_without_improvement() -> None:
    s = schedule(schedule="plateau", learning_rate=1.0, decay=0.5, plateau_patience=2)
    rates = []
    for nats in [3.0, 2.0, 2.0, 2.5, 1.9, 1.9, 1.9, 1.9, 1.9]:
        s.observe(nats)
        rates.append(s.rate(50))
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_other_schedules_ignore_validation() -> None:
    s = schedule(schedule="constant", learning_rate=1.0)
    for nats in [1.0, 2.0, 3.0, 4.0]:
        s.observe(nats)
    assert s.rate(50) == 1.0


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 10, "epochs": 2}, "steps and epochs are two budgets"),
        ({"steps": 10, "minutes": 2}, "steps and minutes are two budgets"),
        ({"steps": 0}, "steps = 0: give more than 0"),
        ({"epochs": -1}, "epochs = -1: give more than 0"),
        ({"minutes": 0}, "minutes = 0: give more than 0"),
        ({"minutes": float("inf")}, "minutes = inf"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"optimizer": "adam"}, "optimizer = 'adam': choose 'adamw' or 'sgd'"),
        ({"momentum": 0.9}, "momentum applies to optimizer sgd, and optimizer is adamw"),
        ({"betas": (0.5, 0.9), "optimizer": "sgd"}, "betas applies to optimizer adamw"),
        ({"decay": 0.1}, "decay applies to schedule plateau and step, and schedule is cosine"),
        (
            {"final_fraction": 0.5, "schedule": "constant"},
            "final_fraction applies to schedule cosine",
        ),
        ({"learning_rat": 1.0}, "unknown option learning_rat; did you mean learning_rate?"),
    ],
)
def test_contradictions_are_refused_in_one_sentence(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        configure_training(options)
    assert message in str(error.value)


def test_a_budget_without_room_for_a_row_is_refused_before_any_text_is_read() -> None:
    with pytest.raises(ConfigError, match="no room for one row of length 64"):
        LanguageModel("gru").training_options({"token_budget": 50, "length": 64})


def test_options_are_read_from_strings() -> None:
    options = configure_training({"minutes": "2.5", "betas": ["0.8", "0.9"], "patience": "3"})
    assert (options.minutes, options.betas, options.patience) == (2.5, (0.8, 0.9), 3)


def test_each_optimizer_has_its_own_rates_unless_they_are_given() -> None:
    adamw, sgd = TrainingOptions(), TrainingOptions(optimizer="sgd")
    assert (adamw.peak_rate, adamw.decay_rate) == (0.002, 0.01)
    assert (sgd.peak_rate, sgd.decay_rate) == (1.0, 0.0)
    options = TrainingOptions(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    assert (options.peak_rate, options.decay_rate) == (0.1, 0.5)


def test_recorded_options_make_the_same_options_again() -> None:
    options = TrainingOptions(epochs=2.5, schedule="plateau", decay=0.25, learning_rate=0.1)
    record = options.to_json()
    assert configure_training(record).to_json() == record
