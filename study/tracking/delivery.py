"""The way of the updates from the driver to MLflow: a queue, one daemon thread, and patience.

The driver puts an update and goes on. The thread folds all that waits into what each run lacks,
and hands it to a store, oldest run first; while the store is away everything is kept, in order.
Runs that are only replayed from the record give way to those of which there is news.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from study.tracking.inputs import DataInput
    from study.tracking.models import StudentModel

RunKind = Literal["study", "teacher", "trial"]
RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
OnRun = Callable[[RunKind, int | None, str], None]
Watch = Callable[[int, int], None]

GATHER_SECONDS = 0.5  # how long updates are gathered before they are sent as one batch
FIRST_WAIT_SECONDS = 0.5  # back-off after a failure: doubles from here
LONGEST_WAIT_SECONDS = 30.0
LONGEST_WAIT_AT_CLOSE_SECONDS = 1.0
GOES_ON = "; the study goes on"  # how the one warning ends
TRIES_HEARD = 3  # in how many failed passes in a row an answer is a sign of life
LOOK_AT_CLOSE_SECONDS = 0.25
LOOK_SECONDS = 0.05  # between two looks at how far the thread is, where it is waited for


class Refused(Exception):
    """The store answered, and will never accept this update; trying again is of no use.

    Attributes:
        run_id: Of the run, where that has all of the update but the part that is refused.
    """

    def __init__(self, reason: str, run_id: str | None = None) -> None:
        super().__init__(reason)
        self.run_id = run_id


@dataclass(frozen=True, slots=True)
class RunKey:
    """One MLflow run, before it has an id: a trial by name (`t0042`), a teacher by its key."""

    kind: RunKind
    name: str = ""

    @property
    def number(self) -> int | None:
        """The trial's number; None for the study and for a teacher."""
        return int(self.name.removeprefix("t")) if self.kind == "trial" else None


STUDY_RUN = RunKey("study")


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric. `step` is the epoch of a curve, 0 for a final value; time in ms."""

    key: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Replay:
    """The curves of a run as the record holds them, for a run that may lack some of them.

    Attributes:
        last: what the run's metrics read, by key, if nothing is missing; None where that does not
            tell.
        points: makes all points of the curves; not called for a run that has everything.
    """

    last: Mapping[str, float] | None
    points: Callable[[], Sequence[Point]]


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """What one call of the driver changes in one run. `at` is the time of the call in ms.

    A `name` makes the update one that opens its run (or opens it again); `run_id` is the run's id
    when it is known from an earlier session. A tag whose value is None is taken away. A status
    that ends the run does so at `ended_at` (ms), or at the time of the call. `files` are pairs of
    a file and the artifact folder it goes to; `data` is what a run learns from, `model` the student
    that came of it. An update that `gives_way` corrects what an earlier session told, and goes
    when there is no news.
    """

    run: RunKey
    at: int
    name: str | None = None
    run_id: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str | None] = field(default_factory=dict)
    points: Sequence[Point] = ()
    status: RunStatus | None = None
    ended_at: int | None = None
    files: Sequence[tuple[Path, str]] = ()
    data: "DataInput | None" = None
    model: "StudentModel | None" = None
    replay: Replay | None = None
    gives_way: bool = False

    @property
    def is_news(self) -> bool:
        """Whether it tells more than what an earlier session has told, or should have."""
        return self.replay is None and not self.gives_way


@dataclass(slots=True)
class PendingRun:
    """All that one run lacks in the store: the updates since the last delivery, folded.

    `is_news` is whether any of them is. The store takes out the files it is done with, and notes in
    `refused` what was said of the first that will never be taken.
    """

    started_at: int
    name: str | None = None
    run_id: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    status: RunStatus | None = None
    ended_at: int | None = None
    files: list[tuple[Path, str]] = field(default_factory=list)
    data: "DataInput | None" = None
    model: "StudentModel | None" = None
    replay: Replay | None = None
    is_news: bool = False
    refused: str | None = None
    updates: int = 0

    def add(self, update: RunUpdate) -> None:
        """Folds one more update in; the later value of a tag, a parameter or the status wins."""
        self.name = update.name or self.name
        self.run_id = update.run_id or self.run_id
        self.params.update(update.params)
        self.tags.update(update.tags)
        self.points.extend(update.points)
        self.files.extend(update.files)
        if update.status is not None:
            self.status = update.status
            ended_at = update.at if update.ended_at is None else update.ended_at
            self.ended_at = None if update.status == "RUNNING" else ended_at
        self.data = update.data or self.data
        self.model = update.model or self.model
        self.replay = update.replay or self.replay
        self.is_news = self.is_news or update.is_news
        self.updates += 1


class RunStore(Protocol):
    """Where runs are kept. Called by the delivery thread alone, and may block."""

    def deliver(self, key: RunKey, pending: PendingRun) -> str:
        """Brings a run up to date and returns its id.

        It must be safe to repeat after a failure: nothing may be doubled.

        Raises:
            Refused: the store will never accept this.
            Exception: the store is away; the same update is worth another try.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """How many of the driver's calls reached MLflow, how many did not, and the reason in words.

    Of the undelivered, `refused` are those that it will never take. `trouble` is the last that went
    wrong, in short: `does not answer: Connection refused`.
    """

    delivered: int
    undelivered: int
    warning: str | None = None
    refused: int = 0
    trouble: str | None = None


