"""What the search is shown of trials, what of them it looks at, and how often it fits anew."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Params = Mapping[str, Any]

# Hyperparameters are fitted again when there are so many times more trials.
GROWTH = 1.15
# Of trials that wait, looked at closely; in so many groups of similar latency at each rung. With a
# third objective: in so many of similar latency, each parted into as many of a similar third.
_LOOKED_AT, _SIMILAR, _SIMILAR_IN_BOTH = 300, 10, 3


@dataclass(frozen=True)
class Training:
    """What is known of one trial.

    Attributes:
        number: Of the trial.
        params: Its configuration.
        scores: After each epoch, from the first.
        epochs: Of the whole training.
        latency_ms: None before it is measured.
        feasible: It breaks no constraint; one that does is on no front.
        epoch_seconds: That an epoch of it takes.
        size: What a limit on the size counts, such as millions of parameters; None where unknown.
        third: What else is to be small, such as millions of parameters; None before it is known,
            and in studies of two objectives.
        waits: It stands at a rung, and may go on.
        runs: It is being trained.
        counts: It was trained by itself; of trials that share a training, one counts.
        failed: An error ended it, which may be for what it is.
        telling: Nothing that is not searched is otherwise than in all others, so that it tells of
            them; one that tells nothing is still a point of the front.
    """

    number: int
    params: Params
    scores: tuple[float, ...]
    epochs: int
    latency_ms: float | None
    waits: bool = False
    runs: bool = False
    counts: bool = True
    size: float | None = None
    third: float | None = None
    feasible: bool = True
    epoch_seconds: float = 1.0
    telling: bool = True
    failed: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it was trained to its end."""
        return len(self.scores) >= self.epochs

    @property
    def needed(self) -> int:
        """Epochs that are left to its end."""
        return self.epochs - len(self.scores)


@dataclass(frozen=True)
class Limits:
    """What is refused once it is measured: infinite where nothing is.

    Attributes:
        slowest_ms: Latency (ms).
        largest: Size, in the unit of :attr:`Training.size`.
    """

    slowest_ms: float = math.inf
    largest: float = math.inf


def progress_of(epoch: int, epochs: int) -> float:
    """The share of a training that an epoch ends: on a logarithmic scale, from 0 to 1."""
    return math.log(epoch) / math.log(epochs) if epochs > 1 else 1.0


def likeliest(waiting: list[Training], most: int = _LOOKED_AT) -> list[Training]:
    """Those worth a closer look, where many wait: at each rung and costs those of best score."""
    if len(waiting) <= most:
        return waiting
    rungs: dict[int, list[Training]] = {}
    for each in waiting:
        rungs.setdefault(len(each.scores), []).append(each)
    by_both = any(each.third is not None for each in waiting)
    groups = _SIMILAR_IN_BOTH**2 if by_both else _SIMILAR
    each_of = max(1, most // (len(rungs) * groups))
    kept = []
    for at_rung in rungs.values():
        for similar in _similar(at_rung, by_both=by_both):
            kept += sorted(similar, key=lambda each: (-each.scores[-1], each.number))[:each_of]
    return sorted(kept, key=lambda each: each.number)


def _similar(trainings: list[Training], *, by_both: bool) -> list[list[Training]]:
    """Groups of similar latency, or of similar latency and third."""
    if not by_both:
        return _parted(trainings, _SIMILAR, lambda each: each.latency_ms or 0.0)
    return [
        group
        for alike in _parted(trainings, _SIMILAR_IN_BOTH, lambda each: each.latency_ms or 0.0)
        for group in _parted(alike, _SIMILAR_IN_BOTH, lambda each: each.third or 0.0)
    ]


def _parted(
    trainings: list[Training], parts: int, figure: Callable[[Training], float]
) -> list[list[Training]]:
    """So many groups at most, all but the last of one size, by a figure."""
    ordered = sorted(trainings, key=figure)
    share = -(-len(ordered) // parts)
    return [ordered[first : first + share] for first in range(0, len(ordered), share)]


@functools.cache
def looked_at(done: int) -> tuple[int, ...]:
    """Epochs of a curve that tell it: about two for each doubling, and the last."""
    grid = dict.fromkeys(round(2 ** (k / 2)) for k in range(2 * max(done, 1).bit_length()))
    return (*(epoch for epoch in grid if epoch < done), done)


def usual_ratio(ratios: Sequence[float]) -> float:
    """Return the median of ratios, the geometric mean of the middle two; 1 of none."""
    if not ratios:
        return 1.0
    ordered, middle = sorted(ratios), len(ratios) // 2
    odd = len(ratios) % 2 == 1
    return ordered[middle] if odd else math.sqrt(ordered[middle - 1] * ordered[middle])


def whole_ones(trainings: Sequence[Training]) -> int:
    """Return how many have come to their end, those that share a network counted once."""
    return sum(each.counts and each.is_whole for each in trainings)


def telling(trainings: Sequence[Training]) -> list[Training]:
    """Return those that tell the search something about what it may propose."""
    return [each for each in trainings if each.telling]
