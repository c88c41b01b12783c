"""The tracker that tells MLflow: what the driver says, as changes to runs.

An experiment holds the studies of one space. A study is a run there, its trials are runs nested
below it, and a teacher, which several studies may share, is a run beside it.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.results import trial_name
from study.tracking import SERVERS, Tracker, without_password
from study.tracking_delivery import (
    GATHER_SECONDS,
    STUDY_RUN,
    Delivery,
    DeliveryReport,
    OnRun,
    Point,
    RunKey,
    RunStatus,
    RunStore,
    RunUpdate,
)
from study.tracking_store import NOTE_TAG, ExperimentSpec, connect

# MLflow's metric of a curve, by the field of an epoch's result it shows. The step is the epoch.
CURVES: Final = {
    "val_accuracy": "val_accuracy",
    "val_loss": "val_loss",
    "train_loss": "train_loss",
    "learning_rate": "learning_rate",
    "seconds": "epoch_seconds",
}
FINAL: Final = "final/"  # set before the name of a value that has no curve

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
    "interrupted": "KILLED",
}

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
        self._open_trials: set[int] = set()
        self._study_open = False

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
    ) -> None:
        """Opens the study's run; see `Tracker`."""
        self._study_name, self._space_name, self._study_key = name, space_name, study_key
        self._study_open = True
        self._tell(
            STUDY_RUN,
            name=name,
            run_id=run_id,
            params=params,
            tags={"kind": "study", "study": name, "outcome": "running", NOTE_TAG: description}
            | dict(tags),
            status="RUNNING",
        )

    def teacher_trained(
        self,
        key: str,
        name: str,
        params: Mapping[str, Any],
        curve: Iterable[Mapping[str, Any]],
        metrics: Mapping[str, float | None],
    ) -> None:
        """Shows the teacher; see `Tracker`. Its run is dated by the seconds its epochs took."""
        end = _now_ms()
        epochs = [dict(result) for result in curve]
        times = [end]
        for result in reversed(epochs):
            times.append(times[-1] - round(1000 * float(result.get("seconds") or 0.0)))
        times.reverse()
        run = RunKey("teacher", key)
        tags = {"kind": "teacher", "outcome": "complete"}
        self._tell(run, at=times[0], name=f"teacher {name}", params=params, tags=tags)
        for result, at in zip(epochs, times[1:], strict=True):
            self._tell(run, at=at, points=_curve_points(result, at))
        self._tell(run, at=end, points=_final_points(metrics, end), status="FINISHED")

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
        own = {"kind": "trial", "study": self._study_name}
        self._tell(
            _trial_run(number),
            name=name,
            run_id=run_id,
            params=params,
            tags=own | {"outcome": "running"} | dict(tags),
            status="RUNNING",
        )

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """Adds one epoch to a trial's curves; see `Tracker`."""
        at = _now_ms()
        self._tell(_trial_run(number), at=at, points=_curve_points(result, at))

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
        why = {"reason": reason, NOTE_TAG: f"{status}: {reason}"} if reason else {}
        self._tell(
            _trial_run(number),
            at=at,
            tags={"outcome": status} | why,
            points=_final_points(metrics, at),
            status=TRIAL_STATUS.get(status, "FAILED"),
        )

    def trial_confirmed(
        self, number: int, metrics: Mapping[str, float | None], *, run_id: str | None = None
    ) -> None:
        """Adds what the confirmation measured; see `Tracker`."""
        at = _now_ms()
        self._tell(
            _trial_run(number),
            at=at,
            run_id=run_id,
            tags={"confirmed": "true"},
            points=_final_points(metrics, at),
        )

    def study_progress(self, trials: int, metrics: Mapping[str, float | None]) -> None:
        """Adds a point to curves of the whole study; see `Tracker`."""
        at = _now_ms()
        self._tell(STUDY_RUN, at=at, points=_points(metrics, trials, at))

    def study_finished(
        self,
        status: str,
        metrics: Mapping[str, float | None],
        artifacts: Iterable[Path] = (),
        checkpoints: Iterable[Path] = (),
        *,
        description: str | None = None,
    ) -> None:
        """Closes the study's run and what is open below it; see `Tracker`."""
        for number in sorted(self._open_trials):
            self.trial_finished(number, "interrupted", f"the study ended: {status}", {})
        self._study_open = False
        at = _now_ms()
        files = [(path, "report") for path in artifacts]
        files += [(path, f"students/{path.parent.name}") for path in checkpoints]
        self._tell(
            STUDY_RUN,
            at=at,
            tags={"outcome": status} | ({NOTE_TAG: description} if description else {}),
            points=_final_points(metrics, at),
            status=STUDY_STATUS.get(status, "FAILED"),
            files=files,
        )

    def close(self, timeout: float) -> DeliveryReport:
        """Delivers what still waits; see `Tracker`."""
        if self._study_open:
            self.study_finished("interrupted", {})
        return self._delivery.close(timeout)

    def _tell(
        self,
        run: RunKey,
        *,
        at: int | None = None,
        name: str | None = None,
        run_id: str | None = None,
        params: Mapping[str, Any] = _EMPTY,
        tags: Mapping[str, str] = _EMPTY,
        points: Sequence[Point] = (),
        status: RunStatus | None = None,
        files: Sequence[tuple[Path, str]] = (),
    ) -> None:
        """Queues one update; nothing can be told before the study is, nor after the close."""
        if not self._study_name:
            return
        update = RunUpdate(
            run=run,
            at=_now_ms() if at is None else at,
            name=name,
            run_id=run_id,
            params={key: str(value) for key, value in params.items() if value is not None},
            tags=tags,
            points=points,
            status=status,
            files=files,
        )
        self._delivery.put(update)
        self._delivery.hand_back()

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
        )
        self._experiment_id = store.experiment_id
        return store


def _trial_run(number: int) -> RunKey:
    return RunKey("trial", trial_name(number))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _curve_points(result: Mapping[str, Any], at: int) -> list[Point]:
    """The points of one epoch's result, an `EpochResult` as JSON."""
    step = int(result.get("epoch") or 0)
    return _points({CURVES[key]: result.get(key) for key in CURVES}, step, at)


def _final_points(metrics: Mapping[str, float | None], at: int) -> list[Point]:
    return _points({FINAL + key.removeprefix(FINAL): v for key, v in metrics.items()}, 0, at)


def _points(metrics: Mapping[str, Any], step: int, at: int) -> list[Point]:
    """Points of all values that are there and finite, NumPy's own numbers among them."""
    return [
        Point(key, float(value), step, at)
        for key, value in metrics.items()
        if isinstance(value, Real) and math.isfinite(value)
    ]
