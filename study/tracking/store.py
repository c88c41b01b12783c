"""Runs in MLflow: an experiment a space, a run a study, its trials nested below it.

Speaks to MLflow on the delivery thread alone, and through an explicit client: the process's own
tracking URI and active run are left as they are.
"""

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from study.tracking.client import attentive_client, load_mlflow, refusals
from study.tracking.delivery import STUDY_RUN, PendingRun, Refused, RunKey
from study.tracking.inputs import dataset_input, teacher_model
from study.tracking.models import StudentModel, show_model
from study.tracking.run import NOTE_TAG, OUTCOME_TAG, KnownRun, Lack, origin
from study.tracking.views import FRONT_TAG, view_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's limits on one request.
METRICS_A_BATCH = 800
PARAMS_A_BATCH = 100
RUNS_A_PAGE = 1000

# What a run whose id was lost is found by: the study by its key, a teacher by its own, a trial by
# its number below its study.
STUDY_KEY_TAG = "study_key"
TEACHER_KEY_TAG = "teacher_key"
TRIAL_TAG = "trial"
PARENT_TAG = "mlflow.parentRunId"

STUDENTS = "students/"  # the artifact folders of students, which never change once they are there

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


def connect(
    tracking_uri: str, experiment: ExperimentSpec, heard: Callable[[], None]
) -> "MlflowStore":
    """Imports MLflow, opens the store and finds or makes the experiment. Blocks; may raise.

    A new SQLite database takes MLflow one to five seconds to lay out.

    Args:
        tracking_uri: where to.
        experiment: the experiment.
        heard: called on this thread for each request or file that MLflow has answered.
    """
    load_mlflow()
    with _alone(tracking_uri):
        return MlflowStore(attentive_client(tracking_uri, heard), experiment)


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

    Points carry the time of the driver's call, or that of the record, so the very same point sent
    twice is one row in MLflow. A run is looked for by its own tags whenever an earlier attempt, or
    an earlier session, may have created it already.
    """

    def __init__(self, client: "MlflowClient", experiment: ExperimentSpec) -> None:
        self._client = client
        self._experiment = experiment
        self._experiment_id = self._find_experiment()
        self._runs: dict[RunKey, KnownRun] = {}
        self._attempted: set[RunKey] = set()
        self._trials: dict[str, list[Run]] | None = None

    @property
    def experiment_id(self) -> str:
        """The id MLflow gave the experiment."""
        return self._experiment_id

    def deliver(self, key: RunKey, pending: PendingRun) -> str:
        """Brings one run up to date: opens it, logs in batches, closes it, then sends its files.

        A student that it is to show as a model goes last. A file or a model that is refused holds
        nothing else up.

        Raises:
            Refused: MLflow answered that it will not take this.
            Exception: MLflow did not answer.
        """
        with refusals():
            return self._deliver(key, pending)

    def _deliver(self, key: RunKey, pending: PendingRun) -> str:
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = self._open(key, pending)
            self._forget_listed(key)
        run_id = run.run_id
        history = partial(self._client.get_metric_history, run_id)
        if key.kind == "teacher" and run.status == "FINISHED":
            self._log(run, run.still_lacks(pending, history))
            self._name_teacher(key, run_id, pending)
            return run_id
        if pending.data is not None and not run.has_data:
            self._client.log_inputs(run_id, [dataset_input(pending.data)])
            run.has_data = True
        lack = run.lacks(pending, history)
        if FRONT_TAG in pending.tags and NOTE_TAG in {*lack.tags, *lack.stale_tags}:
            # Somebody may have described it since it was opened.
            run.tags = dict(self._client.get_run(run_id).data.tags)
            lack = run.lacks(pending, history)
        self._log(run, lack)
        if pending.status == "RUNNING":
            if run.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
                run.status = "RUNNING"
        elif pending.status is not None and (
            run.status != pending.status or OUTCOME_TAG in lack.tags
        ):
            self._client.set_terminated(run_id, pending.status, pending.ended_at)
            run.ended(pending.status)
        self._send_files(run_id, pending)
        if key.kind == "teacher":
            self._name_teacher(key, run_id, pending)
        refused = pending.refused
        if pending.model is not None:
            try:
                self._show_model(run_id, pending.model)
            except Refused as error:
                refused = refused or str(error)
        if refused is not None:
            raise Refused(refused, run_id)  # the run has all else that it was told
        return run_id

    def _send_files(self, run_id: str, pending: PendingRun) -> None:
        """Sends one file after another, and none twice where a later one has to be tried again."""
        pending.files = list(_singly(pending.files))
        while pending.files:
            path, folder = pending.files[0]
            try:
                with refusals():
                    if path.exists() and not self._has_student(run_id, path, folder):
                        self._client.log_artifact(run_id, str(path), folder)
            except Refused as error:
                pending.refused = pending.refused or f"{path.name}: {error}"
            del pending.files[0]

    def _show_model(self, run_id: str, model: StudentModel) -> None:
        """Shows a student as a model; what is wrong with that alone is a refusal."""
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        if not model.program.is_file():
            raise Refused(f"there is no {model.program}")
        try:
            with refusals():
                show_model(self._client, self._experiment_id, run_id, model)
        except (Refused, MlflowException, RequestException, OSError):
            raise  # MLflow's word, or none: it may be away
        except Exception as error:
            raise Refused(f"no model: {error}") from error

    def _name_teacher(self, key: RunKey, run_id: str, pending: PendingRun) -> None:
        """Show the teacher as a model that the study's run was given."""
        from mlflow.entities import LoggedModelInput

        study = self._runs.get(STUDY_RUN)
        if study is None or study.has_teacher:
            return
        title = (pending.name or key.name).removeprefix("teacher ")
        model_id = teacher_model(self._client, self._experiment_id, run_id, key.name, title)
        self._client.log_inputs(study.run_id, models=[LoggedModelInput(model_id)])
        study.has_teacher = True

    def _open(self, key: RunKey, pending: PendingRun) -> KnownRun:
        """The run that is there already, or a new one."""
        found = self._find(key, pending.run_id)
        if found is not None:
            run = KnownRun.found(found)
            if key.kind == "trial":
                # A trial's run may outlive the run of its study.
                self._log(run, Lack([], {}, _differing(self._identity(key), run.tags), []))
            return run
        tags = self._identity(key) | origin()
        self._attempted.add(key)
        made = self._client.create_run(
            self._experiment_id, pending.started_at, tags, pending.name or key.name
        )
        return KnownRun(str(made.info.run_id), tags=tags)

    def _find(self, key: RunKey, run_id: str | None) -> "Run | None":
        """A run made by an earlier session or by an attempt whose answer was lost."""
        is_listed = key.kind == "trial" and key not in self._attempted
        if is_listed:
            runs = self._listed(key)
            same = [run for run in runs if run.info.run_id == run_id]
            if runs:
                return [*same, *runs][0]
        if run_id is not None and (recorded := self._get(run_id)) is not None:
            return recorded
        if is_listed:
            return None
        words = [f"tags.`{tag}` = '{value}'" for tag, value in self._identity(key).items()]
        found = self._client.search_runs([self._experiment_id], " and ".join(words), max_results=1)
        return found[0] if found else None

    def _get(self, run_id: str) -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _listed(self, key: RunKey) -> "list[Run]":
        """The runs of a trial below its study's, of all of which MLflow is asked once."""
        parent = self._identity(key)[PARENT_TAG]
        if self._trials is None:
            trials: dict[str, list[Run]] = defaultdict(list)
            token = "" if self._runs[STUDY_RUN].is_fresh else None
            while token != "":
                page = self._client.search_runs(
                    [self._experiment_id],
                    f"tags.`{PARENT_TAG}` = '{parent}'",
                    max_results=RUNS_A_PAGE,
                    page_token=token,
                )
                for run in page:
                    trials[run.data.tags.get(TRIAL_TAG, "")].append(run)
                token = page.token or ""
            self._trials = trials
        return self._trials.get(str(key.number), [])

    def _forget_listed(self, key: RunKey) -> None:
        """Frees what is kept of a trial's runs, once the one to write to is known."""
        if self._trials is not None and key.kind == "trial":
            self._trials.pop(str(key.number), None)

    def _identity(self, key: RunKey) -> dict[str, str]:
        """The tags that no other run of the experiment has."""
        if key.kind == "study":
            return {STUDY_KEY_TAG: self._experiment.study_key.replace("'", "")}
        if key.kind == "teacher":
            return {TEACHER_KEY_TAG: key.name}
        if STUDY_RUN not in self._runs:
            raise Refused("the run of its study was refused")
        return {TRIAL_TAG: str(key.number), PARENT_TAG: self._runs[STUDY_RUN].run_id}

    def _log(self, run: KnownRun, lack: Lack) -> None:
        """Sends what a run lacks, in batches; nothing if it lacks nothing."""
        from mlflow.entities import Metric, Param, RunTag

        batches = zip_longest(
            _chunks(lack.points, METRICS_A_BATCH),
            _chunks(list(lack.params.items()), PARAMS_A_BATCH),
            _chunks(list(lack.tags.items()), PARAMS_A_BATCH),
            fillvalue=(),
        )
        for points, params, tags in batches:
            self._client.log_batch(
                run.run_id,
                [Metric(p.key, p.value, p.timestamp, p.step) for p in points],
                [Param(name, value) for name, value in params],
                [RunTag(name, value) for name, value in tags],
            )
            run.took(points, dict(params), dict(tags))
        for name in lack.stale_tags:
            self._delete_tag(run.run_id, name)
            del run.tags[name]

    def _delete_tag(self, run_id: str, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_tag(run_id, name)
        except MlflowException as error:
            # It may have gone by an attempt whose answer was lost.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def _has_student(self, run_id: str, path: Path, folder: str) -> bool:
        """Whether a student is there whole: it is large, and does not change."""
        if not folder.startswith(STUDENTS):
            return False
        there = {file.path: file.file_size for file in self._client.list_artifacts(run_id, folder)}
        return there.get(f"{folder}/{path.name}") == path.stat().st_size

    def _find_experiment(self) -> str:
        """The id of the experiment, made when it is not there; another driver may be quicker."""
        from mlflow.exceptions import MlflowException

        spec = self._experiment
        views = view_tags()
        kind = {"mlflow.experimentKind": "custom_model_development"}
        tags = {NOTE_TAG: spec.description, **kind, **views}
        for _ in range(2):
            found = self._client.get_experiment_by_name(spec.name)
            if found is not None and found.lifecycle_stage != "active":
                raise Refused(
                    f"experiment {spec.name!r} was deleted there; to have it back: "
                    f"mlflow experiments restore --experiment-id {found.experiment_id}"
                )
            if found is not None:
                for name in views.keys() - found.tags.keys():  # of an earlier version
                    self._client.set_experiment_tag(found.experiment_id, name, views[name])
                return str(found.experiment_id)
            try:
                return str(self._client.create_experiment(spec.name, spec.artifact_location, tags))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        raise Refused(f"experiment {spec.name!r} can neither be found nor made")


def _singly(files: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    """Files, and each file of a folder, with the artifact folder that each goes to."""
    for path, folder in files:
        if not path.is_dir():
            yield path, folder
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file, f"{folder}/{file.relative_to(path.parent).parent.as_posix()}"


def _differing(tags: dict[str, str], held: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if held.get(name) != value}


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
