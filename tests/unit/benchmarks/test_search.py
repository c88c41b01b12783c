"""The simulator of the search benchmark: epochs, workers, areas."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
import pytest

from analysis.front import hypervolume
from analysis.results import ReferencePoint
from study.budget import Left
from tests.benchmarks.search.__main__ import (
    YARDSTICK,
    beside_ours,
    epochs_ratio,
    load,
    main,
    ratio_interval,
)
from tests.benchmarks.search.arms import ARMS, OPTIONAL, Halved, LatencyFirstArm, Random, Trial
from tests.benchmarks.search.lcbench import (
    BEST,
    EPOCHS,
    MOST_WEIGHTS,
    SLOWEST,
    SPACE,
    LcBench,
    Reference,
    area,
    draw,
    latency_ms,
    weights,
)
from tests.benchmarks.search.real import Course, latencies, share_to
from tests.benchmarks.search.simulate import Job, Run, budget_of, simulate
from tests.benchmarks.search.three import covered, spend


class MadeUp:
    """Curves that a formula gives, in place of the surrogate's."""

    def curves(self, task: str, configurations: Sequence[Any]) -> np.ndarray:
        ends = np.array([60 + 5 * c["num_layers"] - 30 * c["max_dropout"] for c in configurations])
        return ends[:, None] * (1 - 0.7 * 0.9 ** np.arange(1, EPOCHS + 1))

    def reference(self, task: str) -> Reference:
        best = [
            {**draw(np.random.default_rng(0), 1)[0], "num_layers": n, "max_units": 64,
             "max_dropout": 0.0}
            for n in range(1, 6)
        ]  # fmt: skip
        ends = self.curves(task, best)[:, -1]
        return Reference(40.0, [(float(e), latency_ms(c)) for e, c in zip(ends, best, strict=True)])


class Watched(Halved):
    """Notes who runs whenever it is asked for work."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.most = 0
        self.trials: list[Trial] = []

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        self.trials = trials
        self.most = max(self.most, sum(trial.runs for trial in trials))
        return super().next(trials, left)


class Content(Random):
    """Wants nothing more after some trials."""

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        return super().next(trials, left) if len(trials) < 2 else None


def run(arm: Any, workers: int = 1, budget: int = 6 * EPOCHS) -> Run:
    return simulate(arm, cast(LcBench, MadeUp()), "made up", workers, budget)


def test_areas_are_hypervolumes() -> None:
    rng = np.random.default_rng(0)
    points = list(zip(rng.uniform(30, 99, 40), rng.uniform(1, SLOWEST, 40), strict=True))

    share = hypervolume(points, ReferencePoint(50.0, SLOWEST, BEST))

    assert area(points, 50.0) == pytest.approx(share * (BEST - 50.0) * SLOWEST)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_budget_is_spent_to_the_epoch_by_so_many_workers(workers: int) -> None:
    arm = Watched(0)

    found = run(arm, workers)

    assert sum(len(trial.scores) for trial in arm.trials) == 6 * EPOCHS
    assert arm.most == workers - 1  # all but the one that asks
    assert found.trials == len(arm.trials)
    assert found.whole == sum(len(trial.scores) == EPOCHS for trial in arm.trials)


def test_regret_never_rises_and_tells_when_it_was_reached() -> None:
    found = run(Random(0))

    regrets = [regret for _, regret in found.regret]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[0] == 1.0
    assert found.last < 1.0
    assert found.epochs_to(1.0) == 0
    assert found.epochs_to(-1.0) is None


def test_a_study_whose_workers_end_idle_is_kept_as_whole(tmp_path: Path) -> None:
    found = run(Content(0), budget=budget_of(1))
    cut_off = run(Random(0), budget=budget_of(1) // 2)
    lines = [
        {"job": ["ours", "made up", seed, 1], "run": asdict(one)}
        for seed, one in enumerate((found, cut_off))
    ]
    kept = tmp_path / "runs.jsonl"
    kept.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert found.trials == found.whole == 2
    assert found.regret[-1] == (budget_of(1), found.regret[-2][1])
    assert load(kept) == {("ours", "made up", 0, 1): found}


def test_what_is_reached_at_once_takes_no_epochs_and_what_never_is_more_than_all() -> None:
    budget = budget_of(1)
    lost = Run(((0, 1.0), (budget, 1.0)), 0, 0, 0.0, 1)
    good = Run(((0, 1.0), (budget // 2, 0.1), (budget, 0.1)), 1, 1, 0.0, 1)
    jobs = ((YARDSTICK, "made up", 0, 1), ("ours", "made up", 0, 1))

    ratios = [
        epochs_ratio(dict(zip(jobs, runs, strict=True)), "ours", 1)
        for runs in ((lost, good), (good, good), (good, lost))
    ]

    assert ratios == [0.0, 0.5, 2.0]


def test_a_real_front_that_is_reached_at_once_takes_no_epochs() -> None:
    nothing, much = Course(((0, 0.0),), 1), Course(((0, 0.0), (6, 0.5)), 1)

    assert share_to(nothing, much, 12) == 0.0
    assert share_to(much, much, 12) == 0.5
    assert share_to(much, nothing, 12) == 2.0


def test_real_latencies_of_different_studies_have_one_ratio_of_teacher_to_metronome() -> None:
    def study(pace: float, student: str, ratio: float, paced_by: str) -> Any:
        latency = SimpleNamespace(latency_ms=0.2, over_metronome=pace)
        timed = SimpleNamespace(ratio_batch_1=SimpleNamespace(median=ratio), paced_by=paced_by)
        return SimpleNamespace(
            compared_with=SimpleNamespace(latency=latency),
            reference=SimpleNamespace(latency_ms=latency.latency_ms),
            trials=[SimpleNamespace(latency=timed, architecture=student)],
        )

    studies = [
        study(2.0, "small", 4.0, "metronome"),
        study(3.0, "as small", 6.0, "metronome"),
        study(3.0, "large", 1.5, "teacher"),
    ]

    assert latencies(studies) == pytest.approx(
        {"small": 0.2 / 6.0, "as small": 0.2 / 6.0, "large": 0.2 / 1.5}
    )


def test_the_same_seed_is_the_same_study() -> None:
    for arm in (Random, LatencyFirstArm):
        one, same, other = run(arm(3), 2), run(arm(3), 2), run(arm(4), 2)
        assert one.regret == same.regret != other.regret


def test_this_search_beats_random_draws() -> None:
    ours = [run(LatencyFirstArm(seed), budget=12 * EPOCHS).last for seed in range(3)]
    blind = [run(Random(seed), budget=12 * EPOCHS).last for seed in range(3)]

    assert np.median(ours) < 0.7 * np.median(blind)


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_that_is_installed_begins(name: str) -> None:
    """A few trials each, which Optuna's arms draw at random.

    MOASHA is skipped where its package is not installed, as it is in none of the extras.
    """
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name][0])
    found = run(ARMS[name](0), workers=3, budget=4 * EPOCHS)

    assert found.trials >= 3
    assert found.suggestions >= found.trials


def test_the_gaussian_process_proposes_after_its_ten_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One proposal alone: each takes seconds."""
    sampler = optuna.samplers.GPSampler
    relative, proposed = sampler.sample_relative, []

    def noted(*given: Any) -> dict[str, Any]:
        proposed.append(relative(*given))
        return proposed[-1]

    monkeypatch.setattr(sampler, "sample_relative", noted)

    found = run(ARMS["GP"](0), budget=10 * EPOCHS + 1)

    assert found.trials == 11
    assert [sorted(params) for params in proposed] == [*[[]] * 10, sorted(SPACE)]


