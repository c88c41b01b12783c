"""What Optuna accepts: choices that are no plain values, and attributes of one's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from study.search.relative import PROPOSED
from study.search.sampler import LatencyFirstSampler, report_score

optuna.logging.set_verbosity(optuna.logging.ERROR)
CHOICES: dict[str, list[Any]] = {
    "numpy": [np.int64(8), np.int64(16), np.int64(32)],
    "lists": [[8], [8, 8], [16, 8]],
    "tuples": [(8,), (8, 8), (16, 8)],
    "nested": [((8, 1),), ((8, 2), (8, 1)), None],
    "not a number": [0.5, float("nan"), 2.0],
}
odd_choices = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")


def begun(sampler: LatencyFirstSampler, storage: Any = None) -> optuna.Study:
    directions = ["maximize", "minimize"]
    return optuna.create_study(directions=directions, sampler=sampler, storage=storage)


def space_of(choices: list[Any]) -> dict[str, BaseDistribution]:
    return {"layers": CategoricalDistribution(choices), "depth": IntDistribution(1, 4)}


# Choices


@odd_choices
@pytest.mark.parametrize("is_given", [True, False], ids=["given", "inferred"])
@pytest.mark.parametrize(
    ("kept_in", "name"),
    # Of numpy's numbers Optuna's own storage writes none.
    [("memory", n) for n in CHOICES] + [("sqlite", n) for n in CHOICES if n != "numpy"],
)
def test_any_choice_is_proposed_once_while_others_run(
    kept_in: str, name: str, is_given: bool, tmp_path: Path
) -> None:
    choices = CHOICES[name]
    sampler = LatencyFirstSampler(search_space=space_of(choices) if is_given else None, seed=0)
    url = f"sqlite:///{tmp_path}/study.db"
    study = begun(sampler, None if kept_in == "memory" else url)
    seen: list[tuple[int, int]] = []

    def suggest(trial: optuna.Trial) -> int:
        chosen = trial.suggest_categorical("layers", choices)
        depth = trial.suggest_int("depth", 1, 4)
        seen.append((CategoricalDistribution(choices).to_internal_repr(chosen), depth))
        return depth

    # One has asked for nothing yet and one runs, while others begin and end.
    while len(study.trials) < 12:
        waits, runs = study.ask(), study.ask()
        waits.relative_params  # noqa: B018
        costs = suggest(runs)
        third = study.ask()
        study.tell(third, [50.0, float(suggest(third))])
        suggest(waits)
        study.tell(waits, state=TrialState.FAIL)
        study.tell(runs, [60.0, float(costs)])

    assert len(set(seen)) == len(seen) == 12


@odd_choices
def test_what_is_proposed_is_written_as_the_numbers_of_choices() -> None:
    study = begun(LatencyFirstSampler(search_space=space_of(CHOICES["tuples"]), seed=0))

    trial = study.ask(space_of(CHOICES["tuples"]))

    written = json.loads(study.trials[0].system_attrs[PROPOSED])
    assert CHOICES["tuples"][written["layers"]] == trial.params["layers"]
    assert written["depth"] == trial.params["depth"]


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
def test_what_earlier_releases_wrote_is_read(state: TrialState) -> None:
    space: dict[str, BaseDistribution] = {"method": CategoricalDistribution(["none", "taught"])}
    study = begun(LatencyFirstSampler(search_space=space, seed=0))
    older = {"latency_first:params": json.dumps({"method": "taught"})}
    study.add_trial(create_trial(state=state, system_attrs=older))
    other = {"latency_first:params": json.dumps({"method": "mixed"})}  # of another space
    study.add_trial(create_trial(state=state, system_attrs=other))

    assert study.ask(space).params == {"method": "none"}


@odd_choices
def test_numbers_of_numpy_lie_in_their_order() -> None:
    kind = CategoricalDistribution(CHOICES["numpy"])
    study = begun(LatencyFirstSampler(search_space={"width": kind}, seed=0))

    study.ask({"width": kind})

    assert study.sampler._learnt[0].dimensions[0].is_ordered  # type: ignore[attr-defined]


# Attributes of one's own


@pytest.mark.parametrize("ended", [TrialState.PRUNED, TrialState.FAIL, None])
@pytest.mark.parametrize(
    "own", [{"latency": "3 ms"}, {"third": [1]}, {"latency": True}, {"score:0001": "good"},
            {"score:best": 3.0}], ids=str
)  # fmt: skip
def test_attributes_of_such_names_that_are_no_numbers_are_left_aside(
    own: dict[str, Any], ended: TrialState | None
) -> None:
    space: dict[str, BaseDistribution] = {"depth": IntDistribution(1, 9)}
    sampler = LatencyFirstSampler(lambda params: params["depth"], search_space=space, seed=0)
    study = begun(sampler)
    trial = study.ask(space)
    for name, value in own.items():
        trial.set_user_attr(name, value)
    if ended is not None:
        study.tell(trial, state=ended)

    study.ask(space)

    seen = sampler._training(study.trials[0], trial.params, has_third=False)
    assert (seen.latency_ms, seen.scores) == (trial.params["depth"], ())


def test_numbers_that_the_service_itself_wrote_are_read() -> None:
    space: dict[str, BaseDistribution] = {"depth": IntDistribution(1, 9)}
    sampler = LatencyFirstSampler(search_space=space, seed=0)
    study = begun(sampler)
    trial = study.ask(space)
    report_score(trial, 1, np.float32(50.0), latency=np.float32(3.0), third=2)

    seen = sampler._training(study.trials[0], trial.params, has_third=True)
    assert (seen.scores, seen.latency_ms, seen.third) == ((50.0,), 3.0, 2.0)
