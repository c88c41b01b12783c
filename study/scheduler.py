"""Early stopping by Pareto rank: asynchronous successive halving over (score at the rung, latency).

At rung epochs ``grace * factor**k`` a trial is compared with all trials that have reached the same
rung. It is stopped when the share of them that ranks strictly before it (non-dominated sorting,
Deb et al. 2002) leaves it outside the best ``1/factor``. So a student that nobody beats in both
accuracy and latency is never stopped, however small and inaccurate it is; neither are ties, a lone
trial, presets and controls.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.stateless import StatelessForRay


@dataclass(frozen=True)
class RungEntry:
    """A trial at a rung: its score (%, larger is better) and latency (ms, smaller is better)."""

    number: int
    score: float
    latency_ms: float

    def dominates(self, other: "RungEntry") -> bool:
        """Whether this entry is at least as good in both, and better in one."""
        no_worse = self.score >= other.score and self.latency_ms <= other.latency_ms
        return no_worse and (self.score > other.score or self.latency_ms < other.latency_ms)


@dataclass(frozen=True)
class Stop:
    """Why a trial was stopped: the rung (an epoch) and the trials that dominate it there."""

    rung: int
    rivals: tuple[int, ...]
    reached: int

    @property
    def reason(self) -> str:
        """One sentence for the record."""
        named = ", ".join(f"t{number:04d}" for number in self.rivals[:3])
        more = f" and {len(self.rivals) - 3} more" if len(self.rivals) > 3 else ""
        return (
            f"behind {named}{more} in accuracy and latency at epoch {self.rung} "
            f"({self.reached} trials reached it)"
        )


def rung_epochs(max_epochs: int, grace: int, factor: int) -> tuple[int, ...]:
    """Return the epochs at which trials are compared, all below ``max_epochs``."""
    rungs: list[int] = []
    epoch = grace
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= factor
    return tuple(rungs)


def default_grace(max_epochs: int) -> int:
    """Return the first rung for a number of epochs: about an eighth of them."""
    return max(1, round(max_epochs / 8))


def ranks(entries: Sequence[RungEntry]) -> list[int]:
    """Return each entry's non-domination rank: 0 for the front, 1 for the front without it, ….

    For two objectives this takes n log n (Jensen, 2003). Entries are placed fastest first, and of
    equally fast ones the best first. Whoever comes earlier is no slower, so an entry is behind a
    front exactly if that front's best score so far reaches its own; those scores fall from front
    to front, so the first front it is not behind is found by bisection. Equal entries dominate
    each other nowhere and share a rank.

    Args:
        entries: Finite scores and latencies.
    """
    rank = [0] * len(entries)
    lowest: list[float] = []  # minus the best score of each front, so that it ascends
    last: RungEntry | None = None
    level = 0
    for i in sorted(range(len(entries)), key=lambda i: (entries[i].latency_ms, -entries[i].score)):
        entry = entries[i]
        if last is None or (entry.score, entry.latency_ms) != (last.score, last.latency_ms):
            level = bisect_right(lowest, -entry.score)
            lowest[level : level + 1] = [-entry.score]
            last = entry
        rank[i] = level
    return rank


@dataclass
class ParetoHalving:
    """The decision alone, without Ray: which trials go on past which rung.

    Args:
        max_epochs: Epochs of a fully trained trial; the last epoch is no rung.
        grace: The first rung.
        factor: Ratio of successive rungs, and of trials to survivors.
    """

    max_epochs: int
    grace: int = 1
    factor: int = 3
    _reached: dict[int, dict[int, RungEntry]] = field(default_factory=dict)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trials are compared."""
        return rung_epochs(self.max_epochs, self.grace, self.factor)

    def enter(self, epoch: int, entry: RungEntry) -> None:
        """Add a trial to the rung at ``epoch``; an epoch that is no rung is ignored."""
        if epoch in self.rungs and math.isfinite(entry.score + entry.latency_ms):
            self._reached.setdefault(epoch, {})[entry.number] = entry

    def judge(self, epoch: int, number: int) -> Stop | None:
        """Return why trial ``number`` stops at the rung it entered, or None if it goes on."""
        rung = self._reached.get(epoch, {})
        if number not in rung:
            return None
        entries = list(rung.values())
        rank = dict(zip((entry.number for entry in entries), ranks(entries), strict=True))
        ahead = sum(1 for other in rank.values() if other < rank[number])
        if len(entries) < self.factor or ahead < math.ceil(len(entries) / self.factor):
            return None
        mine = rung[number]
        rivals = tuple(sorted(e.number for e in entries if e.dominates(mine)))
        return Stop(epoch, rivals, len(entries))


class ParetoHalvingScheduler(StatelessForRay, FIFOScheduler):
    """Ray's view of :class:`ParetoHalving`: trials start in order and stop at rungs.

    Reads ``epoch`` and ``val_score`` of results, and ``number`` and ``protected`` of a trial's
    configuration.

    Args:
        halving: The decision.
        latency_of: The latency (ms) on record of a trial that has reported.
    """

    def __init__(self, halving: ParetoHalving, latency_of: Callable[[int], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.halving = halving
        self._latency_of = latency_of
        self.stops: dict[int, Stop] = {}

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Enter the trial at its rung and decide."""
        epoch = result.get("epoch", 0)
        if epoch == 0 or "failure" in result:
            return str(TrialScheduler.CONTINUE)
        number = int(trial.config["number"])
        if epoch not in self.halving.rungs:
            return str(TrialScheduler.CONTINUE)
        entry = RungEntry(number, float(result["val_score"]), self._latency_of(number))
        self.halving.enter(epoch, entry)
        stop = None if trial.config["protected"] else self.halving.judge(epoch, number)
        if stop is None:
            return str(TrialScheduler.CONTINUE)
        self.stops[number] = stop
        return str(TrialScheduler.STOP)
