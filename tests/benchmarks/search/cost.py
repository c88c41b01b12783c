"""What the search itself costs: seconds a suggestion, and how long many workers wait for it.

    python -m tests.benchmarks.search.cost            # some minutes
    python -m tests.benchmarks.search.cost --quick
    python -m tests.benchmarks.search.cost --three    # of two objectives and of three

A study of 100, 1,000 and 10,000 trials is made up, most of them waiting at a rung, as they do; then
each suggestion is timed while the study goes on. Beside it Optuna's samplers, with as many trials
on record; and, of 100 and 1,000, all that a driver does for its next trial with a real record, of
whose trials up to a hundred wait (`next_task`). The cluster is simulated: a worker that is free
asks, one at a time is answered, and the time an answer takes is the time it took here.
"""

import argparse
import heapq
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import optuna

from study.budget import UNBOUNDED
from study.rungs import first_wait, rung_epochs
from tests.benchmarks.search.arms import LatencyFirstArm, Trial
from tests.benchmarks.search.lcbench import (
    EPOCHS,
    MOST_WEIGHTS,
    SPACE,
    Params,
    draw,
    weights,
)
from tests.benchmarks.search.recorded import time_next_task

FULL_SECONDS = 60.0
_RUNGS = (*rung_epochs(EPOCHS, first_wait(EPOCHS)), EPOCHS)
# Of trials, how many got how far: what studies on LCBench come to.
_SHARES = (0.7, 0.12, 0.06, 0.12)


Third = Callable[[Params], float]
# Where the third is at odds with the latency, nearly everybody is on the front: it costs most.
THREE: dict[str, Third | None] = {
    "two objectives": None,
    "three": weights,
    "three at odds": lambda params: MOST_WEIGHTS - weights(params),
}


def curve(params: dict[str, Any]) -> list[float]:
    """A made-up course of accuracy over all epochs."""
    near = abs(np.log(params["learning_rate"] / 0.01)) + abs(params["max_dropout"] - 0.4)
    end = 60 + 4 * params["num_layers"] - 6 * near + 3 * np.log(params["max_units"] / 64)
    return [float(end * (1 - 0.7 * 0.9**epoch)) for epoch in range(1, EPOCHS + 1)]


def reached(rng: np.random.Generator, count: int) -> list[int]:
    """How far each of so many trials came."""
    return [int(epoch) for epoch in rng.choice(_RUNGS, size=count, p=_SHARES)]


def made_up(count: int) -> list[Trial]:
    """A study that is under way."""
    rng = np.random.default_rng(0)
    done = reached(rng, count)
    return [
        Trial(number, params, curve(params)[: done[number]])
        for number, params in enumerate(draw(rng, count))
    ]


def time_ours(count: int, asks: int, third: Third | None = None) -> list[float]:
    """Seconds of each suggestion, the first ones apart: they fit the model from scratch."""
    arm, trials, seconds = LatencyFirstArm(0, third=third), made_up(count), []
    for _ in range(asks + 3):
        begun = time.perf_counter()
        trial = arm.next(trials, UNBOUNDED)
        seconds.append(time.perf_counter() - begun)
        assert trial is not None
        if trial.number == len(trials):
            trials.append(trial)
        until = next(rung for rung in _RUNGS if rung > len(trial.scores))
        trial.scores = curve(trial.params)[:until]
    return seconds[3:]


