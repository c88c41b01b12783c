"""The tracker that tells MLflow: what the driver says, as changes to runs.

An experiment holds the studies of one space. A study is a run there, its trials are runs nested
below it, and a teacher, which several studies may share, is a run beside it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.formatting import without_password
from analysis.results import TrialResult, trial_name
from study.tracking.client import load_mlflow
from study.tracking.delivery import (
    GATHER_SECONDS,
    STUDY_RUN,
    Delivery,
    DeliveryReport,
    OnRun,
    Point,
    Replay,
    RunKey,
    RunStatus,
    RunStore,
    RunUpdate,
    Watch,
)
from study.tracking.facts import Covered, final_metrics, trial_facts
from study.tracking.inputs import DataInput
from study.tracking.models import StudentModel
from study.tracking.points import (
    curve_replay,
    epoch_points,
    final_points,
    milliseconds,
    points_of,
    span,
    teacher_times,
)
from study.tracking.run import NOTE_TAG, OUTCOME_TAG, REASON_TAG
from study.tracking.store import STUDENTS, ExperimentSpec, connect
from study.tracking.tracker import SERVERS, Tracker
from study.tracking.views import FRONT_TAG, FRONT_VALUE

# MLflow's status of a run. The exact outcome is the tag `outcome`, in the record's own words.
TRIAL_STATUS: Final[Mapping[str, RunStatus]] = {
    "complete": "FINISHED",
    "stopped": "FINISHED",
    "infeasible": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
STUDY_STATUS: Final[Mapping[str, RunStatus]] = {
    "complete": "FINISHED",
    "budget": "FINISHED",
    "SIGINT": "KILLED",
    "SIGTERM": "KILLED",
    "killed": "KILLED",
    "interrupted": "KILLED",
}

INTERRUPTED: Final = "the study was stopped"  # why a trial without an outcome goes no further

_CONFIRMED: Final[Mapping[str, str | None]] = MappingProxyType({"confirmed": "true"})
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


class MlflowTracker(Tracker):
    """Tells MLflow, by a thread of its own.

    Args:
        tracking_uri: as `check_tracking_uri` allows it.
        artifact_root: the folder for files, where MLflow is a database; a server has its own.
        warn: receives one line, once, when MLflow does not answer or refuses something.
        on_run: receives kind (`study`, `trial`, `teacher`), trial number or None, and run id of
            each run, for the record.
        gather_seconds: how long updates are gathered before they are sent as one batch.

    Both callbacks run on the thread that calls the tracker, within a later call of it.
    """

    def __init__(
        self,
        tracking_uri: str,
        artifact_root: Path,
        warn: Callable[[str], None],
        on_run: OnRun,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._uri = tracking_uri
        self._artifact_root = artifact_root
        title = f"MLflow at {without_password(tracking_uri)}"
        self._delivery = Delivery(self._connect, title, warn, on_run, gather_seconds)
        self._space_name = self._study_name = self._study_key = ""
        self._experiment_id: str | None = None
        self._data: DataInput | None = None
        self._open_trials: set[int] = set()
        self._begun_trials: set[int] = set()
        self._study_open = self._ids_are_known = False

    @property
    def experiment_id(self) -> str | None:
        """The id of the experiment; None until the study's run is there."""
        return self._experiment_id

    def study_started(
        self,
        name: str,
        space_name: str,
        description: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        study_key: str,
        run_id: str | None = None,
        at: str | None = None,
        is_running: bool = True,
        data: DataInput | None = None,
    ) -> None:
        """Opens the study's run; see `Tracker`."""
        self._study_name, self._space_name, self._study_key = name, space_name, study_key
        self._data = data
        self._study_open = is_running
        self._ids_are_known = run_id is not None
        own = {"kind": "study", "study": name} | dict(tags)
        own |= _note(description)
        self._tell(
            STUDY_RUN,
            at=milliseconds(at),
            name=name,
            run_id=run_id,
            params=params,
            tags=own | ({OUTCOME_TAG: "running"} if is_running else {}),
            status="RUNNING" if is_running else None,
        )

    def teacher_trained(
        self,
        key: str,
        name: str,
        params: Mapping[str, Any],
        curve: Iterable[Mapping[str, Any]],
        metrics: Mapping[str, float | None],
        *,
        description: str = "",
        at: str | None = None,
    ) -> None:
        """Shows the teacher; see `Tracker`. Its run is dated by the seconds its epochs took."""
        end = milliseconds(at) or _now_ms()
        epochs = [dict(result) for result in curve]
        start, *times = teacher_times(epochs, end)
        dated = zip(epochs, times, strict=True)
        points = [point for result, when in dated for point in epoch_points(result, when)]
        self._tell(
            RunKey("teacher", key),
            at=start,
            name=f"teacher {name}",
            params=params,
            tags={"kind": "teacher", OUTCOME_TAG: "complete"} | _note(description),
            points=[*points, *final_points(metrics, end)],
            status="FINISHED",
            ended_at=end,
        )

    def trial_started(
        self,
        number: int,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
    ) -> None:
        """Opens a trial's run; see `Tracker`."""
        self._open_trials.add(number)
        self._begun_trials.add(number)
        self._tell(
            _trial_run(number),
            name=name,
            run_id=run_id,
            params=params,
            tags=self._trial_tags("running", None) | dict(tags),
            status="RUNNING",
        )

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """Adds one epoch to a trial's curves; see `Tracker`."""
        at = _now_ms()
        self._tell(_trial_run(number), at=at, points=epoch_points(result, at))

    def trial_finished(
        self,
        number: int,
        status: str,
        reason: str | None,
        metrics: Mapping[str, float | None],
    ) -> None:
        """Closes a trial's run; see `Tracker`."""
        if number not in self._open_trials:
            return
        self._open_trials.discard(number)
        at = _now_ms()
        self._tell(
            _trial_run(number),
            at=at,
            tags=self._trial_tags(status, reason),
            points=final_points(metrics, at),
            status=TRIAL_STATUS.get(status, "FAILED"),
        )

    def trial_confirmed(
        self,
        number: int,
        metrics: Mapping[str, float | None],
        *,
        run_id: str | None = None,
        scored: bool = True,
    ) -> None:
        """Adds what the confirmation measured; see `Tracker`."""
        at = _now_ms()
        self._tell(
            _trial_run(number),
            at=at,
            run_id=run_id,
            tags=_CONFIRMED if scored else {},
            points=final_points(metrics, at),
        )

    def trial_replayed(self, trial: TrialResult) -> None:
        """Brings a trial's run to what the record says; see `Tracker`."""
        is_open = trial.status == "running"
        if trial.number in (self._begun_trials if is_open else self._open_trials):
            return  # its end, or its interruption, is told as it happens
        facts, (start, end) = trial_facts(trial), span(trial, _now_ms())
        outcome = "interrupted" if is_open else trial.status
        tags = self._trial_tags(outcome, INTERRUPTED if is_open else trial.reason)
        if trial.confirmed is not None:
            tags |= _CONFIRMED
        self._tell(
            _trial_run(trial.number),
            at=start,
            name=facts.name,
            run_id=trial.mlflow_run_id,
            params=facts.params,
            tags=tags | dict(facts.tags),
            points=[] if is_open else final_points(final_metrics(trial), end),
            status=TRIAL_STATUS.get(outcome, "FAILED"),
            ended_at=end,
            replay=curve_replay(trial.curve, start, end),
        )

    def trial_on_front(
        self,
        number: int,
        on_front: bool,
        model: StudentModel | None = None,
        *,
        run_id: str | None = None,
        description: str | None = None,
    ) -> None:
        """Marks a trial of the front, and shows its student as a model; see `Tracker`."""
        mark: dict[str, str | None] = {FRONT_TAG: FRONT_VALUE if on_front else None}
        mark |= _note(description)
        self._tell(
            _trial_run(number), run_id=run_id, tags=mark, model=model, gives_way=not on_front
        )

    def study_progress(self, trials: int, metrics: Mapping[str, float | None]) -> None:
        """Adds a point to curves of the whole study; see `Tracker`."""
        at = _now_ms()
        self._tell(STUDY_RUN, at=at, points=points_of(metrics, trials, at))

    def progress_replayed(self, curve: Iterable[Covered]) -> None:
        """Adds what the study's curve lacks; see `Tracker`."""
        points = [Point("hypervolume", c.hypervolume, c.trials, c.at) for c in curve]
        self._tell(STUDY_RUN, replay=Replay(None, lambda: points))

    def study_finished(
        self,
        status: str,
        metrics: Mapping[str, float | None],
        artifacts: Iterable[Path] = (),
        checkpoints: Iterable[Path] = (),
        *,
        description: str | None = None,
        at: str | None = None,
    ) -> None:
        """Closes the study's run and what is open below it; see `Tracker`."""
        for number in sorted(self._open_trials):
            self.trial_finished(number, "interrupted", f"the study ended: {status}", {})
        self._study_open = False
        end = milliseconds(at) or _now_ms()
        files = [(path, "report") for path in artifacts]
        files += [(path, f"{STUDENTS}{path.parent.name}") for path in checkpoints]
        self._tell(
            STUDY_RUN,
            at=end,
            tags={OUTCOME_TAG: status} | _note(description),
            points=final_points(metrics, end),
            status=STUDY_STATUS.get(status, "FAILED"),
            files=files,
        )

    def wait(self, patience: float, watch: Callable[[], None] = lambda: None) -> DeliveryReport:
        """Waits for what was told; see `Tracker`."""
        load_mlflow()  # its seconds are not those of an MLflow that keeps silent
        return self._delivery.wait(patience, watch)

    def close(self, timeout: float, watch: Watch = lambda done, total: None) -> DeliveryReport:
        """Delivers what still waits; see `Tracker`."""
        if self._study_open:
            self.study_finished("interrupted", {})
        return self._delivery.close(timeout, watch)

    def _tell(
        self,
        run: RunKey,
        *,
        at: int | None = None,
        name: str | None = None,
        run_id: str | None = None,
        params: Mapping[str, Any] = _EMPTY,
        tags: Mapping[str, str | None] = _EMPTY,
        points: Sequence[Point] = (),
        status: RunStatus | None = None,
        ended_at: int | None = None,
        files: Sequence[tuple[Path, str]] = (),
        model: StudentModel | None = None,
        replay: Replay | None = None,
        gives_way: bool = False,
    ) -> None:
        """Queues one update; nothing can be told before the study is, nor after the close."""
        if not self._study_name:
            return
        update = RunUpdate(
            run=run,
            at=_now_ms() if at is None else at,
            name=name,
            run_id=run_id if run.kind == "study" or self._ids_are_known else None,
            params={key: str(value) for key, value in params.items() if value is not None},
            tags=tags,
            points=points,
            status=status,
            ended_at=ended_at,
            files=files,
            data=self._data if name else None,
            model=model,
            replay=replay,
            gives_way=gives_way,
        )
        self._delivery.put(update)
        self._delivery.hand_back()

    def _trial_tags(self, outcome: str, reason: str | None) -> dict[str, str | None]:
        """What every trial is tagged with; a trial that goes on loses its reason to have ended."""
        tags: dict[str, str | None] = {"kind": "trial", "study": self._study_name}
        why = {NOTE_TAG: f"{outcome}: {reason}"} if reason else {}
        return tags | {OUTCOME_TAG: outcome, REASON_TAG: reason or None} | why

    def _connect(self) -> RunStore:
        """Opens the store. On the delivery thread."""
        # A database leaves the choice of a folder to its client; a server makes its own.
        served = urlsplit(self._uri).scheme in SERVERS
        location = None if served else (self._artifact_root / self._space_name).absolute().as_uri()
        store = connect(
            self._uri,
            ExperimentSpec(
                name=self._space_name,
                description=f"Students of the search space `{self._space_name}`: one run a study, "
                "its trials nested below it.",
                artifact_location=location,
                study_key=self._study_key,
            ),
            self._delivery.heard,
        )
        self._experiment_id = store.experiment_id
        return store


def _trial_run(number: int) -> RunKey:
    return RunKey("trial", trial_name(number))


def _note(description: str | None) -> dict[str, str]:
    """The tag of a run's description, if it has one."""
    return {NOTE_TAG: description} if description else {}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
