"""Courses of a number over the epochs: their closed forms, their ends, and what is refused."""

import math
from typing import Any

import pytest

from study.distillation import methods
from study.distillation.courses import KINDS, Course, CourseError, course_of

TUNED_TEMPERATURE = {
    "temperature": 0.5,
    "temperature_schedule": "exponential",
    "temperature_end_factor": 0.6,
    "temperature_decay": 0.95,
}
TUNED_ALPHA = {
    "alpha": 0.8,
    "alpha_schedule": "exponential",
    "alpha_end_factor": 0.625,
    "alpha_decay": 0.95,
}


def values(course: Course, epochs: int) -> list[float]:
    return [course.at(epoch, epochs) for epoch in range(epochs)]


def test_a_fixed_course_is_its_start_whatever_end_and_decay_are_left_over() -> None:
    assert values(Course(4.0), 3) == [4.0] * 3
    assert values(Course(4.0, 1.0, "fixed", 0.5), 3) == [4.0] * 3


def test_an_exponential_course_decays_to_its_floor_and_stays_there() -> None:
    course = Course(8.0, 1.0, "exponential", 0.5)
    assert values(course, 6) == [8.0, 4.0, 2.0, 1.0, 1.0, 1.0]
    assert Course(8.0, 3.0, "exponential", 0.5).at(2, 6) == 3.0


def test_a_course_that_ends_where_it_starts_stays_there_whatever_its_decay() -> None:
    assert values(Course(0.8, 0.8, "exponential", 1.05), 8) == [0.8] * 8
    assert values(Course(0.8, 0.8, "exponential", 0.5), 8) == [0.8] * 8


def test_an_exponential_course_may_rise_to_a_ceiling() -> None:
    course = Course(1.0, 6.0, "exponential", 2.0)
    assert values(course, 5) == [1.0, 2.0, 4.0, 6.0, 6.0]
    assert Course(1.0, 6.0, "exponential", 10.0).at(100_000, 100_001) == 6.0  # no overflow


def test_an_exponential_course_does_not_depend_on_the_length_of_the_training() -> None:
    course = Course(8.0, 1.0, "exponential", 0.9)
    assert [course.at(epoch, 5) for epoch in range(5)] == values(course, 50)[:5]


def test_a_course_that_ends_where_it_starts_stays_there() -> None:
    for kind in KINDS:
        assert values(Course(0.5, 0.5, kind, 0.9), 4) == [0.5] * 4


def test_a_linear_course_takes_equal_steps() -> None:
    assert values(Course(4.0, 1.0, "linear"), 4) == pytest.approx([4, 3, 2, 1])
    assert values(Course(1.0, 4.0, "linear"), 4) == pytest.approx([1, 2, 3, 4])


def test_a_cosine_course_is_half_a_cosine() -> None:
    found = values(Course(4.0, 1.0, "cosine"), 7)
    assert found == pytest.approx([1 + 1.5 * (1 + math.cos(math.pi * e / 6)) for e in range(7)])
    assert found[3] == pytest.approx(2.5)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.3), (0.1, 1.0), (1.0, 0.1), (20.0, 0.3)])
def test_both_ends_are_met_to_the_last_bit_and_never_passed(
    kind: Any, start: float, end: float
) -> None:
    found = values(Course(start, end, kind), 11)
    assert (found[0], found[-1]) == (start, end)
    assert all(min(start, end) <= value <= max(start, end) for value in found)
    assert found == sorted(found, reverse=end < start)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_of_one_epoch_has_the_start(kind: Any) -> None:
    assert Course(4.0, 1.0, kind, 0.5).at(0, 1) == 4.0


