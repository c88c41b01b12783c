"""Runs in MLflow: an experiment a space, a run a study, its trials nested below it.

The only module that speaks to MLflow, always on the delivery thread, and through an explicit
client: the process's own tracking URI and active run are left as they are.
"""

import contextlib
import fcntl
import getpass
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from study.tracking_delivery import STUDY_RUN, PendingRun, Point, Refused, RunKey

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Set where the user has not: a server that does not answer is to be noticed within seconds (the
# delivery thread has a back-off of its own), a study does not call home on its user's behalf, and
# the terminal belongs to the study (the client prints two lines and asks twice more a run).
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
QUIET_LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool")

# MLflow's limits on one request, and on what it stores.
METRICS_A_BATCH = 800
PARAMS_A_BATCH = 100
LONGEST_NAME = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 8000

# Error codes that another try will not change. All else is taken for a store that is away.
REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)

# What a run whose id was lost is found by: the study by its key, a teacher by its own, a trial by
# its number below its study.
STUDY_KEY_TAG = "study_key"
TEACHER_KEY_TAG = "teacher_key"
TRIAL_TAG = "trial"
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """The experiment that runs go to, made when it is not there.

    Attributes:
        name: the experiment's name.
        description: shown on its page, Markdown.
        artifact_location: URI of the folder for its files; None leaves the choice to the server.
        study_key: what tells this study from any other, also from one of the same name; its run
            is found by it when the id was lost.
    """

    name: str
    description: str
    artifact_location: str | None
    study_key: str


