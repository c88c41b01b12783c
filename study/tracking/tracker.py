"""A study as others see it: a view of the record that may be slow or gone, and stops nothing.

`open_tracker` gives the driver a `Tracker`; what it tells goes to MLflow, or nowhere.
"""

import difflib
import importlib.util
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.formatting import without_password
from analysis.results import TrialResult
from study.tracking.delivery import DeliveryReport, OnRun, Watch
from study.tracking.facts import Covered
from study.tracking.inputs import DataInput
from study.tracking.models import StudentModel

NO_TRACKING: Final = "none"
SERVERS: Final = ("http", "https", "databricks")
DRIVERS: Final = {"sqlite": "sqlite3", "postgresql": "psycopg", "mysql": "MySQLdb"}


class Tracker:
    """What the driver tells of a study. Every call returns at once, and none ever raises.

    `study_started` comes first. Values that are None or not finite are left out. The methods of
    this class keep nothing.
    """

    @property
    def experiment_id(self) -> str | None:
        """The id of the experiment; None until the study's run is there."""
        return None

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
        """Opens the study's run, or opens it again on a resume.

        Args:
            name: the study's name, and its run's.
            space_name: the search space, and the experiment.
            description: what the study is, Markdown; shown on the run's page. Nothing leaves the
                page as it is.
            params: the plan, flat.
            tags: further words to find the study by.
            study_key: the same on every resume and for no other study, not even one of the same
                name (such as name and time of creation): runs whose ids were lost are found by it.
            run_id: the run's id, when the record has it. None also says that what the record
                has of trials' ids was given by another MLflow: they are not used then.
            at: when the study began, ISO 8601; None for just now.
            is_running: False for a study that no driver is at work on, and whose record is only
                shown again: its run is not set running, and `close` does not end it.
            data: what its runs learn from, shown with each of them.
        """

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
        """Shows the teacher as a run of its own; a teacher that has its run gets no second one.

        What that run has stays; it is given what it has nothing of, such as a curve.

        Args:
            key: the teacher's key, of all that shaped it.
            name: what it is called, e.g. `ResNet-50 [3,4,6,3]`.
            params: its recipe, flat.
            curve: the results of its epochs; empty for one that was loaded.
            metrics: values without a curve; they get the prefix `final/`.
            description: what it is, Markdown; shown on its page.
            at: when it was ready, ISO 8601; None for just now.
        """

    def trial_started(
        self,
        number: int,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
    ) -> None:
        """Opens a trial's run below the study's, or, given its id, opens it again.

        Epochs that a run opened again has already are not logged a second time.
        """

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """Adds one epoch, an `EpochResult` as JSON, to a trial's curves."""

    def trial_finished(
        self,
        number: int,
        status: str,
        reason: str | None,
        metrics: Mapping[str, float | None],
    ) -> None:
        """Closes a trial's run, once: a trial that is not open is left as it is.

        Args:
            number: the trial.
            status: a key of `TRIAL_STATUS`.
            reason: why it was stopped, infeasible or failed.
            metrics: values without a curve; they get the prefix `final/`.
        """

    def trial_confirmed(
        self,
        number: int,
        metrics: Mapping[str, float | None],
        *,
        run_id: str | None = None,
        scored: bool = True,
    ) -> None:
        """Adds what the confirmation measured to a closed trial, also one of an earlier session.

        Args:
            number: the trial.
            metrics: all its final values.
            run_id: its run's id, when the record has it.
            scored: whether it was itself confirmed, or only timed: another of its architecture was.
        """

    def trial_replayed(self, trial: TrialResult) -> None:
        """Brings the run of a trial that nobody works on to what the record says of it.

        The run is looked for by its recorded id, then by its tags, and made if there is none. What
        it has already is not sent again; one that has everything costs no request of its own. A
        run that is made is dated by the record. A trial without an outcome is interrupted; one that
        this tracker has opened is left as it is.
        """

    def trial_on_front(
        self,
        number: int,
        on_front: bool,
        model: StudentModel | None = None,
        *,
        run_id: str | None = None,
        description: str | None = None,
    ) -> None:
        """Marks a trial as one of the front or of none, and shows its student as a model.

        A model that is there already stays.

        Args:
            number: the trial, which has ended.
            on_front: whether it is on the study's front.
            model: its student, where it is to be shown.
            run_id: its run's id, when the record has it.
            description: what it reached, beginning with `FRONT_NOTE`; shown on its page unless
                somebody has described it. One that leaves the front loses it.
        """

    def study_progress(self, trials: int, metrics: Mapping[str, float | None]) -> None:
        """Adds a point to curves of the whole study, such as `hypervolume`, over its trials."""

    def progress_replayed(self, curve: Iterable[Covered]) -> None:
        """Adds the points that the study's curve `hypervolume` lacks."""

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
        """Closes the study's run, and the runs of trials that are still open as interrupted.

        Args:
            status: a key of `STUDY_STATUS`; any other closes the run as FAILED.
            metrics: values of the whole study; they get the prefix `final/`.
            artifacts: files (or folders) of the report, kept under `report/`.
            checkpoints: students of the front, kept under `students/` with their folder's name.
            description: takes the place of the description given at the start.
            at: when it ended, ISO 8601; None for just now.
        """

    def wait(self, patience: float, watch: Callable[[], None] = lambda: None) -> DeliveryReport:
        """Waits until all that was told is delivered or refused, and hands run ids back meanwhile.

        Args:
            patience: gives up once nothing has been answered for so long (s).
            watch: called again and again while it waits.
        """
        return DeliveryReport(0, 0)

    def close(self, timeout: float, watch: Watch = lambda done, total: None) -> DeliveryReport:
        """Delivers what still waits, for at most `timeout` seconds. The tracker is then done.

        A study that was not finished is closed as interrupted.

        Args:
            timeout: how long (s).
            watch: told again and again how many updates of how many are settled.
        """
        return DeliveryReport(0, 0)


