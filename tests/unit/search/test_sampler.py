"""The search as a sampler of plain Optuna studies."""

import inspect
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from study.search import sampler as module
from study.search.sampler import LatencyFirstSampler, report_score
from study.search.training import Limits

EPOCHS = 9
optuna.logging.set_verbosity(optuna.logging.ERROR)


def latency(params: Any) -> float:
    return float(params["width"])


def end(params: Any) -> float:
    best = 80.0 + 3.0 * np.log2(params["width"]) - (0.0 if params["method"] == "taught" else 4.0)
    return float(best - 60.0 * (params["rate"] - 0.3) ** 2)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "width": trial.suggest_int("width", 1, 64, log=True),
        "rate": trial.suggest_float("rate", 0.0, 1.0),
        "method": trial.suggest_categorical("method", ["none", "taught"]),
    }


def objective(trial: optuna.Trial) -> tuple[float, float]:
    params = suggest(trial)
    for epoch in range(1, EPOCHS + 1):
        score = end(params) * (1 - 0.5 * 0.6**epoch)
        report_score(trial, epoch, score)
        if epoch == 3 and score < 55.0:
            raise optuna.TrialPruned
    return score, latency(params)


def make(**settings: Any) -> LatencyFirstSampler:
    shown = {"shaping": ("width",), "epochs": EPOCHS, "best_score": 100.0, "seed": 0}
    return LatencyFirstSampler(latency, **{**shown, **settings})


def studied(
    sampler: optuna.samplers.BaseSampler,
    count: int,
    function: Callable[[optuna.Trial], Any] = objective,
    jobs: int = 1,
) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(function, n_trials=count, n_jobs=jobs)
    return study


