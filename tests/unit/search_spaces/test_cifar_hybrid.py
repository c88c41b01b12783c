"""The hybrid space: whatever can be drawn can be taught, and the published runs are written."""

from typing import Any

import optuna
import pytest

from search_spaces.cifar_hybrid import SPACE
from search_spaces.space import Choice, Range, configuration_key
from study.distillation import methods
from study.distillation.courses import KINDS
from study.plan_view import parameter_rows
from study.proposal import distributions, propose
from study.seed_points import seed_points

FEATURES = {"feature_weight", "taps", "projector"}
COURSES = {
    f"{name}_{part}" for name in ("temperature", "alpha") for part in ("end_factor", "decay")
}
TAUGHT = {"temperature", "alpha", "temperature_schedule", "alpha_schedule"}


def built(params: Any) -> Any:
    return methods.build(params)


def test_the_published_rows_are_those_of_the_document() -> None:
    tuned, fixed, alone = (SPACE.complete(row.params) for row in SPACE.presets["paper"])

    for epoch, temperature, alpha in ((0, 0.5, 0.8), (1, 0.475, 0.76), (29, 0.3, 0.5)):
        now = built(tuned).at(epoch, 30).now
        assert (now.temperature, now.kl_weight) == pytest.approx((temperature, alpha), abs=1e-12)
        now = built(fixed).at(epoch, 30).now
        assert (now.temperature, now.kl_weight) == (0.5, 0.7)
    for row in (tuned, fixed):
        assert built(row).feature_weight == 0.1
        assert built(row).taps.student == ("layer1", "layer2", "layer3", "layer4")
        assert built(row).taps.direction == "student-to-teacher"
    assert SPACE.is_control(alone)
    assert len({SPACE.describe(row) for row in (tuned, fixed, alone)}) == 1


def test_the_published_student_is_resnet_18_with_the_published_parameters() -> None:
    for row in SPACE.presets["paper"]:
        student = SPACE.build_student(SPACE.complete(row.params), 10, (32, 32, 3))
        count = sum(parameter.numel() for parameter in student.parameters())
        assert round(count / 1e6, 2) == row.published["params_m"] == 11.18


def test_the_seed_points_are_the_three_published_rows() -> None:
    points = seed_points(SPACE, "paper", {})
    assert [point.label for point in points][:3] == [
        "ResNet-18 distilled, tuned",
        "ResNet-18 distilled",
        "ResNet-18 without KD",
    ]


@pytest.mark.parametrize(
    ("overrides", "there", "missing"),
    [
        ({}, FEATURES | TAUGHT, COURSES),
        ({"method": "response"}, TAUGHT, FEATURES | COURSES),
        ({"method": "none", "alpha_schedule": "exponential"}, set(), FEATURES | COURSES | TAUGHT),
        ({"alpha_schedule": "linear"}, {"alpha_end_factor"}, {"alpha_decay"}),
        ({"alpha_schedule": "exponential"}, {"alpha_end_factor", "alpha_decay"}, set()),
    ],
)
def test_parameters_exist_under_their_conditions_over_two_levels(
    overrides: dict[str, Any], there: set[str], missing: set[str]
) -> None:
    params = SPACE.complete(overrides)
    assert there <= set(params)
    assert not missing & set(params)
    assert set(distributions(SPACE, params)) == set(params)