class NullTracker(Tracker):
    """Keeps nothing: `--tracking-uri none`."""


def default_tracking_uri(studies: Path) -> str:
    """The database among the studies: `sqlite:///STUDIES/mlflow.db`, with an absolute path."""
    return f"sqlite:///{studies.absolute() / 'mlflow.db'}"


def open_tracker(
    tracking_uri: str, studies: Path, warn: Callable[[str], None], on_run: OnRun
) -> Tracker:
    """The tracker for a URI; its files go to STUDIES/mlartifacts unless a server keeps them."""
    if tracking_uri == NO_TRACKING:
        return NullTracker()
    from study.tracking.mlflow import MlflowTracker

    return MlflowTracker(tracking_uri, studies / "mlartifacts", warn, on_run)


def check_tracking_uri(uri: str) -> str | None:
    """What is wrong with a tracking URI and how to mend it, in one line; None when nothing is.

    Looks at the words alone, imports nothing of MLflow and asks no server.
    """
    if uri in (NO_TRACKING, "databricks"):
        return None
    parts, shown = urlsplit(uri), without_password(uri)
    dialect, _, driver = parts.scheme.partition("+")
    if not parts.scheme or dialect == "file":
        folder = parts.path.rstrip("/") or "."
        return (
            f"tracking URI {shown!r} is a folder, and MLflow no longer keeps runs in plain "
            f"folders: use a database in it, sqlite:///{folder}/mlflow.db, or 'none'"
        )
    if dialect in SERVERS:
        if dialect != "databricks" and not parts.hostname:
            return f"tracking URI {shown!r} names no host: write {dialect}://HOST:PORT"
        return None
    if dialect not in DRIVERS:
        known = [*DRIVERS, *SERVERS, NO_TRACKING]
        nearest = difflib.get_close_matches(dialect, known, n=1, cutoff=0.5) or ["sqlite"]
        return (
            f"tracking URI {shown!r} has the scheme {parts.scheme!r}, did you mean {nearest[0]!r}? "
            f"(MLflow takes {', '.join(known[:-1])}; {NO_TRACKING!r} turns tracking off)"
        )
    if dialect == "sqlite" and parts.path.strip("/") in ("", ":memory:"):
        return f"tracking URI {shown!r} names no file: write sqlite:///FOLDER/mlflow.db"
    module = driver or DRIVERS[dialect]
    if importlib.util.find_spec(module) is None:
        return (
            f"tracking URI {shown!r} needs the Python module {module!r}: install it beside MLflow"
        )
    return None


def run_page(server_uri: str, experiment_id: str, run_id: str) -> str:
    """The address of a run's page; without the last word MLflow 3 shows its pages for agents."""
    run = f"{server_uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
    return f"{run}?workflowType=machine_learning"


def where_to_look(mlflow: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Labelled lines that lead to a study's page, by its record's entry.

    The page on a server; of a database the command that serves it, and the page there.
    """
    uri, run = str(mlflow["tracking_uri"]), (mlflow["experiment_id"], mlflow["run_id"])
    shown, scheme = without_password(uri), urlsplit(uri).scheme
    if scheme in ("http", "https"):
        return [("MLflow", run_page(shown, *run))]
    if scheme == "databricks" or uri == "databricks":
        return [("MLflow", f"{shown}, experiment {run[0]}, run {run[1]}")]
    command = f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
    return [("MLflow", command), ("", f"then open {run_page('http://127.0.0.1:5000', *run)}")]
