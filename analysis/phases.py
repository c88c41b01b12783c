"""What a worker does with its time, phase by phase."""

from dataclasses import astuple, dataclass

from analysis.stored import Stored


@dataclass(frozen=True)
class Phases(Stored):
    """Seconds of a worker's time, from the moment it is given a trial, by what they went to.

    They add up to all of it until the trial's last report. `build` is all before the first epoch
    but the latency, `steps` the forward and backward passes and the optimiser, `waiting` the time
    from a report until the driver asks for the next step. `handover` comes before: how long the
    worker stood idle since the trial that it had before reported last.
    """

    build: float = 0.0
    latency: float = 0.0
    data: float = 0.0
    teacher: float = 0.0
    steps: float = 0.0
    validation: float = 0.0
    checkpoint: float = 0.0
    waiting: float = 0.0
    handover: float = 0.0

    def __add__(self, other: "Phases") -> "Phases":
        """Phase by phase, to a microsecond."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Phases(*(round(one + more, 6) for one, more in pairs))

    @property
    def total(self) -> float:
        """Seconds that the worker was at the trial: all but the handover."""
        return float(sum(astuple(self))) - self.handover