def test_every_configuration_a_sampler_draws_is_one_a_method_takes() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    tried: set[Any] = set()
    seen = {"method": set(), "temperature_schedule": set(), "alpha_schedule": set()}
    for number in range(60):
        drawn = propose(study, SPACE, sampler="random", seed=3, number=number, tried=tried)
        tried.add(configuration_key(drawn))
        assert drawn == SPACE.complete(drawn)  # nothing inactive, nothing lacking
        method = built(drawn)
        for name, values in seen.items():
            values.add(drawn.get(name))
        for course in (getattr(method, "temperature", None), getattr(method, "alpha", None)):
            if hasattr(course, "at"):
                values = [course.at(epoch, 30) for epoch in range(30)]
                assert values == sorted(values, reverse=True)
                assert values[-1] >= course.end if course.end is not None else True
        optuna_params = {name: drawn[name] for name in drawn if SPACE.parameter(name).searched}
        study.add_trial(
            optuna.trial.create_trial(
                params=optuna_params,
                distributions=distributions(SPACE, optuna_params),
                values=[float(number), 1.0],
            )
        )
    assert seen["method"] == {"hybrid", "response", "none"}
    assert seen["alpha_schedule"] == seen["temperature_schedule"] == {*KINDS, None}
    # The model of the sampler meets the same conditions.
    modelled = propose(study, SPACE, sampler="tpe", seed=3, number=60, tried=tried)
    assert modelled == SPACE.complete(modelled)


def test_the_corners_of_every_course_can_be_taught() -> None:
    """A decay cannot lead away from its end, whatever is drawn."""
    for name in ("temperature", "alpha"):
        start, factor, decay = (
            SPACE.parameter(part) for part in (name, f"{name}_end_factor", f"{name}_decay")
        )
        for parameter in (start, factor, decay):
            assert isinstance(parameter, Range)
        for kind in KINDS:
            for s in (start.low, start.high):  # type: ignore[union-attr]
                for f in (factor.low, factor.high):  # type: ignore[union-attr]
                    for d in (decay.low, decay.high):  # type: ignore[union-attr]
                        params = SPACE.complete(
                            {
                                name: s,
                                f"{name}_schedule": kind,
                                f"{name}_end_factor": f,
                                f"{name}_decay": d,
                            }
                        )
                        course = getattr(built(params), name)
                        values = [course.at(epoch, 30) for epoch in range(30)]
                        assert values == pytest.approx(sorted(values, reverse=True))


def test_held_to_few_values_the_space_is_listed_whole_and_once() -> None:
    reals = [p for p in SPACE.parameters if isinstance(p, Range) and p.kind == "real"]
    held = SPACE.with_fixed(
        {
            **{p.name: p.default for p in (*reals, *SPACE.parameters) if p.architecture},
            **{p.name: p.default for p in reals},
            **{"schedule": "cosine", "batch_size": 64, "alpha_schedule": "fixed"},
            **{"projector": "student-to-teacher"},
        }
    )
    listed = list(held.enumerate())
    # Three taps with four schedules of the temperature; the response with four; the control.
    assert held.configurations() == len(listed) == 3 * 4 + 4 + 1
    assert len({configuration_key(params) for params in listed}) == len(listed)
    assert all(params == held.complete(params) for params in listed)


def test_samples_show_every_value_of_every_parameter() -> None:
    samples = list(SPACE.samples())
    for parameter in SPACE.parameters:
        shown = {params[parameter.name] for params in samples if parameter.name in params}
        if not parameter.searched:
            assert shown == {parameter.default}
        elif isinstance(parameter, Choice):
            assert shown == set(parameter.choices)
        else:
            assert {parameter.low, parameter.high, parameter.default} == shown


def test_samples_keep_to_what_is_fixed() -> None:
    held = SPACE.with_fixed({"method": "response"})
    samples = list(held.samples())
    assert {params["method"] for params in samples} == {"response"}
    assert not any("taps" in params for params in samples)


def test_conditional_parameters_hang_below_the_ones_they_depend_on() -> None:
    names = [name for name, _ in parameter_rows(SPACE)]
    begin = names.index("method")
    assert names[begin + 1 : begin + 5] == [
        "├ temperature",
        "├ temperature_schedule",
        "│ ├ temperature_end_factor",
        "│ └ temperature_decay",
    ]
    assert names[begin + 11] == "└ projector"
    assert names[begin + 12] == "learning_rate"
    assert len(names) == len(SPACE.parameters)
    texts = dict(parameter_rows(SPACE))
    assert "with temperature_schedule exponential:" in texts["│ └ temperature_decay"]
