"""A study whose MLflow server is killed until it has ended, and one that never finds its server."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from evidence import (
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_mlflow_agrees,
    assert_sound,
    note,
)

from analysis.results import TrialResult

if TYPE_CHECKING:
    from conftest import MlflowServer

pytestmark = pytest.mark.faults


def warnings_in(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("warning: MLflow")]


def test_a_server_killed_to_the_end_of_a_study_stalls_nothing_and_gets_everything(
    patient: Callable[..., Patient],
    mlflow_server: "Callable[[Path], MlflowServer]",
    tmp_path: Path,
    whole: tuple[TrialResult, ...],
) -> None:
    server = mlflow_server(tmp_path)
    study = patient()
    study.hold(3)
    driver = study.start("--json", "--tracking-uri", server.uri)
    study.wait_for_epoch(0, 2)
    server.kill()
    study.release()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, errors
    assert len(warnings_in(errors)) == 1, errors
    assert "python -m study sync" in errors
    server.start()
    synced = study.verb("sync", "--json")
    assert synced.returncode == 0, synced.stderr
    assert_sound(study)
    assert_equal_studies(study, whole)
    assert study.epochs_lost() == 0
    note("MLflow server killed to the study's end", 0, 0, "test_mlflow_server.py -k to_the_end")


def test_a_server_that_was_never_there_is_warned_of_once_and_sync_delivers_elsewhere(
    patient: Callable[..., Patient],
    free_port: int,
    tmp_path: Path,
    whole: tuple[TrialResult, ...],
) -> None:
    study = patient()
    nobody = f"http://127.0.0.1:{free_port}"
    run = study.launch("--json", "--tracking-uri", nobody)

    assert run.returncode == 0, run.stderr
    assert len(warnings_in(run.stderr)) == 1, run.stderr
    assert_sound(study, mlflow=False)
    assert_equal_studies(study, whole)
    unreachable = study.verb("sync", "--timeout", "3")
    assert unreachable.returncode == 1
    assert nobody in unreachable.stderr
    synced = study.verb("sync", "--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--json")
    assert synced.returncode == 0, synced.stderr
    assert_mlflow_agrees(study.record())
    note("MLflow never there", 0, 0, "test_mlflow_server.py -k never_there")
