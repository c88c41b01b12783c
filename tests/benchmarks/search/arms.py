"""Who searches: this project's search and its peers, all driven alike by the simulator."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna
import torch

from study.budget import Left
from study.rungs import first_wait, rung_epochs
from study.scheduler import ParetoHalving, RungEntry
from study.search.coding import Coding, Dimension
from study.search.latency_first import LatencyFirst
from study.search.scale import Corner
from study.search.training import Training
from tests.benchmarks.search.lcbench import (
    BEST,
    EPOCHS,
    MOST_WEIGHTS,
    SLOWEST,
    SPACE,
    Params,
    draw,
    latency_ms,
)


@dataclass
class Trial:
    """One trial of a simulated study."""

    number: int
    params: dict[str, Any]
    scores: list[float] = field(default_factory=list)
    runs: bool = False
    stopped: bool = False

    @property
    def latency_ms(self) -> float:
        """Known before the first epoch."""
        return latency_ms(self.params)


class Arm(Protocol):
    """A way to search. `trials` is the study so far, which the simulator extends."""

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        """The trial that a free worker trains: one that waits, or a new one; None of none.

        `left` is what is left of the budget, in epochs.
        """
        ...

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        """Whether a trial that has finished an epoch, not its last, keeps its worker."""
        ...

    def ended(self, trials: list[Trial], trial: Trial) -> None:
        """Hear of a trial that was trained to its end, or stopped."""
        ...


def _survives(halving: ParetoHalving, trial: Trial) -> bool:
    """Whether halving by Pareto rank lets a trial go on that has finished an epoch."""
    epoch = len(trial.scores)
    halving.enter(epoch, RungEntry(trial.number, trial.scores[-1], trial.latency_ms))
    return halving.judge(epoch, trial.number) is None


class Random:
    """Configurations drawn at random, each trained to its end."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        return Trial(len(trials), draw(self._rng, 1)[0])

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        return True

    def ended(self, trials: list[Trial], trial: Trial) -> None:
        pass


class Halved(Random):
    """Random draws, stopped by this project's halving by Pareto rank."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._halving = ParetoHalving(EPOCHS, grace=2, factor=3)

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        return _survives(self._halving, trial)


class ByOptuna:
    """One of Optuna's samplers; what is stopped is told with what it had reached."""

    def __init__(self, sampler: optuna.samplers.BaseSampler, *, halving: bool = False) -> None:
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self._asked: dict[int, optuna.Trial] = {}
        self._halving = ParetoHalving(EPOCHS, grace=2, factor=3) if halving else None

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        asked = self._study.ask(SPACE)
        trial = Trial(len(trials), dict(asked.params))
        self._asked[trial.number] = asked
        return trial

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        if self._halving is None:
            return True
        return _survives(self._halving, trial)

    def ended(self, trials: list[Trial], trial: Trial) -> None:
        asked = self._asked.pop(trial.number)
        self._study.tell(asked, [trial.scores[-1], trial.latency_ms])


class Asha(Random):
    """Random draws under Ray's own ASHA, which looks at accuracy alone."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._ray = AsyncHyperBandScheduler(
            time_attr="epoch", metric="score", mode="max", max_t=EPOCHS, grace_period=2,
            reduction_factor=3,
        )  # fmt: skip
        self._rays: dict[int, Any] = {}

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        known = self._rays.get(trial.number)
        if known is None:
            known = self._rays[trial.number] = SimpleNamespace(trial_id=str(trial.number))
            self._ray.on_trial_add(None, known)
        result = {"epoch": len(trial.scores), "score": trial.scores[-1]}
        return bool(self._ray.on_trial_result(None, known, result) == "CONTINUE")


class Moasha(Random):
    """Random draws under Syne Tune's MOASHA.

    Args:
        seed: Of the draws.
        as_shipped: With its own sorting, which (in 0.16) hands out the order of trials where their
            ranks are asked for, so that a trial is judged by the place of another one. Else by the
            same sorting, fronts and within a front the epsilon net, told as ranks.
    """

    def __init__(self, seed: int, *, as_shipped: bool = False) -> None:
        super().__init__(seed)
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        self._theirs = MOASHA(
            {}, metrics=["error", "latency"], time_attr="epoch", max_t=EPOCHS, grace_period=2,
            reduction_factor=3, random_seed=seed,
            multiobjective_priority=None if as_shipped else _by_rank(),
        )  # fmt: skip
        self._scales = (1.0, 1.0) if as_shipped else (BEST, SLOWEST)
        self._known: dict[int, Any] = {}

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        known = self._known.get(trial.number)
        if known is None:
            known = self._known[trial.number] = SimpleNamespace(trial_id=trial.number)
            self._theirs.on_trial_add(known)
        of_error, of_latency = self._scales
        error, latency = (BEST - trial.scores[-1]) / of_error, trial.latency_ms / of_latency
        result = {"epoch": len(trial.scores), "error": error, "latency": latency}
        return bool(self._theirs.on_trial_result(known, result) == "CONTINUE")


def _by_rank() -> Any:
    """Syne Tune's sorting by fronts and epsilon net, as the rank of each trial."""
    from syne_tune.optimizer.schedulers.multiobjective import non_dominated_priority as theirs
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import MOPriority

    class ByRank(MOPriority):  # type: ignore[misc]
        def priority_unsafe(self, objectives: Any) -> Any:
            ranks = np.empty(len(objectives), dtype=int)
            remaining, before = np.arange(len(objectives)), 0
            while remaining.size:
                best = theirs.pareto_efficient(objectives[remaining])
                front = remaining[best]
                ranks[front] = before + theirs.compute_epsilon_net(objectives[front], dim=0)
                remaining, before = remaining[~best], before + len(front)
            return ranks

    return ByRank()


