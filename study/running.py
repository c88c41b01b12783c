"""What is known of a trial that runs, beside the record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from analysis.phases import Phases
from analysis.results import Usage


@dataclass
class Running:
    """A trial that runs.

    Attributes:
        since: When its worker's time was last counted, on the monotonic clock.
        usage: What it has taken, as it is to be recorded.
        noted: When that was last written.
        facts: Reasons to end that it reported.
    """

    since: float
    usage: Usage
    noted: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_now(cls, usage: Usage) -> "Running":
        """Return one that goes on from what its record says; on whatever worker, by itself."""
        return cls(time.monotonic(), replace(usage, runs=1))

    def add(self, spent: Mapping[str, float]) -> None:
        """Count what a worker says that it did since it reported last."""
        before = self.usage.phases or Phases()
        self.usage = replace(self.usage, phases=before + Phases(**spent))

    def count(self, devices: float, retries: int = 0) -> float:
        """Count the time its devices were held since the last count; returns it, in seconds."""
        then, self.since = self.since, time.monotonic()
        seconds = (self.since - then) * devices
        self.usage = replace(
            self.usage,
            retries=self.usage.retries + retries,
            device_seconds=round(self.usage.device_seconds + seconds, 3),
        )
        return seconds
