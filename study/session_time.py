"""The time of one run of the driver: where it goes, what the record keeps of it, what is left."""

import threading
import time
from typing import TYPE_CHECKING

from analysis import results
from study.distillation.phases import PhaseClock
from study.trial_attributes import now

if TYPE_CHECKING:
    from study.budget import Budget, Left
    from study.record import StudyRecord

_NOTE_SECONDS = 30.0


class SessionTime:
    """Counts the seconds of a run by stage, and those of the runs before it.

    Args:
        record: The study's record.
        begun: When the driver began, on the monotonic clock (s).
        workers: Trials at once.
        lost: Set once another driver has taken the study over: nothing is noted any more.
    """

    def __init__(
        self,
        record: "StudyRecord",
        begun: float,
        workers: int,
        lost: threading.Event | None = None,
    ) -> None:
        self._record, self._lost = record, lost
        self._begun = begun
        self._workers = workers
        self._started_at = now()
        self._noted = begun
        self._closed = False
        self._earlier = 0.0
        self._stage = PhaseClock("starting")
        self._stages = {"starting": time.monotonic() - begun}

    def open(self) -> None:
        """Open this run in the record, and close one that was killed."""
        killed = self._record.attribute(results.ATTR_OPEN_SESSION)
        sessions = self._record.attribute(results.ATTR_SESSIONS) or []
        # A driver killed while it closed its run has added it already.
        added = bool(sessions) and killed and sessions[-1]["started_at"] == killed["started_at"]
        if killed is not None and not added:
            self._record.add_session(results.Session.from_json(killed))
        sessions = self._record.attribute(results.ATTR_SESSIONS) or []
        self._earlier = sum(session["seconds"] for session in sessions)
        self.note()

    def enter(self, stage: str) -> None:
        """Leave the present stage for another, and tell the record, by which others see it."""
        self._stage.enter(stage)
        self.note()

    @property
    def is_note_due(self) -> bool:
        """Whether it is long since the record was told."""
        return time.monotonic() - self._noted > _NOTE_SECONDS

    def note_if_due(self) -> None:
        """Keep the time of this run where that is due, as long as it is not closed."""
        if self.is_note_due and not self._closed:
            self.note()

    def note(self) -> None:
        """Keep the time of this run in the record, should the driver be killed."""
        self._noted = time.monotonic()
        if self._lost is not None and self._lost.is_set():
            return
        self._record.set_attribute(results.ATTR_OPEN_SESSION, self._so_far("killed").to_json())

    def close(self, end: str) -> None:
        """Add this run to the record, which is told of its time no more."""
        self._closed = True
        self._record.add_session(self._so_far(end))

    def _so_far(self, end: str) -> results.Session:
        seconds = time.monotonic() - self._begun
        for name, spent in self._stage.take().items():
            self._stages[name] = self._stages.get(name, 0.0) + spent
        return results.Session(
            self._started_at,
            round(seconds, 3),
            end,
            stages={name: round(spent, 3) for name, spent in self._stages.items()},
            workers=self._workers,
            driver=round(time.process_time(), 3),
            stage=self._stage.phase,
        )

    # Bounds

    @property
    def _seconds(self) -> float:
        """Of all runs of the study."""
        return self._earlier + time.monotonic() - self._begun

    def spent(self, budget: "Budget", device_seconds: float) -> str | None:
        """Which bound on time is reached, or None."""
        return budget.spent(self._seconds, device_seconds)

    def left(self, budget: "Budget", device_seconds: float, devices: float) -> "Left":
        """What is left of the bounds on time; ``devices`` are those of a trial."""
        return budget.left(self._seconds, device_seconds, workers=self._workers, devices=devices)

    def deadline(self, budget: "Budget") -> float | None:
        """When the wall time is spent, on the monotonic clock."""
        return None if budget.seconds is None else self._begun + budget.seconds - self._earlier