def test_the_published_run_is_written_exactly_with_ends_as_shares_of_the_start() -> None:
    temperature = course_of(TUNED_TEMPERATURE, "temperature")
    alpha = course_of(TUNED_ALPHA, "alpha")

    assert (temperature.start, temperature.end) == (0.5, 0.3)
    assert (alpha.start, alpha.end) == (0.8, 0.5)
    assert temperature.at(1, 30) == 0.5 * 0.95
    assert temperature.at(9, 30) == 0.5 * 0.95**9 > 0.3
    assert temperature.at(10, 30) == 0.3
    assert alpha.at(9, 30) > 0.5 == alpha.at(10, 30)


def test_an_end_is_given_as_itself_or_as_a_multiple_of_the_start() -> None:
    params = {"alpha": 0.8, "alpha_schedule": "linear"}
    assert course_of({**params, "alpha_end": 0.2}, "alpha").end == 0.2
    assert course_of({**params, "alpha_end_factor": 0.25}, "alpha").end == 0.2
    assert course_of({}, "temperature", 4.0) == Course(4.0)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "no value for alpha"),
        ({"alpha": "much"}, "alpha must be a number, got 'much'"),
        ({"alpha": 0.8, "alpha_schedule": "step"}, "no schedule 'step'; choose fixed, exponential"),
        ({"alpha": 0.8, "alpha_schedule": "linear"}, "needs the value it ends at"),
        ({"alpha": math.inf}, "finite numbers, got inf"),
        ({"alpha": math.nan}, "finite numbers, got nan"),
        (
            {"alpha": 0.8, "alpha_schedule": "linear", "alpha_end": 0.1, "alpha_end_factor": 0.5},
            "alpha_end or by alpha_end_factor",
        ),
        (
            {"alpha": 0.8, "alpha_schedule": "exponential", "alpha_end": 0.5},
            "to 0.5 needs a decay other than 1",
        ),
        (
            {"alpha": 0.0, "alpha_schedule": "exponential", "alpha_end": 0.5, "alpha_decay": 2},
            "starts above 0",
        ),
    ],
)
def test_bad_courses_are_refused_and_named(params: dict[str, Any], words: str) -> None:
    with pytest.raises(CourseError, match=words) as caught:
        course_of(params, "alpha")
    assert "alpha" in str(caught.value)


@pytest.mark.parametrize(
    ("start", "end", "decay", "words"),
    [
        (0.8, 0.5, 1.05, "leads from 0.8 away from 0.5"),
        (0.5, 0.8, 0.95, "leads from 0.5 away from 0.8"),
        (0.8, 0.5, 0.0, "above 0"),
        (0.8, 0.5, -0.5, "above 0"),
    ],
)
def test_a_decay_that_never_reaches_the_end_is_refused(
    start: float, end: float, decay: float, words: str
) -> None:
    with pytest.raises(CourseError, match=words):
        Course(start, end, "exponential", decay)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 0.0}, "temperature: .* above 0"),
        ({"temperature_end_factor": 0.0}, "temperature must be above 0"),
        ({"alpha": 1.5}, "alpha must lie between 0 and 1"),
        ({"alpha_end_factor": 2.0, "alpha_decay": 1.05}, "alpha must lie between 0 and 1"),
        ({"alpha_decay": 1.05}, "alpha: decay 1.05 leads"),
        ({"terms": "ce+kl"}, "ce\\+kl has one temperature"),
    ],
)
def test_a_method_refuses_courses_that_leave_what_its_loss_is_defined_for(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(methods.MethodError, match=words):
        methods.build({**TUNED_TEMPERATURE, **TUNED_ALPHA, **change})


@pytest.mark.parametrize("method", ["response", "hybrid"])
def test_a_method_takes_the_values_of_each_epoch(method: str) -> None:
    params = {"method": method, **TUNED_TEMPERATURE, **TUNED_ALPHA, "feature_weight": 0.1}
    built: Any = methods.build(params)
    for epoch in (0, 3, 29):
        now = built.at(epoch, 30).now
        alpha = max(0.5, 0.8 * 0.95**epoch)
        assert now.temperature == max(0.3, 0.5 * 0.95**epoch)
        assert (now.kl_weight, now.ce_weight) == (alpha, 1 - alpha)
