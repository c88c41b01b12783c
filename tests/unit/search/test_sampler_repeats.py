"""What counts as tried, so that nothing is proposed again."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from study.search.relative import PROPOSED
from study.search.sampler import LatencyFirstSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE: dict[str, BaseDistribution] = {
    "width": IntDistribution(1, 5),
    "depth": IntDistribution(1, 5),
}
BROKEN = {"width": 2, "depth": 4}


def make(space: Mapping[str, BaseDistribution] | None = SPACE) -> LatencyFirstSampler:
    return LatencyFirstSampler(search_space=space, seed=0)


def begun(sampler: LatencyFirstSampler, storage: Any = None) -> optuna.Study:
    directions = ["maximize", "minimize"]
    return optuna.create_study(directions=directions, sampler=sampler, storage=storage)


def counted(study: optuna.Study) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(sorted(trial.params.items())) for trial in study.trials)


def score(trial: optuna.Trial) -> tuple[float, float]:
    width, depth = trial.suggest_int("width", 1, 5), trial.suggest_int("depth", 1, 5)
    if {"width": width, "depth": depth} == BROKEN:
        raise RuntimeError("out of memory")
    return 50.0 + width * depth, float(width)


def score_where_built(trial: optuna.Trial) -> tuple[float, float]:
    width = trial.suggest_int("width", 1, 5)
    if width == 2:
        raise RuntimeError("out of memory")  # before anything else is asked for
    return 50.0 + width * trial.suggest_int("depth", 1, 5), float(width)


# Trials that failed


@pytest.mark.parametrize("objective", [score, score_where_built])
def test_what_failed_is_not_proposed_again_and_the_study_stops(
    objective: Callable[[optuna.Trial], tuple[float, float]],
) -> None:
    study = begun(make())

    study.optimize(objective, n_trials=25, catch=RuntimeError)

    proposed = {trial.system_attrs[PROPOSED] for trial in study.trials}
    assert len(proposed) == len(study.trials) == 25
    with pytest.warns(UserWarning, match="all 25 configurations of the search space"):
        study.optimize(objective, n_trials=5, catch=RuntimeError)
    assert len(study.trials) == 26


def test_what_failed_counts_before_there_is_a_search_space() -> None:
    study = begun(make(None))

    def fail(trial: optuna.Trial) -> tuple[float, float]:
        trial.suggest_int("width", 1, 5)
        trial.suggest_int("depth", 1, 5)
        raise RuntimeError

    study.optimize(fail, n_trials=25, catch=RuntimeError)

    assert set(counted(study).values()) == {1}


def test_what_failed_is_tried_again_where_it_is_enqueued() -> None:
    study = begun(make())

    def again(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.state == TrialState.FAIL and counted(study)[tuple(sorted(BROKEN.items()))] < 3:
            study.enqueue_trial(trial.params)

    study.optimize(score, n_trials=27, catch=RuntimeError, callbacks=[again])

    times = counted(study)
    assert times.pop(tuple(sorted(BROKEN.items()))) == 3
    assert len(times) == 24
    assert set(times.values()) == {1}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("asked", [("width", "depth"), ("width",), ()], ids=str)
def test_a_retry_of_optunas_is_of_what_its_trial_was_proposed(asked: tuple[str, ...]) -> None:
    study = begun(make())
    for _ in range(4):
        study.tell(study.ask(SPACE), [50.0, 1.0])
    trial = study.ask()
    was = dict(trial.relative_params)
    for name in asked:
        trial.suggest_int(name, 1, 5)
    failed = study.tell(trial, state=TrialState.FAIL)

    RetryHeartbeatStaleTrialCallback()(study, failed)

    assert study.ask(SPACE).params == was
    assert study.ask(SPACE).params != was


# Steps that are no binary fractions

STEPS: dict[str, BaseDistribution] = {"loss": FloatDistribution(0.0, 0.3, step=0.1)}


def test_every_step_is_proposed_once_and_drawn_as_it_was() -> None:
    study = begun(make(STEPS))

    def end(trial: optuna.Trial) -> tuple[float, float]:
        return 50.0 + trial.suggest_float("loss", 0.0, 0.3, step=0.1), 1.0

    study.optimize(end, n_trials=4)

    assert sorted(trial.params["loss"] for trial in study.trials) == [0.0, 0.1, 0.2, 0.3]
    with pytest.warns(UserWarning, match="all 4 configurations"):
        study.optimize(end, n_trials=3)


@pytest.mark.parametrize("space", [STEPS, None], ids=["given", "inferred"])
def test_a_value_that_was_added_counts_as_the_step_next_to_it(space: Any) -> None:
    tenths: dict[str, BaseDistribution] = {"loss": FloatDistribution(0.0, 1.0, step=0.1)}
    study = begun(make(tenths if space else None))
    study.enqueue_trial({"loss": 0.3})  # Optuna's draws have 3 * 0.1, which is another number
    study.enqueue_trial({"loss": 0.7})
    asked = [study.ask(tenths) for _ in range(11)]

    assert sorted(round(10 * trial.params["loss"]) for trial in asked) == list(range(11))


# Processes that share a storage


def test_who_writes_what_another_has_written_meanwhile_proposes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = optuna.storages.InMemoryStorage()
    here, there = make(), make()
    study = begun(here, storage)
    beside = optuna.load_study(study_name=study.study_name, storage=storage, sampler=there)
    propose, theirs = here._propose, []

    def slowly(*asked: Any) -> dict[str, Any]:
        found = propose(*asked)
        if not theirs:
            monkeypatch.setattr(there, "_propose", lambda *asked: found)
            theirs.append(beside.ask(SPACE).params)
            assert theirs == [found]
        return found

    monkeypatch.setattr(here, "_propose", slowly)

    own = study.ask(SPACE)

    assert own.params != theirs[0]
    assert json.loads(study.trials[0].system_attrs[PROPOSED]) == own.params


def test_two_processes_do_not_repeat_each_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = begun(make(), url)
    script = f"""
import optuna
from optuna.distributions import IntDistribution
from study.search.sampler import LatencyFirstSampler
space = {{"width": IntDistribution(1, 5), "depth": IntDistribution(1, 5)}}
sampler = LatencyFirstSampler(search_space=space, seed=0)
study = optuna.load_study(study_name={study.study_name!r}, storage={url!r}, sampler=sampler)
def end(trial):
    return trial.suggest_int("width", 1, 5) * trial.suggest_int("depth", 1, 5), 1.0
study.optimize(end, n_trials=11)
"""
    several = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]

    assert [process.wait(120.0) for process in several] == [0, 0]
    assert len(counted(study)) == len(study.trials) == 22
