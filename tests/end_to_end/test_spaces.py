"""A study of each space from the command line, on real data, as small as it can be."""

import json

import pytest
from launching import BRIEF, Launcher

from analysis.record import read_record

pytestmark = pytest.mark.end_to_end


def test_dense_students_learn_from_a_dense_teacher_and_its_one_view(
    launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    studies = tmp_path_factory.mktemp("dense") / "studies"
    run = launcher.run(
        *BRIEF,
        *("--space", "mnist_dense", "--data", "digits", "--fix", "epochs=2", "--trials", "4"),
        *("--teacher-epochs", "6", "--tracking-uri", "none", "--json"),
        studies=studies,
    )

    assert run.returncode == 0, run.stderr
    assert run.result["front"]
    assert "computed once for 1 view\n" in run.stderr
    record = read_record(studies / "mnist_dense-digits")
    default, control = record.trials[:2]
    assert default.architecture == control.architecture == "300 units"
    assert (default.params["targets"], control.params["targets"]) == ("soft", "labels")
    assert (default.source, control.source) == ("preset", "control")
    assert all(trial.epochs_done == 2 for trial in record.trials if trial.status == "complete")
    assert record.teacher is not None
    assert record.teacher.name == "dense 128-128"
    assert record.teacher.test_score is not None
    assert record.teacher.test_score > 80
    plan = json.loads((studies / "mnist_dense-digits" / "plan.json").read_text())
    assert plan["space"]["augment"] is False
