"""The search against its peers: regret when a budget is spent, and epochs to get there.

    python -m tests.benchmarks.search --lcbench DIR              # held-out tasks, 20 seeds: hours
    python -m tests.benchmarks.search --lcbench DIR --quick      # within five minutes
    python -m tests.benchmarks.search --lcbench DIR --tuning     # the tasks it was tuned on

DIR holds `model.onnx` and `encoding.json` of YAHPO Gym's LCBench. Regret is 1 minus the area that
fully trained students cover, relative to a reference front (see `lcbench.py`): the median over
tasks of each task's median over seeds, with the quartiles and the mean over tasks. Two arms are
compared on the tasks and seeds that both have: p is Wilcoxon's over tasks, *ours over it* the
ratio of the two medians with a 95 % interval over tasks drawn anew, *ahead* on how many tasks ours
is lower. With `--keep FILE`, each simulated study is a line of that file, and not simulated again;
with `--kept` nothing else is simulated either, and arms may have unequally many seeds. A file is
compressed where its name ends in .gz.
"""

import argparse
import gzip
import importlib.util
import json
import math
import os
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import optuna

from tests.benchmarks.search.arms import ARMS, OPTIONAL
from tests.benchmarks.search.figure import draw
from tests.benchmarks.search.lcbench import EPOCHS, TUNED_ON, LcBench
from tests.benchmarks.search.simulate import Job, Run, budget_of, simulate

PEERS_OF = "ours"
YARDSTICK = "TPE"
_DRAWN_ANEW = 4_000


def run_job(folder: str, job: Job) -> tuple[Job, dict[str, Any]]:
    """Simulates one study, in a process of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arm, task, seed, workers = job
    run = simulate(ARMS[arm](seed), _bench(folder), task, workers, budget_of(workers))
    return job, asdict(run) | {"regret": _steps(run.regret)}


def _steps(regret: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Where regret changes, and its end."""
    rounded = [(epochs, round(value, 6)) for epochs, value in regret]
    changed = [now for then, now in pairwise(rounded) if now[1] != then[1]]
    return [rounded[0], *changed, *([] if changed[-1:] == rounded[-1:] else rounded[-1:])]


_BENCHES: dict[str, LcBench] = {}


def _bench(folder: str) -> LcBench:
    if folder not in _BENCHES:
        _BENCHES[folder] = LcBench(Path(folder))
    return _BENCHES[folder]


def opened(path: Path, mode: Literal["rt", "at"]) -> IO[str]:
    """A file of simulated studies."""
    return gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode)


def load(path: Path | None) -> dict[Job, Run]:
    """Studies simulated earlier."""
    if path is None or not path.exists():
        return {}
    with opened(path, "rt") as file:
        lines = list(map(json.loads, file))
    # Of a study with another budget, the figures are of another question.
    return {
        tuple(line["job"]): _run(line["run"])
        for line in lines
        if line["run"]["regret"][-1][0] == budget_of(line["job"][3])
    }


def _run(body: dict[str, Any]) -> Run:
    return Run(**{**body, "regret": tuple(map(tuple, body["regret"]))})


def run_all(jobs: Sequence[Job], folder: Path, keep: Path | None, processes: int) -> dict[Job, Run]:
    """Simulates what was not yet, and says how far it is."""
    done = load(keep)
    left = [job for job in jobs if job not in done]
    begun = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        # A task's studies together: each process makes its reference front once.
        futures = [pool.submit(run_job, str(folder), job) for job in left]
        for count, future in enumerate(as_completed(futures), 1):
            job, body = future.result()
            done[job] = _run(body)
            if keep is not None:
                with opened(keep, "at") as file:
                    file.write(json.dumps({"job": job, "run": body}) + "\n")
            rest = (time.monotonic() - begun) / count * (len(left) - count)
            print(f"{count}/{len(left)}, {rest / 60:.0f} min left", end="\r", file=sys.stderr)
    print(file=sys.stderr)
    return {job: done[job] for job in jobs}


def medians(runs: dict[Job, Run], arm: str, workers: int, value: Any) -> dict[str, float]:
    """Of each task, the median over seeds of a value of its runs."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for (name, task, _, count), run in runs.items():
        if (name, count) == (arm, workers):
            by_task[task].append(value(run))
    return {task: statistics.median(values) for task, values in by_task.items()}


def fewest_seeds(runs: Iterable[Job], arm: str, workers: int) -> int:
    """Of how many seeds an arm's figures are: of those tasks that have the fewest."""
    tasks = Counter(task for name, task, _, count in runs if (name, count) == (arm, workers))
    return min(tasks.values())