def configurations(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [tuple(sorted(trial.params.items())) for trial in study.trials]


def covered(study: optuna.Study) -> float:
    area, reached = 0.0, 0.0
    done = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    for trial in sorted(done, key=lambda t: (t.values[1], -t.values[0])):
        area += max(0.0, trial.values[0] - reached) * (65.0 - trial.values[1])
        reached = max(reached, trial.values[0])
    return area


def test_a_front_is_found_with_fewer_trials_than_at_random() -> None:
    found = studied(make(), 24)
    random = studied(optuna.samplers.RandomSampler(seed=0), 24)

    assert covered(found) > covered(random)
    late = [trial.params for trial in found.trials[12:]]
    assert sum(params["method"] == "taught" for params in late) >= 9
    assert sum(abs(params["rate"] - 0.3) < 0.15 for params in late) >= 9


def test_the_same_seed_proposes_the_same() -> None:
    one, same, other = (studied(make(seed=seed), 12) for seed in (3, 3, 4))

    assert configurations(one) == configurations(same) != configurations(other)


@pytest.mark.parametrize("jobs", [1, 4])
def test_no_configuration_of_a_small_space_comes_twice(jobs: int) -> None:
    def small(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_categorical("width", [1, 2, 4, 8])
        method = trial.suggest_categorical("method", ["none", "taught", "mixed"])
        return 50.0 + width + len(method), float(width)

    space: dict[str, Any] = {
        "width": optuna.distributions.CategoricalDistribution([1, 2, 4, 8]),
        "method": optuna.distributions.CategoricalDistribution(["none", "taught", "mixed"]),
    }
    study = studied(
        LatencyFirstSampler(latency, shaping=("width",), search_space=space, seed=0),
        12,
        small,
        jobs,
    )

    assert len(set(configurations(study))) == 12


def test_asked_ahead_of_any_answer_nothing_repeats() -> None:
    study = studied(make(), 12)

    asked = [study.ask() for _ in range(8)]
    drawn = [tuple(sorted(suggest(trial).items())) for trial in asked]

    assert len(set(drawn)) == 8


def test_parameters_that_not_all_trials_have_are_drawn_independently() -> None:
    def conditional(trial: optuna.Trial) -> tuple[float, float]:
        params = suggest(trial)
        if params["method"] == "taught":
            trial.suggest_float("temperature", 1.0, 20.0, log=True)
        return end(params), latency(params)

    study = studied(make(), 16, conditional)

    taught = [t for t in study.trials if t.params["method"] == "taught"]
    assert len({t.params["temperature"] for t in taught}) == len(taught) > 4


def test_what_breaks_a_constraint_is_kept_away_from() -> None:
    def limited(trial: optuna.trial.FrozenTrial) -> list[float]:
        return [trial.params["rate"] - 0.2]

    free, kept = studied(make(), 24), studied(make(constraints_func=limited), 24)

    def broken(study: optuna.Study) -> int:
        return sum(trial.params["rate"] > 0.2 for trial in study.trials[12:])

    assert all(trial.constraints for trial in kept.trials)
    assert broken(kept) <= 4 < broken(free)


def test_constraints_may_be_set_on_the_trial_itself() -> None:
    def own(trial: optuna.Trial) -> tuple[float, float]:
        found = objective(trial)
        trial.set_constraint("rate", trial.params["rate"] - 0.2)
        return found

    study = studied(make(), 24, own)

    assert sum(trial.params["rate"] > 0.2 for trial in study.trials[12:]) <= 4


def test_a_limit_on_a_latency_that_is_known_is_kept_from_the_first_model_on() -> None:
    study = studied(make(limits=Limits(slowest_ms=8.0)), 16)

    assert all(trial.params["width"] <= 8 for trial in study.trials[1:])


def test_latencies_can_be_learnt_from_values_alone() -> None:
    study = studied(LatencyFirstSampler(shaping=("width",), epochs=EPOCHS, seed=0), 16)

    assert len({trial.params["width"] for trial in study.trials}) > 4


@pytest.mark.parametrize(
    "directions", [["maximize"], ["minimize", "minimize"], ["maximize", "minimize", "maximize"]]
)
def test_another_kind_of_study_is_refused_with_the_mend(directions: list[str]) -> None:
    study = optuna.create_study(directions=directions, sampler=make(search_space=SPACE))

    with pytest.raises(ValueError, match=r"directions=\['maximize', 'minimize'\]"):
        study.ask()


def test_a_third_objective_is_searched_by_as_well() -> None:
    def own(trial: optuna.Trial) -> tuple[float, float, float]:
        score, milliseconds = objective(trial)
        return score, milliseconds, 65.0 - milliseconds

    def shares(largest: float, **settings: Any) -> float:
        sampler = make(slowest=65.0, largest=largest, floor=0.0, **settings)
        directions = ["maximize", "minimize", "minimize"]
        study = optuna.create_study(directions=directions, sampler=sampler)
        study.optimize(own, n_trials=24)
        return sum(t.params["width"] > 32 for t in study.trials[16:]) / 8

    # Those of 33 and less are outside the corner.
    known = {"third_of": lambda params: 65.0 - params["width"]}
    assert shares(32.0, **known) > shares(1000.0, **known)
    assert shares(32.0) > 0.5


def test_a_pruned_trial_tells_its_third() -> None:
    def own(trial: optuna.Trial) -> tuple[float, float, float]:
        params = suggest(trial)
        report_score(trial, 1, end(params), latency(params), 2.0 * params["width"])
        raise optuna.TrialPruned

    sampler = LatencyFirstSampler(shaping=("width",), epochs=EPOCHS, seed=0)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    study.optimize(own, n_trials=18)

    seen = sampler._training(study.trials[3], study.trials[3].params, has_third=True)
    assert seen.latency_ms == study.trials[3].params["width"]
    assert seen.third == 2.0 * seen.latency_ms
    assert len({t.params["width"] for t in study.trials}) > 4


SPACE = {"width": optuna.distributions.IntDistribution(1, 64)}


def test_the_example_runs() -> None:
    text = inspect.getdoc(LatencyFirstSampler) or ""
    code = textwrap.dedent(text.split("::\n", 1)[1].split("Args:", 1)[0])
    code = code.replace("n_trials=40", "n_trials=10")

    def train_one_epoch(width: int, rate: float) -> float:
        return 50.0 + width - 100 * abs(rate - 0.01)

    names: dict[str, Any] = {"train_one_epoch": train_one_epoch}
    exec(code, names)

    assert len(names["study"].best_trials) >= 1


def test_a_study_goes_on_alike_from_a_sampler_that_was_pickled() -> None:
    study = studied(make(), 20)
    running = study.ask()
    suggest(running)
    copy = pickle.loads(pickle.dumps(study))

    for each in (study, copy):
        each.optimize(objective, n_trials=6)

    assert configurations(copy) == configurations(study)
    assert len(study.trials) == 27


def test_neither_ray_nor_torch_is_loaded() -> None:
    script = (
        f"import sys, {module.__name__}\n"
        "assert not {'ray', 'torch', 'mlflow'} & set(sys.modules), 'loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_last_one_of_a_finite_space_is_found_and_then_the_study_stops() -> None:
    space: dict[str, Any] = {
        "width": optuna.distributions.IntDistribution(1, 30),
        "depth": optuna.distributions.IntDistribution(1, 20),
    }

    def end(trial: optuna.Trial) -> tuple[float, float]:
        width, depth = trial.suggest_int("width", 1, 30), trial.suggest_int("depth", 1, 20)
        return float(width + depth), float(width)

    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=LatencyFirstSampler(
            lambda params: float(params["width"]), shaping=("width",), search_space=space, seed=0
        ),
    )
    cells = [{"width": w, "depth": d} for w in range(1, 31) for d in range(1, 21)]
    for cell in cells[:-1]:
        study.add_trial(
            optuna.trial.create_trial(
                params=cell,
                distributions=space,
                values=[float(sum(cell.values())), float(cell["width"])],
            )
        )

    study.optimize(end, n_trials=1)
    assert study.trials[-1].params == cells[-1]
    with pytest.warns(UserWarning, match="all 600 configurations of the search space have been"):
        study.optimize(end, n_trials=5)
    assert len(study.trials) == 601
