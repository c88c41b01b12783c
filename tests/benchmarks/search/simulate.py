"""A study of many workers on a virtual clock: an epoch takes one unit of it, whoever trains."""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass

from study.budget import Left
from tests.benchmarks.search.arms import Arm, Trial
from tests.benchmarks.search.lcbench import EPOCHS, LcBench

Job = tuple[str, str, int, int]  # arm, task, seed, workers


@dataclass(frozen=True)
class Run:
    """What one simulated study came to.

    Attributes:
        regret: Of every training that came to its end, and at last of the whole budget, though
            not all of it need be spent: (epochs spent, regret).
        trials: Begun.
        whole: Trained to their end.
        seconds: That the search itself took, in all.
        suggestions: How often a worker asked it for work.
    """

    regret: tuple[tuple[int, float], ...]
    trials: int
    whole: int
    seconds: float
    suggestions: int

    @property
    def last(self) -> float:
        """Regret when the budget is spent."""
        return self.regret[-1][1]

    def epochs_to(self, regret: float) -> int | None:
        """Epochs spent when the regret is this low; None if it never is."""
        return next((epochs for epochs, found in self.regret if found <= regret), None)


def budget_of(workers: int) -> int:
    """Epochs that a study of so many workers may spend: 40 full trainings, or five of each."""
    return max(40, 5 * workers) * EPOCHS


def simulate(arm: Arm, bench: LcBench, task: str, workers: int, budget: int) -> Run:
    """Spend a budget of epochs; trials that run when it is spent are not on the front.

    Args:
        arm: Who searches.
        bench: What is trained.
        task: Of the benchmark.
        workers: How many train at once.
        budget: Epochs in all.
    """
    reference = bench.reference(task)
    trials: list[Trial] = []
    curves: list[Sequence[float]] = []
    front: list[tuple[float, float]] = []
    regrets = [(0, 1.0)]
    seconds, suggestions, spent = 0.0, 0, 0
    clock: list[tuple[float, int, int]] = []

    idle: list[int] = []

    def occupy(now: float, worker: int) -> None:
        nonlocal seconds, suggestions
        begun = time.perf_counter()
        trial = arm.next(trials, Left(in_all=budget - spent, workers=workers))
        seconds += time.perf_counter() - begun
        suggestions += 1
        if trial is None:
            idle.append(worker)
            return
        if trial.number == len(trials):
            trials.append(trial)
            curves.append(bench.curves(task, [trial.params])[0])
        trial.runs = True
        heapq.heappush(clock, (now + 1.0, worker, trial.number))

    for worker in range(workers):
        occupy(0.0, worker)
    while spent < budget and clock:
        now, worker, number = heapq.heappop(clock)
        trial = trials[number]
        trial.scores.append(float(curves[number][len(trial.scores)]))
        spent += 1
        begun = time.perf_counter()
        whole = len(trial.scores) == EPOCHS
        stays = not whole and arm.goes_on(trials, trial)
        if whole or not stays:
            trial.runs = False
            arm.ended(trials, trial)
        seconds += time.perf_counter() - begun
        if whole:
            front.append((trial.scores[-1], trial.latency_ms))
            regrets.append((spent, reference.regret(front)))
        if stays:
            heapq.heappush(clock, (now + 1.0, worker, number))
        elif spent < budget:
            asking, idle[:] = [worker, *idle], []
            for free in asking:
                occupy(now, free)
    # Where nothing was worth beginning any more, the rest of the budget changes nothing.
    regrets.append((budget, reference.regret(front)))
    finished = sum(len(trial.scores) == EPOCHS for trial in trials)
    return Run(tuple(regrets), len(trials), finished, seconds, suggestions)
