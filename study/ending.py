"""How a run of a study is asked to end, and how it ended."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analysis.formatting import score_text
from analysis.results import TrialResult
from analysis.stored_plan import Score
from cluster.own_ray import StoreWatch, own_ray_is_gone

# How long a Ray of its own has to be silent until a driver that was told to stop leaves without it.
# Ray itself would have it wait for a minute, and then end it with exit code 1.
_GONE_SECONDS = 5.0
_ASK_EVERY_SECONDS = 0.5
# The word for the record of a study whose trials are through, none of whose students can be on one.
NO_FRONT = "no front"
_STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopRequest:
    """Whether a signal asked the study to stop; a second signal stops at once.

    ``lock_lost`` is set where the signal came because another driver has taken the study's lock.
    ``say`` has the last words kept until this process is gone, for whoever hears of it then.
    """

    signum: int | None = None
    between_trials: bool = False
    lock_lost: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = lambda _: None
    _wakeup: int | None = None
    _closed: threading.Event = field(default_factory=threading.Event)

    def install(self) -> None:
        """Have this process's signals handled here.

        To be done again once Ray is connected: it puts a handler of its own on SIGTERM, which
        aborts the process.
        """
        for signum in _STOPS:
            signal.signal(signum, self)
        if self._wakeup is None:
            self._closed = threading.Event()
            told, self._wakeup = os.pipe()
            os.set_blocking(self._wakeup, False)
            # Handlers wait until Python goes on, and it does not while Ray waits for itself.
            signal.set_wakeup_fd(self._wakeup)
            threading.Thread(target=self._watch_ray, args=(told, self._closed), daemon=True).start()

    def close(self) -> None:
        """Watch over nothing any more; who had the handlers before gets them back elsewhere."""
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._wakeup)
            self._wakeup = None
            # Another Ray that this process may start is none of this request's.
            self._closed.set()

    def __call__(self, signum: int, frame: object) -> None:
        """Handle a signal: while trials run, let them stop; otherwise unwind at once."""
        again, self.signum = self.signum is not None, signum
        if again or not self.between_trials:
            raise KeyboardInterrupt

    def _watch_ray(self, told: int, closed: threading.Event) -> None:
        """Leave, once Ray has been ended by the same signal: whoever asks it waits in vain."""
        with open(told, "rb", buffering=0) as signals:
            signum = next((n for n in iter(lambda: signals.read(1), b"") if n[0] in _STOPS), None)
        if signum is None:
            return
        if not _ray_went(closed):
            return
        name = signal.Signals(signum[0]).name
        self.say(f"{name} ended Ray as well, so trials could not be stopped in order")
        os._exit(128 + signum[0])

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signum or signal.SIGINT)


def _ray_went(closed: threading.Event) -> bool:
    """Wait until a Ray of its own has ended, or has long not answered; False once it is closed."""
    store, answered = StoreWatch(), time.monotonic()
    while not closed.is_set():
        if store.ends_within(_ASK_EVERY_SECONDS):
            break
        if not own_ray_is_gone():
            answered = time.monotonic()
        elif time.monotonic() - answered >= _GONE_SECONDS:
            break
    return not closed.is_set()


@dataclass(frozen=True)
class Ending:
    """How a run of a study ended: the word for the record, and the exit code."""

    word: str
    exit_code: int
    note: str | None = None


def why_no_front(
    trials: Sequence[TrialResult], score: Score, least: float | None, note: str | None
) -> str:
    """Say why a study that has ended has no front, and what to ask for instead.

    Args:
        trials: Of the study.
        score: Of its space.
        least: Which score was asked of a student, or None.
        note: What else there is to say of how it ended.
    """
    begun = "" if note is None else f"{note}; "
    trained = [trial for trial in trials if trial.epochs_done >= trial.epochs]
    if not trained:
        return f"{begun}no trial was trained to the end, so there is no front"
    best = max(trained, key=lambda trial: trial.val_score or -math.inf)
    if least is None or best.val_score is None:
        return f"{begun}no trial that was trained to the end can be on a front"
    asked, reached = (score_text(each, score.unit, 2) for each in (least, best.val_score))
    return (
        f"{begun}of {len(trained)} fully trained students none has a validation {score.name} of "
        f"{asked} (the best is {best.name}, {reached}), so there is no front; ask for less under "
        "another --name, with --warm-start and this one's"
    )
