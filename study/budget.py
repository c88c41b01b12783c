"""How long a study may go on, and what is left of that."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Left:
    """What is left of a budget, for training; infinite where nothing bounds it.

    Attributes:
        in_all: Seconds for which all workers together may still train.
        each: Seconds for which one of them may, before the wall time is spent.
        workers: How many train at once.
    """

    in_all: float = math.inf
    each: float = math.inf
    workers: int = 1

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound at all."""
        return self.a_worker < math.inf

    @property
    def a_worker(self) -> float:
        """Seconds that a worker has, where all go on to work."""
        return min(self.each, self.in_all / self.workers)

    @property
    def together(self) -> float:
        """Seconds that all workers have together."""
        return min(self.in_all, self.each * self.workers)

    @property
    def bounds(self) -> tuple[str, ...]:
        """The options to give more of: those that are spent, else the one that ends training first.

        Empty where nothing bounds it.
        """
        if not self.is_bounded:
            return ()
        bounds = {"--budget": self.each, "--device-hours": self.in_all / self.workers}
        return tuple(option for option, left in bounds.items() if left == self.a_worker)

    def slowed(self, times: float) -> "Left":
        """What that is in seconds of training, which take so many times longer in all."""
        return Left(self.in_all / times, self.each / times, self.workers)


UNBOUNDED = Left()


@dataclass(frozen=True)
class Budget:
    """What a study may take over all its runs; whichever is spent first ends it.

    ``trials`` in all; ``seconds`` of wall time with a driver at work; ``device_hours`` that trials
    hold GPUs (or, without any, CPUs). None sets no bound.
    """

    trials: int
    seconds: float | None = None
    device_hours: float | None = None

    @property
    def bounds(self) -> list[float | None]:
        """Those on time: seconds, and hours of devices."""
        return [self.seconds, self.device_hours]

    @property
    def is_timed(self) -> bool:
        """Whether there is a bound on time."""
        return self.bounds != [None, None]

    def problems(self) -> list[str]:
        """Say what cannot be asked for, in one line each."""
        found = []
        if self.trials < 1:
            found.append(f"--trials {self.trials} is less than 1; give 1 or more")
        for option, value, unit in (
            ("budget", self.seconds, "seconds"),
            ("device-hours", self.device_hours, "hours"),
        ):
            if value is not None and not 0 < value < math.inf:
                why = "has no end" if value == math.inf else "is not above 0"
                found.append(f"--{option} {value:g} {why}; give a positive number of {unit}")
        return found

    def spent(self, seconds: float, device_seconds: float) -> str | None:
        """Return which bound on time is reached, for the record; None while there is time left.

        Args:
            seconds: Wall time so far.
            device_seconds: Device time that trials took so far.
        """
        if self.seconds is not None and seconds >= self.seconds:
            return "the budget was spent"
        if self.device_hours is not None and device_seconds >= 3600 * self.device_hours:
            return "the device-hours were spent"
        return None

    def left(self, seconds: float, device_seconds: float, *, workers: int, devices: float) -> Left:
        """Return what is left; the number of trials bounds no time.

        Args:
            seconds: Wall time so far.
            device_seconds: Device time that trials took so far.
            workers: Trials at once.
            devices: That each of them holds.
        """
        each = in_all = math.inf
        if self.seconds is not None:
            each = max(0.0, self.seconds - seconds)
        if self.device_hours is not None:
            in_all = max(0.0, 3600 * self.device_hours - device_seconds) / devices
        return Left(in_all, each, workers)
