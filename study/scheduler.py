"""Early stopping by Pareto rank: asynchronous successive halving over (score at the rung, latency).

A study that keeps parameters or FLOPs small as well has trials compared in those too.

At rung epochs ``grace * factor**k`` a trial is compared with all trials that have reached the same
rung. It is stopped when the share of them that ranks strictly before it (non-dominated sorting,
Deb et al. 2002) leaves it outside the best ``1/factor``. So a student that nobody beats in all
objectives is never stopped, however small and inaccurate it is; neither are ties, a lone trial,
presets and controls.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from analysis.front import Point, Staircase, dominates
from study.rungs import rung_epochs
from study.stateless import StatelessForRay


@dataclass(frozen=True)
class RungEntry:
    """A trial at a rung: its score (larger is better), latency (ms, smaller is better).

    ``third`` is what else is to be small; 0 for every trial of a study of two objectives.
    """

    number: int
    score: float
    latency_ms: float
    third: float = 0.0

    def dominates(self, other: "RungEntry") -> bool:
        """Whether this entry is at least as good in everything, and better in something."""
        return dominates(self.point, other.point)

    @property
    def point(self) -> Point:
        """What it is compared by."""
        return (self.score, self.latency_ms, self.third)


@dataclass(frozen=True)
class Stop:
    """Why a trial was stopped: the rung (an epoch) and the trials that dominate it there.

    ``compared_by`` names what they are better in.
    """

    rung: int
    rivals: tuple[int, ...]
    reached: int
    compared_by: str = "score and latency"

    @property
    def reason(self) -> str:
        """One sentence for the record."""
        named = ", ".join(f"t{number:04d}" for number in self.rivals[:3])
        more = f" and {len(self.rivals) - 3} more" if len(self.rivals) > 3 else ""
        return (
            f"behind {named}{more} in {self.compared_by} at epoch {self.rung} "
            f"({self.reached} trials reached it)"
        )


@dataclass(frozen=True)
class Scoreless:
    """Why a trial stopped at a rung whose score is infinite or not a number."""

    rung: int

    @property
    def reason(self) -> str:
        """One sentence for the record."""
        return f"its score at epoch {self.rung} is no finite number"


Stopped = Stop | Scoreless


def ranks(entries: Sequence[RungEntry]) -> list[int]:
    """Return each entry's non-domination rank: 0 for the front, 1 for the front without it, ….

    For two objectives this takes n log n (Jensen, 2003). Entries are placed fastest first, and of
    equally fast ones the best first. Whoever comes earlier is no slower, so an entry is behind a
    front exactly if that front's best score so far reaches its own; those scores fall from front
    to front, so the first front it is not behind is found by bisection. Equal entries dominate
    each other nowhere and share a rank.

    With a third objective an entry is behind a front where that front's best score among those no
    larger reaches its own. Whoever is behind a front is behind all before it, so the search by
    bisection is the same (Zhang et al., 2015), with a staircase for each front.

    Args:
        entries: Finite scores, latencies and third values.
    """
    if len({entry.third for entry in entries}) > 1:
        return _ranks_of_three(entries)
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


def _ranks_of_three(entries: Sequence[RungEntry]) -> list[int]:
    def place(i: int) -> tuple[float, float, float]:
        return (entries[i].latency_ms, entries[i].third, -entries[i].score)

    rank = [0] * len(entries)
    fronts: list[Staircase] = []
    last: Point | None = None
    level = 0
    for i in sorted(range(len(entries)), key=place):
        entry = entries[i]
        if entry.point != last:
            level = bisect_left(fronts, True, key=partial(_lies_ahead_of, entry))
            if level == len(fronts):
                fronts.append(Staircase())
            fronts[level].enter(entry.third, entry.score)
            last = entry.point
        rank[i] = level
    return rank


def _lies_ahead_of(entry: RungEntry, front: Staircase) -> bool:
    """Whether nobody entered into ``front`` so far dominates ``entry``."""
    return front.best_within(entry.third) < entry.score


@dataclass
class ParetoHalving:
    """The decision alone, without Ray: which trials go on past which rung.

    Args:
        max_epochs: Epochs of a fully trained trial; the last epoch is no rung.
        grace: The first rung.
        factor: Ratio of successive rungs, and of trials to survivors.
        compared_by: Names of the objectives, for the reason of a stop.
    """

    max_epochs: int
    grace: int = 1
    factor: int = 3
    compared_by: str = "score and latency"
    _reached: dict[int, dict[int, RungEntry]] = field(default_factory=dict)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trials are compared."""
        return rung_epochs(self.max_epochs, self.grace, self.factor)

    def enter(self, epoch: int, entry: RungEntry) -> None:
        """Add a trial to the rung at ``epoch``; an epoch that is no rung is ignored."""
        if epoch in self.rungs and all(map(math.isfinite, entry.point)):
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
        return Stop(epoch, rivals, len(entries), self.compared_by)


class PausingScheduler(StatelessForRay, FIFOScheduler):
    """Ray's view of trials that wait: at a rung each gives its worker back.

    To Ray the trial is over then; it goes on, from its checkpoint, as another one of Ray's.

    Args:
        is_rung: Whether a trial, by its number, waits after an epoch.
    """

    def __init__(self, is_rung: Callable[[int, int], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._is_rung = is_rung
        self.paused: set[int] = set()

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Have a trial wait that has reached a rung, unless it is to be trained to its end."""
        epoch, number = result.get("epoch", 0), int(trial.config["number"])
        ended = "failure" in result or result.get("done", False)
        if (
            # What a trial says first is how far it had come; it goes on from what is on record.
            epoch <= trial.config["epochs_known"]
            or ended
            or trial.config["protected"]
            or not self._is_rung(number, epoch)
        ):
            return str(TrialScheduler.CONTINUE)
        self.paused.add(number)
        return str(TrialScheduler.STOP)


class ParetoHalvingScheduler(StatelessForRay, FIFOScheduler):
    """Ray's view of :class:`ParetoHalving`: trials start in order and stop at rungs.

    Reads ``epoch`` and ``val_score`` of results, and ``number``, ``protected`` and
    ``epochs_known`` of a trial's configuration.

    Args:
        halving: The decision.
        entry_of: The entry of a trial that has reported, by its number and score: it adds the
            latency and the size on record.
    """

    def __init__(self, halving: ParetoHalving, entry_of: Callable[[int, float], RungEntry]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.halving = halving
        self._entry_of = entry_of
        self.stops: dict[int, Stopped] = {}

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Enter the trial at its rung and decide."""
        epoch = result.get("epoch", 0)
        # What a trial says first is how far it had come; there it was judged before.
        if epoch <= trial.config["epochs_known"] or "failure" in result:
            return str(TrialScheduler.CONTINUE)
        number = int(trial.config["number"])
        if epoch not in self.halving.rungs:
            return str(TrialScheduler.CONTINUE)
        self.halving.enter(epoch, self._entry_of(number, float(result["val_score"])))
        if trial.config["protected"]:
            return str(TrialScheduler.CONTINUE)
        stop: Stopped | None = self.halving.judge(epoch, number)
        if not math.isfinite(float(result["val_score"])):
            stop = Scoreless(epoch)
        if stop is None:
            return str(TrialScheduler.CONTINUE)
        self.stops[number] = stop
        return str(TrialScheduler.STOP)
