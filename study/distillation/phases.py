"""Where a worker's time goes: a clock that is always in one phase, so that phases add up."""

from time import perf_counter


class PhaseClock:
    """Splits the time since it was made into phases, without a gap and without an overlap.

    Entering a phase costs a few tenths of a microsecond, so a training step may do it. On a GPU a
    phase is what the processor spent in it: work that it has only handed over counts where the
    processor waits for it.
    """

    def __init__(self, phase: str) -> None:
        """Begin in a phase."""
        self._phase = phase
        self._since = perf_counter()
        self._spent: dict[str, float] = {}

    @property
    def phase(self) -> str:
        """The present phase."""
        return self._phase

    def enter(self, phase: str) -> str:
        """Leave the present phase for another; returns the one that was left."""
        now = perf_counter()
        left = self._phase
        self._spent[left] = self._spent.get(left, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return left

    def take(self) -> dict[str, float]:
        """Seconds of each phase since this was last asked."""
        self.enter(self._phase)
        spent, self._spent = self._spent, {}
        return spent