def shared(runs: dict[Job, Run], one: str, other: str, workers: int) -> dict[Job, Run]:
    """The studies of two arms on the tasks and seeds that both have."""
    of = {
        arm: {(task, seed) for name, task, seed, count in runs if (name, count) == (arm, workers)}
        for arm in (one, other)
    }
    both = of[one] & of[other]
    return {
        job: run
        for job, run in runs.items()
        if job[0] in (one, other) and job[3] == workers and (job[1], job[2]) in both
    }


def ratio_interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of two medians over tasks, and its 95 % interval over tasks drawn anew."""
    generator, count = random.Random(0), len(ours)

    def ratio(places: Sequence[int]) -> float:
        below = statistics.median(theirs[place] for place in places)
        return statistics.median(ours[place] for place in places) / below if below else math.inf

    drawn = sorted(
        ratio([generator.randrange(count) for _ in range(count)]) for _ in range(_DRAWN_ANEW)
    )
    low, high = drawn[_DRAWN_ANEW // 40], drawn[-1 - _DRAWN_ANEW // 40]
    return ratio(range(count)), low, high


def epochs_ratio(runs: dict[Job, Run], arm: str, workers: int) -> float:
    """Epochs until what TPE has reached in the end, over TPE's: the median over tasks.

    A study that never gets there counts as one that needed more than the budget.
    """
    budget = budget_of(workers)
    runs = shared(runs, arm, YARDSTICK, workers)
    goal = medians(runs, YARDSTICK, workers, lambda run: run.last)

    def needed_to(regret: float, run: Run) -> int:
        epochs = run.epochs_to(regret)
        return 2 * budget if epochs is None else epochs

    ratios = []
    for task, regret in goal.items():
        needed = medians(
            {job: run for job, run in runs.items() if job[1] == task},
            arm,
            workers,
            partial(needed_to, regret),
        )
        ratios.append(needed[task] / budget)
    return statistics.median(ratios)


def p_value(ours: dict[str, float], theirs: dict[str, float]) -> float:
    """Of Wilcoxon's signed-rank test over the tasks."""
    from scipy.stats import wilcoxon

    tasks = sorted(ours)
    differences = [ours[task] - theirs[task] for task in tasks]
    if len(differences) < 2 or not any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def summary(runs: dict[Job, Run], arms: Iterable[str], workers: Sequence[int]) -> dict[str, Any]:
    """What `--json` prints."""
    body: dict[str, dict[str, dict[str, Any]]] = {
        **{"regret": {}, "quartiles": {}, "mean": {}, "seeds": {}, "epochs_to_tpe": {}},
        **{"p": {}, "ours_over_it": {}, "ahead": {}, "ms": {}, "seconds_a_study": {}},
    }
    for arm in arms:
        for count in workers:
            found: dict[str, Any] = {"seeds": fewest_seeds(runs, arm, count)}
            spread = sorted(medians(runs, arm, count, lambda run: run.last).values())
            found["regret"], found["mean"] = statistics.median(spread), statistics.fmean(spread)
            many = len(spread) > 1
            found["quartiles"] = statistics.quantiles(spread, n=4)[::2] if many else spread * 2
            found["epochs_to_tpe"] = epochs_ratio(runs, arm, count)
            found |= beside_ours(runs, arm, count)
            cost = medians(runs, arm, count, lambda run: 1e3 * run.seconds / run.suggestions)
            found["ms"] = statistics.median(cost.values())
            in_all = medians(runs, arm, count, lambda run: run.seconds)
            found["seconds_a_study"] = statistics.median(in_all.values())
            for name, value in found.items():
                body[name].setdefault(arm, {})[str(count)] = value
    return body