def test_draws_stay_within_their_ranges() -> None:
    for params in draw(np.random.default_rng(0), 500):
        for name, kind in SPACE.items():
            assert kind._contains(kind.to_internal_repr(params[name])), (name, params[name])


def test_the_volume_is_of_whole_trainings_above_the_floor() -> None:
    trials = spend(Random(0), cast(LcBench, MadeUp()), "made up", 2 * EPOCHS + 5)
    first, second, cut_off = trials

    assert [len(trial.scores) for trial in trials] == [EPOCHS, EPOCHS, 5]
    alone = [
        (trial.scores[-1] - 40.0)
        / 60.0
        * (1 - trial.latency_ms / SLOWEST)
        * (1 - weights(trial.params) / MOST_WEIGHTS)
        for trial in (first, second)
    ]
    assert covered([first, cut_off], 40.0) == pytest.approx(alone[0])
    assert max(alone) <= covered(trials, 40.0) <= sum(alone)
    assert covered(trials, max(first.scores[-1], second.scores[-1])) == 0.0


def of_regret(regret: float) -> Run:
    return Run(((0, 1.0), (budget_of(1), regret)), 1, 1, 0.0, 1)


def test_two_arms_are_compared_on_the_tasks_and_seeds_that_both_have() -> None:
    runs: dict[Job, Run] = {}
    for task, (ours, theirs) in {"a": (0.1, 0.2), "b": (0.2, 0.3), "c": (0.3, 0.2)}.items():
        runs["ours", task, 0, 1] = of_regret(ours)
        runs["GP", task, 0, 1] = of_regret(theirs)
        runs["ours", task, 1, 1] = of_regret(0.0)  # a seed that the other does not have
    runs["ours", "d", 0, 1] = of_regret(0.0)  # nor that task

    found = beside_ours(runs, "GP", 1)

    assert found["ahead"] == [2, 3]
    assert found["ours_over_it"][0] == pytest.approx(0.2 / 0.2)
    assert beside_ours(runs, "ours", 1) == {}
    assert beside_ours(runs, "TPE", 1) == {}


def test_the_interval_of_a_ratio_holds_it_and_is_one_point_where_all_tasks_agree() -> None:
    spread = ratio_interval([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.3, 0.5, 0.6])
    alike = ratio_interval([0.1] * 5, [0.4] * 5)

    assert spread[1] < spread[0] < spread[2]
    assert alike == (0.25, 0.25, 0.25)


def test_a_kept_file_without_the_yardstick_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "runs.jsonl"
    job = ["ours", "a", 0, 1]
    kept.write_text(json.dumps({"job": job, "run": asdict(of_regret(0.1))}) + "\n")
    monkeypatch.setattr(sys, "argv", ["search", "--lcbench", str(tmp_path), "--keep", str(kept)])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--kept", "--tasks", "a", "--workers", "1"])
    monkeypatch.setattr(
        "tests.benchmarks.search.__main__.LcBench", lambda _: SimpleNamespace(tasks=["a"])
    )

    with pytest.raises(SystemExit, match="has no study of TPE"):
        main()
