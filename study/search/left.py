"""The end of a budget: who of those that can still come to their end is to."""

import math
from collections.abc import Sequence

import numpy as np

from study.budget import Left
from study.search.belief import Belief
from study.search.coding import Array
from study.search.training import Training


class Hopefuls:
    """Trials that could be trained to their end.

    Whoever runs goes on to its next rung, whatever is decided here: that time is promised.

    Args:
        pool: Trials that wait or run, one at least.
        belief: Where they would end.
        rungs: Epochs at which a trial waits.

    Attributes:
        needed: Seconds that each still needs, beyond what is promised, `(n,)`.
    """

    def __init__(self, pool: Sequence[Training], belief: Belief, rungs: Sequence[int]) -> None:
        self._pool, self._belief = pool, belief
        self._means, self._deviations = belief.predict(pool)
        self._costs = belief.costs_of(pool)
        self._ends = belief.points_of(pool, belief.scale.to_scores(self._means))
        self._whole = belief.whole_points(belief.members)
        promised = np.array([each.epoch_seconds * _to_next(each, rungs) for each in pool])
        self._promised = float(promised.sum())
        needed = np.array([each.epoch_seconds * each.needed for each in pool]) - promised
        self.needed: Array = np.maximum(needed, 1e-9)
        numbers = (each.number for each in pool)
        self._alone = dict(zip(numbers, self.needed.tolist(), strict=True))
        self._reserved: tuple[float, float] | None = None

    def room(self, left: Left) -> float:
        """Seconds that are left and not promised."""
        return left.together - self._promised

    def can_end(self, number: int, left: Left) -> bool:
        """Whether there is time for one of those that wait, whoever else is to end."""
        return bool(self._alone[number] <= min(left.each, left.together))

    def to_end(self, left: Left, least: float) -> list[int]:
        """Return who of those that wait goes on, one after another.

        Those are chosen that together add most to the front: one after another whoever adds most
        for each second it needs, beside those chosen before; or whoever adds most at all. Of these
        two the better: by the first alone, much that is quick may leave no room for what is worth
        more than all of it (as for any knapsack). Of them the one goes on that has furthest to go:
        those with little to go can wait, and what others come to may yet change who is chosen.

        Args:
            left: Of the budget.
            least: What each is to add, at least.
        """
        once = np.ones(len(self._pool))
        plans = [self._choose(of, self.room(left), left.each, least) for of in (self.needed, once)]
        _, chosen = max(plans, key=lambda plan: plan[0])
        waiting = [place for place in chosen if self._pool[place].waits]
        waiting.sort(key=lambda place: -self.needed[place])
        return [self._pool[place].number for place in waiting]

    def reserved(self, least: float) -> float:
        """Seconds for all who add so much for each second, however long that takes."""
        if self._reserved is None or self._reserved[0] != least:
            chosen = self._choose(self.needed, math.inf, math.inf, least * self.needed)[1]
            self._reserved = least, float(self.needed[chosen].sum())
        return self._reserved[1]

    def _choose(
        self, costs: Array, room: float, each: float, least: float | Array
    ) -> tuple[float, list[int]]:
        """What those chosen are expected to add together, and their places."""
        chosen: list[int] = []
        total = 0.0
        is_left = self.needed <= each
        while True:
            gains = self._gains_beside(chosen)
            is_left &= (self.needed <= room) & (gains > least)
            if not is_left.any():
                return total, chosen
            place = int(np.argmax(np.where(is_left, gains / costs, -1.0)))
            total += float(gains[place])
            chosen.append(place)
            room -= float(self.needed[place])
            is_left[place] = False

    def _gains_beside(self, chosen: Sequence[int]) -> Array:
        """What each would add to the front there is and the ends of those chosen."""
        points = [*self._whole, *(self._ends[place] for place in chosen)]
        front = self._belief.front_of_points(points)
        return self._belief.gains(self._means, self._deviations, self._costs, front)


def _to_next(training: Training, rungs: Sequence[int]) -> int:
    """Epochs until a trial that runs next waits, or ends; 0 of one that waits."""
    if not training.runs:
        return 0
    done = len(training.scores)
    further = next((rung for rung in rungs if rung > done), training.epochs)
    return min(further, training.epochs) - done