def beside_ours(runs: dict[Job, Run], arm: str, workers: int) -> dict[str, Any]:
    """How an arm compares with this project's search; empty of that itself, or without it."""
    both = shared(runs, arm, PEERS_OF, workers)
    if arm == PEERS_OF or not both:
        return {}
    ours, theirs = (medians(both, name, workers, lambda run: run.last) for name in (PEERS_OF, arm))
    tasks = sorted(ours)
    pairs = [(ours[task], theirs[task]) for task in tasks]
    return {
        "p": p_value(ours, theirs),
        "ours_over_it": ratio_interval(*zip(*pairs, strict=True)),
        "ahead": [sum(one < other for one, other in pairs), len(tasks)],
    }


def show(body: dict[str, Any], workers: Sequence[int]) -> None:
    """Prints the table in Markdown."""
    heads = ["arm"]
    for count in workers:
        name = f"{count} worker{'s' if count > 1 else ''}"
        if budget_of(count) != budget_of(1):
            name += f", {budget_of(count) // EPOCHS} trainings"
        heads += [f"regret, {name}", "seeds", "quartiles", "mean", "ours over it", "ahead", "p"]
        heads += ["epochs to TPE's", "ms a suggestion", "s a study"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for arm, regrets in sorted(body["regret"].items(), key=lambda item: -min(item[1].values())):
        cells = [arm]
        for count in map(str, workers):
            low, high = body["quartiles"][arm][count]
            ratio = body["epochs_to_tpe"][arm][count]
            cells += [
                f"{regrets[count]:.3f}",
                f"{body['seeds'][arm][count]}",
                f"{low:.3f} to {high:.3f}",
                f"{body['mean'][arm][count]:.3f}",
                *_comparison(body, arm, count),
                f"{ratio:.2f}" if ratio <= 1 else "over 1",
                f"{body['ms'][arm][count]:.0f}",
                f"{body['seconds_a_study'][arm][count]:.1f}",
            ]
        print("| " + " | ".join(cells) + " |")


def _comparison(body: dict[str, Any], arm: str, count: str) -> list[str]:
    if count not in body["p"].get(arm, {}):
        return ["", "", ""]
    middle, low, high = body["ours_over_it"][arm][count]
    ahead, tasks = body["ahead"][arm][count]
    p = body["p"][arm][count]
    return [f"{middle:.2f} [{low:.2f}, {high:.2f}]", f"{ahead} of {tasks}", f"{p:.1g}"]


def installed() -> list[str]:
    """The arms that can run here; says which cannot."""
    found = []
    for arm in ARMS:
        module, package = OPTIONAL.get(arm, (None, None))
        if module is None or importlib.util.find_spec(module) is not None:
            found.append(arm)
        else:
            print(f"without {arm}: pip install --no-deps {package}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lcbench", type=Path, required=True, help="folder with model.onnx")
    parser.add_argument("--quick", action="store_true", help="3 held-out tasks, 2 seeds, 1 worker")
    parser.add_argument("--tuning", action="store_true", help="the tasks that it was tuned on")
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="all that are installed")
    parser.add_argument("--tasks", nargs="+", help="these tasks")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="file of what is simulated, to go on from")
    parser.add_argument("--kept", action="store_true", help="what the file of --keep has, no more")
    parser.add_argument("--figure", type=Path, help="draw regret against epochs: .png, .svg, .html")
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    args = parser.parse_args()
    tasks = LcBench(args.lcbench).tasks
    tasks = args.tasks or (tasks[:TUNED_ON] if args.tuning else tasks[TUNED_ON:])
    arms, seeds, workers = args.arms or installed(), args.seeds, args.workers
    if args.quick:
        tasks, seeds, workers = tasks[:3], 2, [1]
    if YARDSTICK not in arms:
        arms = [*arms, YARDSTICK]
    jobs: list[Job] = [
        (arm, task, seed, count)
        for task in tasks
        for seed in range(seeds)
        for count in workers
        for arm in arms
    ]
    if args.kept:
        known = load(args.keep)
        jobs = [job for job in jobs if job in known]
        arms = [arm for arm in arms if {(arm, n) for n in workers} <= {(j[0], j[3]) for j in jobs}]
        if YARDSTICK not in arms:
            sys.exit(f"{args.keep} has no study of {YARDSTICK} with {workers} workers")
    runs = run_all(jobs, args.lcbench, args.keep, args.processes)
    body = summary(runs, arms, workers)
    if args.figure is not None:
        draw(runs, arms, workers, args.figure)
    if args.json:
        print(json.dumps({"tasks": list(tasks), **body}))
    else:
        show(body, workers)


if __name__ == "__main__":
    main()
