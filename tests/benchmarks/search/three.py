"""Three objectives on LCBench: score, latency, and the weights to be few as well.

    python -m tests.benchmarks.search.three --lcbench DIR    # the 25 held-out tasks
    python -m tests.benchmarks.search.three --lcbench DIR --tuning
    python -m tests.benchmarks.search.three --lcbench DIR --tasks 126025

One worker, as many epochs as `--trainings` full ones take. The figure is the share of the volume
between the corner (the median of 4,000 random draws, the largest latency, the most weights) and the
best there could be that students trained to their end cover, by Optuna's hypervolume.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume

from study.budget import Left
from study.scheduler import ParetoHalving, RungEntry
from tests.benchmarks.search.arms import Arm, ByOptuna, LatencyFirstArm, Random, Trial
from tests.benchmarks.search.lcbench import (
    BEST,
    EPOCHS,
    MOST_WEIGHTS,
    SLOWEST,
    TUNED_ON,
    LcBench,
    draw,
    weights,
)

_DRAWS = 4_000


class Tpe(ByOptuna):
    """Optuna's TPE as studies ask it, each trial trained to its end."""

    def __init__(self, seed: int) -> None:
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
        super().__init__(sampler)
        directions = ["maximize", "minimize", "minimize"]
        self._study = optuna.create_study(directions=directions, sampler=sampler)

    def ended(self, trials: list[Trial], trial: Trial) -> None:
        values = [trial.scores[-1], trial.latency_ms, weights(trial.params)]
        self._study.tell(self._asked.pop(trial.number), values)


class TpeHalved(Tpe):
    """The same, stopped by Pareto rank in all three and told of what that had reached."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._ranked = ParetoHalving(EPOCHS, grace=2, factor=3)

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        epoch = len(trial.scores)
        entry = RungEntry(trial.number, trial.scores[-1], trial.latency_ms, weights(trial.params))
        self._ranked.enter(epoch, entry)
        return self._ranked.judge(epoch, trial.number) is None


ARMS: dict[str, Callable[[int], Any]] = {
    "random": Random,
    "TPE": Tpe,
    "TPE, halved by Pareto rank": TpeHalved,
    "ours, knowing score and latency": LatencyFirstArm,
    "ours": lambda seed: LatencyFirstArm(seed, third=weights),
}


def spend(arm: Arm, bench: LcBench, task: str, budget: int) -> list[Trial]:
    """Spend epochs as one worker would; the trials."""
    trials: list[Trial] = []
    curves: list[Sequence[float]] = []
    spent = 0
    while spent < budget:
        trial = arm.next(trials, Left(in_all=budget - spent, workers=1))
        if trial is None:
            break
        if trial.number == len(trials):
            trials.append(trial)
            curves.append(bench.curves(task, [trial.params])[0])
        trial.runs = True
        while spent < budget and trial.runs:
            trial.scores.append(float(curves[trial.number][len(trial.scores)]))
            spent += 1
            trial.runs = len(trial.scores) < EPOCHS and arm.goes_on(trials, trial)
        trial.runs = False
        arm.ended(trials, trial)
    return trials


def covered(trials: Sequence[Trial], floor: float) -> float:
    """The share of the volume that whole trainings cover."""
    inside = [
        (-trial.scores[-1], trial.latency_ms, weights(trial.params))
        for trial in trials
        if len(trial.scores) == EPOCHS and trial.scores[-1] > floor
    ]
    if not inside:
        return 0.0
    corner = np.array([-floor, SLOWEST, MOST_WEIGHTS])
    volume = float(compute_hypervolume(np.array(inside), corner))
    return volume / ((BEST - floor) * SLOWEST * MOST_WEIGHTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lcbench", type=Path, required=True, help="folder with model.onnx")
    parser.add_argument("--tuning", action="store_true", help="the tasks that it was tuned on")
    parser.add_argument("--tasks", nargs="+", help="these tasks")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    bench = LcBench(args.lcbench)
    tasks = args.tasks or (bench.tasks[:TUNED_ON] if args.tuning else bench.tasks[TUNED_ON:])
    shares: dict[str, dict[str, float]] = {task: {} for task in tasks}
    begun = time.monotonic()
    for count, task in enumerate(tasks, 1):
        floor = float(np.median(bench.ends(task, draw(np.random.default_rng(0), _DRAWS))))
        for name, make in ARMS.items():
            ended = [
                covered(spend(make(seed), bench, task, args.trainings * EPOCHS), floor)
                for seed in range(args.seeds)
            ]
            shares[task][name] = statistics.median(ended)
        took = time.monotonic() - begun
        left = took / count * (len(tasks) - count)
        print(f"{count}/{len(tasks)}, {left:.0f} s left", end="\r", file=sys.stderr)
    print(file=sys.stderr)
    if args.json:
        print(json.dumps({"trainings": args.trainings, "seeds": args.seeds, "covered": shares}))
        return
    print("| task | " + " | ".join(ARMS) + " |\n|---|" + "---|" * len(ARMS))
    rows = {**shares}
    if len(shares) > 1:
        rows["median"] = {
            name: statistics.median(row[name] for row in shares.values()) for name in ARMS
        }
    for task, row in rows.items():
        print(f"| {task} | " + " | ".join(f"{row[name]:.3f}" for name in ARMS) + " |")


if __name__ == "__main__":
    main()