def connect(tracking_uri: str, experiment: ExperimentSpec) -> "MlflowStore":
    """Imports MLflow, opens the store and finds or makes the experiment. Blocks; may raise.

    A new SQLite database takes MLflow one to five seconds to lay out.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="alembic")
    with _alone(tracking_uri):
        return MlflowStore(MlflowClient(tracking_uri=tracking_uri), experiment)


@contextlib.contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Keeps other drivers from laying out the same SQLite database at the same time.

    MLflow does not guard against it: one of the two finds half of the tables there already.
    """
    if not tracking_uri.startswith("sqlite:///"):
        yield
        return
    folder = Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)  # a lock on the folder leaves no file behind
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class MlflowStore:
    """Delivers pending runs; every step of it may be repeated without doubling anything.

    Points carry the time of the driver's call, so the very same point sent twice is one row in
    MLflow. A run is looked for by its own tags whenever an earlier attempt, or an earlier session,
    may have created it already.
    """

    def __init__(self, client: "MlflowClient", experiment: ExperimentSpec) -> None:
        self._client = client
        self._experiment = experiment
        self._experiment_id = self._find_experiment()
        self._ids: dict[RunKey, str] = {}
        self._existed: dict[RunKey, Run] = {}
        self._attempted: set[RunKey] = set()
        self._last_steps: dict[tuple[RunKey, str], int] = {}

    @property
    def experiment_id(self) -> str:
        """The id MLflow gave the experiment."""
        return self._experiment_id

    def deliver(self, key: RunKey, pending: PendingRun) -> str:
        """Brings one run up to date: opens it, logs in batches, closes it, then sends its files.

        Raises:
            Refused: MLflow answered that it will not take this.
            Exception: MLflow did not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._deliver(key, pending)
        except MlflowException as error:
            if error.error_code in REFUSALS:
                raise Refused(str(error)) from error
            raise

    def _deliver(self, key: RunKey, pending: PendingRun) -> str:
        run_id = self._ids.get(key)
        if run_id is None:
            run_id = self._ids[key] = self._open(key, pending)
        existed = self._existed.get(key)
        if existed is not None and key.kind == "teacher" and existed.info.status == "FINISHED":
            return run_id
        self._log(key, run_id, pending)
        if pending.status == "RUNNING":
            if existed is not None:
                self._client.update_run(run_id, status="RUNNING")
        elif pending.status is not None:
            self._client.set_terminated(run_id, pending.status, pending.ended_at)
        for path, folder in pending.files:
            if path.exists():
                self._client.log_artifact(run_id, str(path), folder)
        return run_id

    def _open(self, key: RunKey, pending: PendingRun) -> str:
        """The id of a run: the one that is there already, or a new one."""
        found = self._find(key, pending.run_id)
        if found is not None:
            self._existed[key] = found
            return str(found.info.run_id)
        tags = self._identity(key) | _origin()
        self._attempted.add(key)
        run = self._client.create_run(
            self._experiment_id, pending.started_at, tags, pending.name or key.name
        )
        return str(run.info.run_id)

    def _find(self, key: RunKey, run_id: str | None) -> "Run | None":
        """A run made by an earlier session or by an attempt whose answer was lost."""
        from mlflow.exceptions import MlflowException

        if run_id is not None:
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    raise
            else:
                if run.info.lifecycle_stage == "active":
                    return run
        fresh_trial = key.kind == "trial" and STUDY_RUN not in self._existed
        if fresh_trial and key not in self._attempted:
            return None
        words = [f"tags.`{tag}` = '{value}'" for tag, value in self._identity(key).items()]
        runs = self._client.search_runs([self._experiment_id], " and ".join(words), max_results=1)
        return runs[0] if runs else None

    def _identity(self, key: RunKey) -> dict[str, str]:
        """The tags that no other run of the experiment has."""
        if key.kind == "study":
            return {STUDY_KEY_TAG: self._experiment.study_key.replace("'", "")}
        if key.kind == "teacher":
            return {TEACHER_KEY_TAG: key.name}
        if STUDY_RUN not in self._ids:
            raise Refused("the run of its study was refused")
        return {TRIAL_TAG: str(key.number), PARENT_TAG: self._ids[STUDY_RUN]}

    def _log(self, key: RunKey, run_id: str, pending: PendingRun) -> None:
        from mlflow.entities import Metric, Param, RunTag

        params, tags = dict(pending.params), dict(pending.tags)
        points: Sequence[Point] = pending.points
        existed = self._existed.get(key)
        if existed is not None:
            # MLflow's parameters cannot change: what a resumed study asks for anew becomes a tag.
            before = existed.data.params
            tags |= {
                f"resumed/{name}": value
                for name, value in params.items()
                if before.get(_name(name), value) != value[:LONGEST_PARAM]
            }
            params = {name: value for name, value in params.items() if _name(name) not in before}
            points = [point for point in points if self._is_new(key, existed, point)]
        batches = zip_longest(
            _chunks([Metric(p.key, p.value, p.timestamp, p.step) for p in points], METRICS_A_BATCH),
            _chunks(
                [Param(_name(k), v[:LONGEST_PARAM]) for k, v in params.items()], PARAMS_A_BATCH
            ),
            _chunks([RunTag(_name(k), v[:LONGEST_TAG]) for k, v in tags.items()], PARAMS_A_BATCH),
            fillvalue=(),
        )
        for some_metrics, some_params, some_tags in batches:
            self._client.log_batch(run_id, some_metrics, some_params, some_tags)

    def _is_new(self, key: RunKey, existed: "Run", point: Point) -> bool:
        """Whether a run from an earlier session lacks a point."""
        before = existed.data.metrics.get(point.key)
        if before is None:
            return True
        if point.step == 0:
            return bool(before != point.value)
        place = (key, point.key)
        if place not in self._last_steps:
            history = self._client.get_metric_history(existed.info.run_id, point.key)
            self._last_steps[place] = max(metric.step for metric in history)
        return point.step > self._last_steps[place]

    def _find_experiment(self) -> str:
        """The id of the experiment, made when it is not there; another driver may be quicker."""
        from mlflow.exceptions import MlflowException

        spec = self._experiment
        tags = {NOTE_TAG: spec.description, "mlflow.experimentKind": "custom_model_development"}
        for _ in range(2):
            found = self._client.get_experiment_by_name(spec.name)
            if found is not None and found.lifecycle_stage != "active":
                raise Refused(
                    f"experiment {spec.name!r} was deleted there; to have it back: "
                    f"mlflow experiments restore --experiment-id {found.experiment_id}"
                )
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(self._client.create_experiment(spec.name, spec.artifact_location, tags))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        raise Refused(f"experiment {spec.name!r} can neither be found nor made")


def _origin() -> dict[str, str]:
    """What and who started the study, for MLflow's columns of those names."""
    tags = {"mlflow.source.name": "study.launch", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a user without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _name(text: str) -> str:
    """A name MLflow takes: one strange character would have it refuse the whole batch."""
    return re.sub(r"[^\w\-. :/]", "_", text)[:LONGEST_NAME]


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