def time_optuna(sampler: optuna.samplers.BaseSampler, count: int, asks: int) -> list[float]:
    """Seconds of each suggestion with as many complete trials on record."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=trial.params,
                distributions=SPACE,
                values=[curve(trial.params)[-1], trial.latency_ms],
            )
            for trial in made_up(count)
        ]
    )
    seconds = []
    for _ in range(asks):
        begun = time.perf_counter()
        trial = study.ask(SPACE)
        seconds.append(time.perf_counter() - begun)
        study.tell(trial, [50.0, 100.0])
    return seconds


def time_waiting(workers: int, trainings: int) -> dict[str, float]:
    """Simulate a cluster until so many full trainings' epochs are done; how long workers waited."""
    arm, trials = LatencyFirstArm(0), []
    epoch_seconds = FULL_SECONDS / EPOCHS
    free_at = waited = 0.0
    asks = spent = 0
    events: list[tuple[float, int, int]] = [(0.0, worker, -1) for worker in range(workers)]
    while spent < trainings * EPOCHS:
        now, worker, number = heapq.heappop(events)
        if number >= 0:
            trial = trials[number]
            until = next(rung for rung in _RUNGS if rung > len(trial.scores))
            spent += until - len(trial.scores)
            trial.scores, trial.runs = curve(trial.params)[:until], False
        begun = time.perf_counter()
        trial = arm.next(trials, UNBOUNDED)
        took = time.perf_counter() - begun
        assert trial is not None
        asks += 1
        free_at = max(now, free_at) + took
        waited += free_at - now
        if trial.number == len(trials):
            trials.append(trial)
        trial.runs = True
        until = next(rung for rung in _RUNGS if rung > len(trial.scores))
        seconds = (until - len(trial.scores)) * epoch_seconds
        heapq.heappush(events, (free_at + seconds, worker, trial.number))
    trained = spent * epoch_seconds
    return {"asks": asks, "trials": len(trials), "waiting": waited / (waited + trained)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no 10,000 trials")
    parser.add_argument(
        "--three", action="store_true", help="this search alone, of two objectives and of three"
    )
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    counts = [100, 1_000] if args.quick else [100, 1_000, 10_000]
    asks = 15 if args.quick else 40
    body: dict[str, Any] = {"ms": {}}
    if args.three:
        for count in counts:
            row = {name: time_ours(count, asks, third) for name, third in THREE.items()}
            body["ms"][str(count)] = {name: _ms(seconds) for name, seconds in row.items()}
        _show(body["ms"], {name: name for name in THREE}, as_json=args.json)
        return
    for count in counts:
        row = {"ours": time_ours(count, asks)}
        row["TPE"] = time_optuna(optuna.samplers.TPESampler(seed=0), count, 5)
        if count <= 100:  # of 1,000 it takes minutes
            row["GP"] = time_optuna(optuna.samplers.GPSampler(seed=0), count, 3)
        if count <= 1_000:  # such a record takes a minute to make up
            on_record = reached(np.random.default_rng(0), count)
            row["next_task"] = time_next_task(_RUNGS, on_record, asks)
        body["ms"][str(count)] = {arm: _ms(seconds) for arm, seconds in row.items()}
    body["cluster"] = time_waiting(args.workers, args.workers if args.quick else 3 * args.workers)
    if args.json:
        print(json.dumps(body))
        return
    _show(body["ms"], {arm: arm for arm in ("ours", "TPE", "GP", "next_task")})
    cluster = body["cluster"]
    print(
        f"\n{args.workers:,} workers, {FULL_SECONDS:.0f} s a full training: they wait for the "
        f"search {100 * cluster['waiting']:.1f} % of their time "
        f"({cluster['asks']:,} suggestions, {cluster['trials']:,} trials)"
    )


def _show(rows: dict[str, dict[str, float]], heads: dict[str, str], as_json: bool = False) -> None:
    """Prints ms by trials on record, in Markdown or as one object."""
    if as_json:
        print(json.dumps({"ms": rows}))
        return
    print("| trials on record | " + " | ".join(f"{head}, ms" for head in heads.values()) + " |")
    print("|---|" + "---|" * len(heads))
    for count, row in rows.items():
        cells = [f"{row[arm]:.0f}" if arm in row else "" for arm in heads]
        print(f"| {int(count):,} | " + " | ".join(cells) + " |")


def _ms(seconds: Sequence[float]) -> float:
    return 1e3 * statistics.median(seconds)


if __name__ == "__main__":
    main()
