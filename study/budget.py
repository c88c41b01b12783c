"""How long a study may go on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a study may take over all its runs; whichever is spent first ends it.

    ``trials`` in all; ``seconds`` of wall time with a driver at work; ``device_hours`` that trials
    hold GPUs (or, without any, CPUs). None sets no bound.
    """

    trials: int
    seconds: float | None = None
    device_hours: float | None = None

    def problems(self) -> list[str]:
        """Say what cannot be asked for, in one line each."""
        found = []
        if self.trials < 1:
            found.append(f"--trials {self.trials} is less than 1; give 1 or more")
        for option, value, unit in (
            ("budget", self.seconds, "seconds"),
            ("device-hours", self.device_hours, "hours"),
        ):
            if value is not None and not value > 0:
                found.append(
                    f"--{option} {value:g} is not above 0; give a positive number of {unit}"
                )
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
