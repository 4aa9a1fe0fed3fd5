"""The pace of a run in minutes: time that passes evenly between measurements."""

import pytest

from seriatim.errors import ConfigError
from seriatim.train.budget import Plan, Timing, measured_again, too_few
from seriatim.train.options import TrainingOptions
from seriatim.train.pace import Stretch, fraction_at, read_pace
from seriatim.train.schedule import Cosine

PACE = (Stretch(0, 0.0, 100), Stretch(50, 0.75, 60))


@pytest.mark.parametrize(
    ("step", "fraction"), [(0, 0.0), (25, 0.25), (49, 0.49), (50, 0.75), (55, 0.875), (60, 1.0)]
)
def test_time_passes_evenly_within_a_stretch_up_to_its_last_step(
    step: int, fraction: float
) -> None:
    assert fraction_at(PACE, step) == pytest.approx(fraction)


def test_a_cosine_follows_the_time_and_not_the_steps() -> None:
    schedule = Cosine(TrainingOptions(steps=60, final_fraction=0.0), 60, 10)
    assert schedule.fraction(30) == pytest.approx(0.5)
    schedule.pace = PACE
    assert schedule.fraction(49) == pytest.approx(0.5, abs=0.02)
    assert schedule.fraction(50) == pytest.approx(0.1464, abs=1e-4)  # 0.75 of the time


def test_the_warm_up_is_bounded_by_the_steps_that_were_expected_at_first() -> None:
    schedule = Cosine(TrainingOptions(steps=60, warmup=80), 60, 10)
    assert schedule.warmup == 30
    schedule.pace = PACE
    assert schedule.warmup == 50


def test_a_plan_is_measured_again_from_the_speed_and_the_time_that_is_left() -> None:
    plan = Plan(100, 5, 10, (Stretch(0, 0.0, 100),), False, Timing(since=0.0, until=100.0))
    again = measured_again(plan, 40, now=50.0, step_seconds=1.0, look=0.5)
    assert again.pace[-1] == Stretch(40, 0.5, 85)  # ten evaluations are left
    assert again.timing is not None
    assert again.timing.measure_at == 45
    assert again.is_due(45)
    assert not again.is_due(44)


@pytest.mark.parametrize("step_seconds", [0.001, 0.1, 2.0])
@pytest.mark.parametrize("look", [0.001, 0.2, 4.0])
@pytest.mark.parametrize("slower", [1.0, 3.0])
def test_evaluations_take_a_tenth_of_a_run_at_most(
    step_seconds: float, look: float, slower: float
) -> None:
    """By a run that is simulated; half way through, everything may become slower."""
    total = 120.0
    plan = Plan(1, 1, 10, (), False, Timing(since=0.0, until=total))
    plan = measured_again(plan, 0, 0.0, step_seconds, look)
    now, step, evaluating, num_looks = 0.0, 0, 0.0, 0
    while step < plan.steps:
        pace = slower if now > total / 2 else 1.0
        step += 1
        now += pace * step_seconds
        assert plan.timing is not None
        if plan.is_due(step) or now >= plan.timing.late or step == plan.steps:
            now, evaluating, num_looks = now + pace * look, evaluating + pace * look, num_looks + 1
            plan = measured_again(plan, step, now, pace * step_seconds, pace * look)
    assert num_looks >= 1
    assert evaluating <= 0.1 * total + slower * look
    assert now <= 1.05 * total + slower * (step_seconds + look)


def test_a_run_without_time_for_another_step_ends_where_it_is() -> None:
    plan = Plan(100, 5, 10, (Stretch(0, 0.0, 100),), False, Timing(since=0.0, until=100.0))
    assert measured_again(plan, 40, now=99.9, step_seconds=1.0, look=0.5).steps == 40


def test_a_pace_needs_the_number_of_steps() -> None:
    with pytest.raises(ConfigError, match="give steps too"):
        TrainingOptions(pace=((0, 0.0, 10),))
    assert read_pace(TrainingOptions(steps=10, pace=((0, 0.0, 10),)).pace) == (Stretch(0, 0.0, 10),)


def test_a_hopeless_budget_is_named_with_the_minutes_that_would_do() -> None:
    sentence = too_few(2.0, 44, 2.7)
    assert sentence is not None
    assert sentence.startswith("2 minutes hold 44 steps of 2.7 s, too few to learn from")
    assert "about 9.1 minutes" in sentence
    assert too_few(2.0, 500, 0.2) is None


def test_a_little_text_is_evaluated_after_one_pass_and_then_after_twice_as_many() -> None:
    timing = Timing(since=0.0, until=100.0, epoch=3)
    plan = Plan(100, 5, 10, (), False, timing)
    measured = []
    for step in (0, 3, 6, 12, 60):
        plan = measured_again(plan, step, now=float(step), step_seconds=1.0, look=0.0)
        assert plan.timing is not None
        measured.append(plan.timing.measure_at - step)
    assert measured == [3, 3, 5, 5, 5]  # a twentieth of the run at most
