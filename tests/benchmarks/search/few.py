"""Small studies on LCBench, bounded by their trials: how many are begun at random?

    python -m tests.benchmarks.search.few --lcbench DIR                  # the 10 tasks for tuning
    python -m tests.benchmarks.search.few --lcbench DIR --trials 16 --seeds 1

So many trials are begun, and whoever waits goes on while it promises what a study asks for. Regret
is that at the end: the median over tasks of each task's median over seeds, and the mean.
"""

import argparse
import functools
import json
import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from study.budget import Left
from study.guide import WORTH_GOING_ON
from study.search.latency_first import FIRST, first_of
from tests.benchmarks.search.arms import LatencyFirstArm, Trial
from tests.benchmarks.search.lcbench import EPOCHS, TUNED_ON, LcBench
from tests.benchmarks.search.simulate import Run, simulate

Job = tuple[int, int, str, int]  # trials, of them at random, task, seed


class BoundedArm(LatencyFirstArm):
    """This project's search where trials are bounded, and time is not."""

    def __init__(self, seed: int, trials: int, first: int) -> None:
        super().__init__(seed, first=first)
        self._trials = trials

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        seen, search = self._seen(trials), self._search
        may_begin = len(trials) < self._trials
        if may_begin:
            number = search.next_to_go_on(seen, left.workers)
        else:
            number = search.most_promising(seen, WORTH_GOING_ON)
        if number is not None:
            self._live.add(number)
            return trials[number]
        return self._begun(trials) if may_begin else None


def run_job(folder: Path, workers: int, job: Job) -> Run:
    """Simulates one study, in a process of its own."""
    trials, first, task, seed = job
    # No more than if all were trained to their end.
    budget = trials * EPOCHS
    return simulate(BoundedArm(seed, trials, first), _bench(folder), task, workers, budget)


@functools.cache
def _bench(folder: Path) -> LcBench:
    return LcBench(folder)


def compare(
    folder: Path, trials: int, tasks: Sequence[str], seeds: int, workers: int, processes: int
) -> list[dict[str, float]]:
    """The rows of one table: a way to begin each."""
    ways = sorted({4, first_of(trials), min(FIRST, trials), trials})
    jobs = [(trials, first, t, seed) for t in tasks for seed in range(seeds) for first in ways]
    run = functools.partial(run_job, folder, workers)
    with ProcessPoolExecutor(processes) as pool:
        # All of a task by one process, which knows its reference front.
        runs = dict(zip(jobs, pool.map(run, jobs, chunksize=seeds * len(ways)), strict=True))
    rows = []
    for first in ways:
        of_task = [[runs[trials, first, t, seed] for seed in range(seeds)] for t in tasks]
        medians = [statistics.median(run.last for run in found) for found in of_task]
        every = [run for found in of_task for run in found]
        rows.append(
            {
                "trials": trials,
                "at random": first,
                "regret": statistics.median(medians),
                "mean": statistics.fmean(run.last for run in every),
                "whole": statistics.fmean(run.whole for run in every),
                "epochs": statistics.fmean(run.regret[-2][0] for run in every),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table for each number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lcbench", type=Path, required=True, metavar="DIR")
    parser.add_argument("--trials", type=int, nargs="+", default=[16, 24, 32], metavar="N")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print one object")
    args = parser.parse_args(arguments)
    tasks = _bench(args.lcbench).tasks[:TUNED_ON]
    rows = []
    for trials in args.trials:
        print(f"studies of {trials} trials …", file=sys.stderr)
        own = args.seeds, args.workers, args.processes
        rows += compare(args.lcbench, trials, tasks, *own)
    if args.json:
        print(json.dumps({"tasks": len(tasks), "seeds": args.seeds, "rows": rows}))
        return 0
    print("| trials | at random | regret | mean | trained whole | epochs |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['trials']} | {row['at random']} | {row['regret']:.3f} | {row['mean']:.3f} | "
            f"{row['whole']:.1f} | {row['epochs']:.0f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
