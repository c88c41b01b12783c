"""`python -m study export` on a finished study, and what a study's end leaves in MLflow."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launching import Launched
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from study.tracking.tracker import default_tracking_uri

pytestmark = pytest.mark.end_to_end
REPOSITORY = Path(__file__).parents[2]


def export(finished: Launched, *arguments: str) -> "subprocess.CompletedProcess[str]":
    where = ("--studies", str(finished.studies))
    return subprocess.run(
        [sys.executable, "-m", "study", "export", "small", *arguments, *where],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def best(finished: Launched) -> dict[str, Any]:
    """The most accurate student of the front."""
    front: list[dict[str, Any]] = finished.result["front"]
    return max(front, key=lambda member: member["val_score"])


def test_a_student_leaves_as_onnx_and_scores_as_it_did(
    finished: Launched, best: dict[str, Any], tmp_path: Path
) -> None:
    import numpy as np
    import onnxruntime

    from study.distillation.data import load

    run = export(
        finished, "--trial", str(best["trial"]), "--json", "--output", str(tmp_path / "out")
    )

    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)
    assert made["evidence"]["agreement"]["agrees"]
    assert made["space_change"] is None
    assert made["evidence"]["agreement"]["same_class"] == 1.0
    assert [each["batch"] for each in made["evidence"]["timings"]] == [1, 64]
    plan = json.loads((finished.studies / "small" / "plan.json").read_text())
    data = load("digits", None, cache_dir=None, image_size=plan["plan"]["image_size"])
    session = onnxruntime.InferenceSession(made["file"])
    images = np.ascontiguousarray(data.test.images.transpose(0, 3, 1, 2))
    (logits,) = session.run(None, {"images": images})
    accuracy = 100 * float((logits.argmax(axis=1) == data.test.labels).mean())
    assert accuracy == pytest.approx(best["test_score"], abs=0.3)  # an image is 0.28 %
    assert f"{best['test_score']:.2f}" in Path(made["card"]).read_text()


def test_the_front_is_in_mlflow_as_models_and_the_chosen_one_is_registered(
    finished: Launched, best: dict[str, Any], tmp_path: Path
) -> None:
    client = MlflowClient(default_tracking_uri(finished.studies))
    (experiment,) = client.search_experiments(filter_string="name = 'cifar_blocks'")
    before = client.search_logged_models([experiment.experiment_id])

    chosen = ("--trial", str(best["trial"]), "--output", str(tmp_path))
    run = export(finished, *chosen, "--register", "small-digits", "--json")

    assert run.returncode == 0, run.stderr
    students = {m.tags["trial"]: m for m in before if m.model_type == "student"}
    assert {f"t{m['trial']:04d}" for m in finished.result["front"]} == set(students)
    assert {model.status for model in students.values()} == {LoggedModelStatus.READY}
    made = json.loads(run.stdout)
    registered = made["registered"]
    assert registered == {"name": "small-digits", "version": "1", "uri": "models:/small-digits/1"}
    version = client.get_model_version("small-digits", "1")
    model = client.get_logged_model(str(version.source).removeprefix("models:/"))
    of_front = students[f"t{best['trial']:04d}"]
    assert model.tags["student_run"] == of_front.tags["student_run"]
    kept = Path(model.artifact_location.removeprefix("file://")) / "data" / "model.pt2"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == made["sha256"]
    marked = client.search_runs([experiment.experiment_id], "tags.front = 'yes'")
    assert {run.data.tags["trial"] for run in marked} == {
        str(member["trial"]) for member in finished.result["front"]
    }