class Delivery:
    """The queue and its thread. `put` returns in microseconds and never raises.

    What the thread finds out (run ids, the one warning) is handed back on the driver's thread, by
    `hand_back`, so that the receiver needs no locks.

    Args:
        connect: makes the store; called on the thread, repeated until it succeeds.
        title: names the store in the warning, e.g. `MLflow at sqlite:///studies/mlflow.db`.
        warn: receives the warning, once.
        on_run: receives kind, trial number and id of each run, once it is known.
        gather_seconds: how long updates are gathered before they are sent as one batch.
    """

    def __init__(
        self,
        connect: Callable[[], RunStore],
        title: str,
        warn: Callable[[str], None],
        on_run: OnRun,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._connect = connect
        self._title = title
        self._warn = warn
        self._on_run = on_run
        self._gather_seconds = gather_seconds
        self._updates: queue.SimpleQueue[RunUpdate | None] = queue.SimpleQueue()
        self._notices: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._store: RunStore | None = None
        self._pending: dict[RunKey, PendingRun] = {}
        self._known: dict[RunKey, str] = {}
        self._put = self._delivered = self._refused = self._failures = self._answers = 0
        self._warned = self._hopeless = False
        self._trouble: str | None = None

    def put(self, update: RunUpdate) -> None:
        """Queues an update; the first one starts the thread."""
        if self._closing.is_set():
            return
        self._put += 1
        self._updates.put(update)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
            self._thread.start()

    def hand_back(self) -> None:
        """Passes run ids and the warning on, on the caller's thread; what they raise is dropped."""
        while True:
            try:
                notice = self._notices.get_nowait()
            except queue.Empty:
                return
            with contextlib.suppress(Exception):
                notice()

    def heard(self) -> None:
        """A sign of life of the store: it answered a part of an update. Called on the thread.

        Where it fails again and again all the same, its answers to what goes before are none.
        """
        if self._failures < TRIES_HEARD:
            self._answers += 1

    def wait(self, patience: float, watch: Callable[[], None]) -> DeliveryReport:
        """Waits until all that was put is delivered or refused, and hands back meanwhile.

        Args:
            patience: gives up once the store has given no sign of life for so long (s), and at once
                where it refuses the whole study.
            watch: called on this thread again and again.
        """
        signs, moved = -1, time.monotonic()
        while True:
            settled = self._delivered + self._refused
            self.hand_back()
            watch()
            if settled == self._put or self._hopeless:
                return self._report()
            if settled + self._answers != signs:
                signs, moved = settled + self._answers, time.monotonic()
            elif time.monotonic() - moved > patience:
                return self._report()
            time.sleep(LOOK_SECONDS)

    def close(self, timeout: float, watch: Watch = lambda done, total: None) -> DeliveryReport:
        """Delivers what waits, for at most `timeout` seconds, and says what came of it.

        Args:
            timeout: How long (s).
            watch: Told again and again, on this thread, how many updates of how many are settled.
        """
        self._closing.set()
        if self._thread is not None:
            self._updates.put(None)
            until = time.monotonic() + timeout
            while self._thread.is_alive() and (left := until - time.monotonic()) > 0:
                self._thread.join(min(left, LOOK_AT_CLOSE_SECONDS))
                watch(self._delivered + self._refused, self._put)
            self._abandoned.set()
        self.hand_back()
        return self._report()

    def _report(self) -> DeliveryReport:
        undelivered = self._put - self._delivered
        warning = None
        if undelivered:
            warning = (
                f"{undelivered} of {self._put} updates did not reach {self._title} "
                f"({self._trouble or 'it is slow'}); the study's own record is complete"
            )
        return DeliveryReport(self._delivered, undelivered, warning, self._refused, self._trouble)

    def _run(self) -> None:
        while self._collect() and not self._abandoned.is_set():
            if self._deliver():
                self._failures = 0
            elif not self._abandoned.is_set():
                self._failures += 1
                self._back_off()

    def _collect(self) -> bool:
        """Folds in all that is queued; False once the driver is done and nothing waits."""
        if not self._pending and not self._closing.is_set():
            self._fold(self._updates.get())
            self._closing.wait(self._gather_seconds)
        while True:
            try:
                self._fold(self._updates.get_nowait())
            except queue.Empty:
                return bool(self._pending) or not self._closing.is_set()

    def _fold(self, update: RunUpdate | None) -> None:
        if update is not None:
            pending = self._pending.setdefault(update.run, PendingRun(started_at=update.at))
            pending.add(update)

    def _deliver(self) -> bool:
        """One pass over all that waits, oldest first, then replays while nothing else comes in.

        False when the store is away.
        """
        try:
            if self._store is None:
                self._store = self._connect()
                self._hopeless = False
        except Refused as error:
            self._hopeless = True
            self._note(f"refused the study: {error}", "; its updates wait")
            return False
        except Exception as error:
            self._note(f"does not answer: {_reason(error)}", "; its updates wait")
            return False
        for key in sorted(self._pending, key=lambda key: not self._pending[key].is_news):
            if self._abandoned.is_set():
                return False
            pending = self._pending[key]
            if not pending.is_news and not self._updates.empty():
                return True
            try:
                run_id = self._store.deliver(key, pending)
            except Refused as error:
                if error.run_id is not None:
                    self._tell(key, error.run_id)
                self._refused += pending.updates
                self._note(f"refused an update: {_short(error)}")
            except Exception as error:
                self._note(f"does not answer: {_reason(error)}", "; its updates wait")
                return False
            else:
                self._tell(key, run_id)
                self._delivered += pending.updates
            del self._pending[key]
        return True

    def _tell(self, key: RunKey, run_id: str) -> None:
        if self._known.get(key) != run_id:
            self._known[key] = run_id
            self._notices.put(lambda: self._on_run(key.kind, key.number, run_id))

    def _note(self, trouble: str, and_so: str = "") -> None:
        """Keeps the last trouble for the closing report; warns of the first one only."""
        self._trouble = trouble
        if not self._warned:
            self._warned = True
            text = f"{self._title} {trouble}{and_so}{GOES_ON}"
            self._notices.put(lambda: self._warn(text))

    def _back_off(self) -> None:
        """Waits longer after each failure in a row; a close ends the wait and shortens the next."""
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(self._failures - 1, 10), LONGEST_WAIT_SECONDS)
        if self._closing.is_set():
            self._abandoned.wait(min(wait, LONGEST_WAIT_AT_CLOSE_SECONDS))
        else:
            self._closing.wait(wait)


def _reason(error: BaseException) -> str:
    """What lies at the bottom of a failed request: `Connection refused`, `timed out`."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _short(error)


def _short(error: BaseException) -> str:
    """The first line of an error, short enough for a terminal."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
