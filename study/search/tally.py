"""What all trainings come to, kept by counting those that changed since it was asked last.

With many workers an answer is wanted every few milliseconds, and there are thousands of trainings
of which one has changed: each pass over all of them costs more than the decision.
"""

from collections.abc import Sequence
from itertools import compress, count
from operator import is_not

from study.search.training import Training, likeliest


class Tally:
    """Sums over trainings; one that did not change is to be shown as the same object.

    Args:
        first_rung: Epochs that a new trial is trained for before it waits.

    Attributes:
        epochs: That all trainings have behind them.
        spent: The same of those that were trained by themselves.
        beginnings: Of these, the epochs up to the first rung.
        alone: Trainings that were begun by themselves.
        scored: Of these, the ones with a score.
        usable: Of all with a score, the ones whose latency is known.
        measured: Trainings whose latency is known.
        sized: Trainings whose size is known.
        weighed: Trainings whose third figure is known.
        failed: Trainings that an error ended.
        running: Those that are being trained, by their numbers.
    """

    def __init__(self, first_rung: int) -> None:
        self._first_rung = first_rung
        self._forget()

    def _forget(self) -> None:
        self._shown: list[Training] = []
        self._waiting: dict[int, Training] = {}
        self._likeliest: list[Training] | None = None
        self.epochs = self.spent = self.beginnings = 0
        self.alone = self.scored = 0
        self.usable = self.measured = self.sized = self.weighed = self.failed = 0
        self.running: dict[int, Training] = {}

    @property
    def waiting(self) -> list[Training]:
        """Trainings that wait, by number."""
        return [self._waiting[number] for number in sorted(self._waiting)]

    @property
    def likeliest(self) -> list[Training]:
        """Of these, the ones worth a closer look."""
        if self._likeliest is None:
            self._likeliest = likeliest(self.waiting)
        return self._likeliest

    @property
    def anyone_waits(self) -> bool:
        """Whether there are any of these."""
        return bool(self._waiting)

    def waits(self, number: int) -> bool:
        """Whether the trial of this number is one of them."""
        return number in self._waiting

    def update(self, trainings: Sequence[Training]) -> None:
        """Take in all trainings; fewer than before are those of another study."""
        if len(trainings) < len(self._shown):
            self._forget()
        shown = self._shown
        changed = list(compress(count(), map(is_not, trainings, shown)))
        for place in changed:
            self._count(shown[place], -1)
        for place in changed:
            self._count(trainings[place], 1)
        for training in trainings[len(shown) :]:
            self._count(training, 1)
        self._shown = list(trainings)

    def _count(self, training: Training, sign: int) -> None:
        done = len(training.scores)
        self.epochs += sign * done
        self.usable += sign * (done > 0 and training.latency_ms is not None)
        self.measured += sign * bool(training.latency_ms)
        self.sized += sign * bool(training.size)
        self.weighed += sign * bool(training.third)
        self.failed += sign * training.failed
        if training.counts:
            self.alone += sign
            self.scored += sign * bool(done)
            self.spent += sign * done
            self.beginnings += sign * min(done, self._first_rung)
        if training.runs:
            if sign > 0:
                self.running[training.number] = training
            else:
                self.running.pop(training.number, None)
        if training.waits:
            self._likeliest = None
            if sign > 0:
                self._waiting[training.number] = training
            else:
                del self._waiting[training.number]
