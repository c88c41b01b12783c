"""Conditional parameters on their way through the sampler: drawn where they exist, and learnt."""

import statistics
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from analysis.results import ATTR_REPLICATE
from search_spaces import cifar_hybrid, cifar_modern
from search_spaces.space import Choice, Range, SearchSpace, Value, When, configuration_key
from study.proposal import _sketch, distributions, propose
from study.record import StudyRecord

Params = dict[str, Value]
DECOUPLED, SOFTENED = When("method", ("dkd",)), When("method", ("response",))
# Two methods with a parameter of their own each, and one with a parameter below that.
SPACE = SearchSpace(
    name="conditional",
    title="conditional",
    description="conditional",
    parameters=(
        Choice("width", (16, 32), "", architecture=True),
        Choice("method", ("response", "dkd", "none"), ""),
        Range("non_target_weight", 0.0, 16.0, "", when=DECOUPLED),
        Range("temperature", 1.0, 20.0, "", log=True, when=SOFTENED),
        Choice("course", ("fixed", "falling"), "", when=SOFTENED),
        Range("decay", 0.5, 1.0, "", when=When("course", ("falling",))),
        Range("learning_rate", 0.01, 0.3, "", log=True),
    ),
    control={"method": "none"},
    build_student=lambda params, classes, shape: None,
    describe=lambda params: str(params["width"]),
)
BEST_WEIGHT, BEST_TEMPERATURE = 12.0, 2.0


def score(params: Params) -> float:
    """Accuracy (%) as it might be: each method has a good region of its own parameter."""
    width = 2.0 if params["width"] == 32 else 0.0
    if params["method"] == "dkd":
        return 80 + width - 3 * abs(float(params["non_target_weight"]) - BEST_WEIGHT)
    if params["method"] == "response":
        return 79 + width - 3 * abs(float(params["temperature"]) - BEST_TEMPERATURE)
    return 60 + width


def searched(
    space: SearchSpace,
    sampler: str,
    trials: int,
    seed: int = 0,
    score: Callable[[Params], float] = score,
) -> tuple[list[Params], "optuna.Study"]:
    """The configurations of a study whose every trial ended with its score and a latency (ms)."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    params_of: list[Params] = []
    for number in range(trials):
        tried = {configuration_key(params) for params in params_of}
        params = propose(study, space, sampler=sampler, seed=seed, number=number, tried=tried)
        params_of.append(params)
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=distributions(space, params),
                values=[score(params), float(params["width"]) / 16],
            )
        )
    return params_of, study


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("space", [SPACE, cifar_hybrid.SPACE, cifar_modern.SPACE])
def test_a_trial_holds_the_parameters_that_exist_for_it_and_no_others(
    space: SearchSpace, sampler: str
) -> None:
    proposed, study = searched(space, sampler, 30, score=lambda params: len(params))
    for params, trial in zip(proposed, study.trials, strict=True):
        active = [p.name for p in space.parameters if space.is_active(p, params)]
        assert list(params) == active
        assert space.complete(params) == params
        assert set(trial.params) == set(trial.distributions) == set(active)
    conditional = {p.name for p in space.parameters if p.when is not None}
    assert all(any(name not in params for params in proposed) for name in conditional)
    assert any(conditional & set(params) for params in proposed)


def test_the_record_stores_no_parameter_that_does_not_exist_for_the_trial(tmp_path: Path) -> None:
    record = StudyRecord(tmp_path, "conditional", None)
    for params in (SPACE.complete({"method": "none"}), SPACE.complete({"course": "falling"})):
        number = record.add_trial(
            params,
            distributions(SPACE, params),
            source="sampler",
            label=None,
            architecture="16",
            epochs=1,
        )
        assert record.study.trials[number].params == params
    none, falling = record.study.trials
    assert set(none.params) == {"width", "method", "learning_rate"}
    assert set(falling.params) - set(none.params) == {"temperature", "course", "decay"}


def distances(sampler: str, method: str, name: str, best: float) -> list[float]:
    """How far the last trials of a method lie from the best value of its own parameter."""
    found: list[float] = []
    for seed in range(3):
        proposed, _ = searched(SPACE, sampler, 70, seed)
        of_method = [p for p in proposed[30:] if p["method"] == method]
        found += [abs(float(params[name]) - best) for params in of_method]
    return found


@pytest.mark.parametrize(
    ("method", "name", "best"),
    [
        ("dkd", "non_target_weight", BEST_WEIGHT),
        ("response", "temperature", BEST_TEMPERATURE),
    ],
)
def test_the_good_region_of_a_conditional_parameter_is_found_under_its_condition(
    method: str, name: str, best: float
) -> None:
    learnt = distances("tpe", method, name, best)
    drawn = distances("random", method, name, best)
    assert len(learnt) > 20
    assert statistics.median(learnt) < statistics.median(drawn) / 2


def test_a_condition_that_scores_worse_is_proposed_less() -> None:
    last = [
        params["method"]
        for seed in range(4)
        for params in searched(SPACE, "tpe", 100, seed)[0][70:]
    ]
    assert last.count("none") / len(last) < 1 / 6  # at random, a third


def test_a_trial_that_waits_is_shown_to_tpe_with_what_it_has_reached() -> None:
    _, study = searched(SPACE, "random", 3)
    for _ in range(2):
        study.ask(distributions(SPACE, SPACE.complete({})))

    sketch, drawn = _sketch(study, (), {4: (71.0, 2.0)})

    states = [trial.state.name for trial in sketch.get_trials(deepcopy=False)]
    assert states == ["COMPLETE"] * 3 + ["RUNNING", "COMPLETE", "RUNNING"]
    assert sketch.get_trials(deepcopy=False)[4].values == [71.0, 2.0]
    assert study.trials[4].state.name == "RUNNING"
    assert drawn.number == 5


def test_the_trial_to_be_drawn_has_a_number_of_its_own_beside_replicates() -> None:
    _, study = searched(SPACE, "random", 2)
    first = study.trials[0]
    replicate = optuna.trial.create_trial(
        params=first.params,
        distributions=first.distributions,
        values=first.values,
        user_attrs={ATTR_REPLICATE: {"of": 0}},
    )
    study.add_trial(replicate)
    study.add_trial(first)

    sketch, drawn = _sketch(study, (), {})

    others = [trial.number for trial in sketch.get_trials(deepcopy=False)[:-1]]
    assert others == [0, 1, 3]
    assert drawn.number == 4