class LatencyFirstArm:
    """This project's search; `third` is what it keeps small beside the latency, if anything."""

    def __init__(
        self, seed: int, *, third: Callable[[Params], float] | None = None, **settings: Any
    ) -> None:
        self._third = third
        first_rung = settings.pop("first_rung", first_wait(EPOCHS))
        dimensions = tuple(Dimension(name, kind) for name, kind in SPACE.items())
        self._rungs = rung_epochs(EPOCHS, first_rung)
        self._known: list[Training] = []
        self._live: set[int] = set()
        self._search = LatencyFirst(
            Coding(dimensions),
            # Nobody is told from which score on the benchmark counts.
            Corner(0.0, SLOWEST, BEST, None if third is None else MOST_WEIGHTS, is_told=False),
            first_rung=first_rung,
            seed=seed,
            latency_of=latency_ms,
            third_of=third or (lambda params: None),
            shaping=("num_layers", "max_units"),
            **settings,
        )

    def next(self, trials: list[Trial], left: Left) -> Trial | None:
        seen = self._seen(trials)
        may_begin = self._search.may_begin(seen, left)
        search = self._search
        if may_begin:
            number = search.next_to_go_on(seen, left.workers)
        else:
            number = search.next_to_end(seen, left)
        if number is None:
            return self._begun(trials) if may_begin else None
        self._live.add(number)
        return trials[number]

    def _begun(self, trials: list[Trial]) -> Trial:
        params = self._search.begin(self._seen(trials), lambda params: False)
        assert params is not None
        self._live.add(len(trials))
        return Trial(len(trials), dict(params))

    def goes_on(self, trials: list[Trial], trial: Trial) -> bool:
        return len(trial.scores) not in self._rungs

    def ended(self, trials: list[Trial], trial: Trial) -> None:
        pass

    def _seen(self, trials: list[Trial]) -> list[Training]:
        """All trials; a new object only of those that changed since they were handed out."""
        self._known += [self._training(trial) for trial in trials[len(self._known) :]]
        for number in list(self._live):
            known, trial = self._known[number], trials[number]
            if known.runs != trial.runs or len(known.scores) != len(trial.scores):
                self._known[number] = self._training(trial)
            if not trial.runs:
                self._live.discard(number)
        return self._known

    def _training(self, trial: Trial) -> Training:
        done = len(trial.scores)
        return Training(
            trial.number,
            trial.params,
            tuple(trial.scores),
            EPOCHS,
            trial.latency_ms,
            waits=0 < done < EPOCHS and not trial.runs,
            runs=trial.runs,
            third=None if self._third is None else self._third(trial.params),
        )


class _Gp(optuna.samplers.GPSampler):
    """Optuna's, without torch being told for each operation that it is one of the processor.

    It is anyway; the suggestions are the same to the last bit, in three quarters of the time.
    """

    def _sample_relative_impl(self, *told: Any) -> dict[str, Any]:
        with torch._C.DisableTorchFunction():
            return super()._sample_relative_impl(*told)


def _optuna(make: Callable[[int], optuna.samplers.BaseSampler], **settings: Any) -> Any:
    def arm(seed: int) -> ByOptuna:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return ByOptuna(make(seed), **settings)

    return arm


_SAMPLERS = optuna.samplers
# Peers that are no dependency of this project, and what to install for them.
_SYNE_TUNE = ("syne_tune", "syne-tune")
OPTIONAL = {"MOASHA": _SYNE_TUNE, "MOASHA by rank": _SYNE_TUNE}
ARMS: dict[str, Callable[[int], Any]] = {
    "random": Random,
    "random, halved": Halved,
    "ASHA": Asha,
    "MOASHA": partial(Moasha, as_shipped=True),
    "MOASHA by rank": Moasha,
    "TPE": _optuna(lambda seed: _SAMPLERS.TPESampler(seed=seed)),
    "TPE multivariate": _optuna(lambda seed: _SAMPLERS.TPESampler(seed=seed, multivariate=True)),
    "TPE, halved": _optuna(lambda seed: _SAMPLERS.TPESampler(seed=seed), halving=True),
    "NSGA-II": _optuna(lambda seed: _SAMPLERS.NSGAIISampler(seed=seed, population_size=16)),
    "GP": _optuna(lambda seed: _Gp(seed=seed)),
    "ours": LatencyFirstArm,
}
