"""The model registry of a study's MLflow: a student becomes the next version of a model there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.formatting import without_password
from analysis.record import StudyResults
from analysis.results import TrialResult
from study.commands import command
from study.plan import PlanError
from study.tracking.client import load_mlflow
from study.tracking.models import register, show_model
from study.tracking.notes import student_model, version_line
from study.tracking.tracker import NO_TRACKING, default_tracking_uri

_NOT_IN_NAMES = "/:"


class RegistryError(RuntimeError):
    """MLflow did not take a student; its file is written all the same."""


def check_registry(
    results: StudyResults, trial: TrialResult, name: str, studies: Path
) -> Mapping[str, str]:
    """Say where a student is to be registered: the study's MLflow and its trial's run there.

    Raises:
        PlanError: if the study is in no MLflow, or MLflow takes no such name.
    """
    study = results.plan.name
    if not _is_name(name):
        raise PlanError(
            f"--register {name!r}: MLflow names a model without any of {' '.join(_NOT_IN_NAMES)}, "
            f"and none like . or ..; try {study}"
        )
    known = results.mlflow
    if known is None or trial.mlflow_run_id is None:
        uri = results.plan.plan.get("tracking_uri")
        where = ("--tracking-uri", default_tracking_uri(studies)) if uri == NO_TRACKING else ()
        raise PlanError(
            f"--register {name}: {trial.name} is not in MLflow yet; "
            f"{command('sync', studies / study, *where)} brings it there"
        )
    return {
        "uri": str(known["tracking_uri"]),
        "experiment": str(known["experiment_id"]),
        "run": trial.mlflow_run_id,
    }


def _is_name(text: str) -> bool:
    """Whether MLflow takes a text for the name of a model, as it takes the name of any study."""
    is_folder = text == "." or text.startswith("..")
    return bool(text.strip()) and not is_folder and not set(_NOT_IN_NAMES) & set(text)


def register_student(
    results: StudyResults,
    trial: TrialResult,
    program: Path,
    takes: str,
    direction: str,
    name: str,
    where: Mapping[str, str],
) -> dict[str, Any]:
    """Make a student the next version of a registered model, unless its file is one already.

    The version is of this very file, also where the run has a model made of another one.

    Args:
        results: The study.
        trial: Whose student.
        program: The student as a pt2 file.
        takes: What images come as.
        direction: Of students of pairs, which translation it is: `x_to_y` or `y_to_x`.
        name: Of the registered model.
        where: From :func:`check_registry`.

    Returns:
        ``name``, ``version`` and the ``uri`` to load it by.

    Raises:
        RegistryError: if MLflow does not answer, or refuses.
    """
    load_mlflow()
    import mlflow
    from mlflow import MlflowClient

    before = mlflow.get_tracking_uri()
    try:
        # A registry in a database looks the student up where the process tracks, not the client.
        mlflow.set_tracking_uri(where["uri"])
        client = MlflowClient(tracking_uri=where["uri"], registry_uri=where["uri"])
        model = student_model(results.plan, trial, program, takes, direction)
        shown = show_model(client, where["experiment"], where["run"], model, exact=True)
        about = version_line(results.plan, trial, model.direction)
        made = register(client, shown, name, about)
    except Exception as error:  # MLflow's client raises of many kinds, requests' among them
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise RegistryError(
            f"MLflow at {without_password(where['uri'])} did not take it ({first}); the file is "
            f"written: {program}"
        ) from error
    finally:
        mlflow.set_tracking_uri(before)
    return {"name": name, "version": str(made.version), "uri": f"models:/{name}/{made.version}"}
