"""How a run of a study is asked to end, and how it ended."""

import signal
import threading
from dataclasses import dataclass, field


@dataclass
class StopRequest:
    """Whether a signal asked the study to stop; a second signal stops at once.

    ``lock_lost`` is set where the signal came because another driver has taken the study's lock.
    """

    signum: int | None = None
    between_trials: bool = False
    lock_lost: threading.Event = field(default_factory=threading.Event)

    def install(self) -> None:
        """Have this process's signals handled here.

        To be done again once Ray is connected: it puts a handler of its own on SIGTERM, which
        aborts the process.
        """
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self)

    def __call__(self, signum: int, frame: object) -> None:
        """Handle a signal: while trials run, let them stop; otherwise unwind at once."""
        again, self.signum = self.signum is not None, signum
        if again or not self.between_trials:
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signum or signal.SIGINT)


@dataclass(frozen=True)
class Ending:
    """How a run of a study ended: the word for the record, and the exit code."""

    word: str
    exit_code: int
    note: str | None = None
