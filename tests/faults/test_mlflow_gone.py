"""An MLflow server that is dead, or dies in the middle of a study, costs the study nothing."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from study.tracking import Tracker, open_tracker

if TYPE_CHECKING:
    from conftest import MlflowServer

pytestmark = pytest.mark.faults


def epoch_result(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "val_loss": 2.1 / epoch,
        "val_accuracy": 50.0 + epoch,
        "learning_rate": 0.1 / epoch,
        "seconds": 1.5,
    }


def run_trial(tracker: Tracker, number: int, epochs: int) -> None:
    tracker.trial_started(number, f"t{number:04d}", {"temperature": 4.0}, {})
    for epoch in range(1, epochs + 1):
        tracker.epoch(number, epoch_result(epoch))
    tracker.trial_finished(number, "complete", None, {"val_accuracy": 50.0 + epochs})


def wait_for(condition: Callable[[], bool], tracker: Tracker) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
        tracker.study_progress(1, {})  # notices are handed back within a call


def test_a_dead_server_costs_the_driver_nothing_and_one_warning(
    tmp_path: Path, free_port: int
) -> None:
    warnings: list[str] = []
    runs: list[Any] = []
    uri = f"http://127.0.0.1:{free_port}"
    tracker = open_tracker(uri, tmp_path, warnings.append, lambda *run: runs.append(run))
    start = time.monotonic()
    tracker.study_started("first", "space", "", {}, {}, study_key="dead")
    for number in range(20):
        run_trial(tracker, number, epochs=8)
    tracker.study_finished("complete", {})
    assert time.monotonic() - start < 1.0
    time.sleep(1.0)
    start = time.monotonic()
    report = tracker.close(timeout=4.0)
    assert time.monotonic() - start < 6.0
    assert (report.delivered, report.undelivered) == (0, 202)
    assert report.warning is not None
    assert "202 of 202 updates did not reach MLflow" in report.warning
    (warning,) = warnings
    assert "Connection refused" in warning
    assert runs == []
    tracker.epoch(0, epoch_result(1))  # after the close: ignored


def test_a_server_that_dies_and_comes_back_has_everything_once(
    mlflow_server: "Callable[[Path], MlflowServer]",
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = mlflow_server(tmp_path)
    warnings: list[str] = []
    runs: dict[int | None, str] = {}

    def on_run(kind: str, number: int | None, run_id: str) -> None:
        runs[number] = run_id

    tracker = open_tracker(server.uri, tmp_path / "unused", warnings.append, on_run)
    tracker.study_started("first", "comes and goes", "", {}, {}, study_key="back")
    run_trial(tracker, 0, epochs=2)
    tracker.trial_started(1, "t0001", {"temperature": 4.0}, {})
    tracker.epoch(1, epoch_result(1))
    wait_for(lambda: set(runs) == {None, 0, 1}, tracker)

    server.kill()
    for epoch in (2, 3):
        tracker.epoch(1, epoch_result(epoch))
    run_trial(tracker, 2, epochs=3)
    wait_for(lambda: bool(warnings), tracker)
    tracker.trial_finished(1, "stopped", "rung 1", {"val_accuracy": 53.0})
    report = tmp_path / "index.html"
    report.write_text("<h1>front</h1>")
    tracker.study_finished("complete", {"hypervolume": 0.7}, [report])

    server.start()
    closing = tracker.close(timeout=60)
    assert closing.undelivered == 0
    assert closing.warning is None
    assert len(warnings) == 1
    assert capfd.readouterr() == ("", "")

    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("comes and goes")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id for run in found} == set(runs.values())
    assert len(found) == 4
    outcomes = {run.data.tags.get("trial"): run.data.tags["outcome"] for run in found}
    assert outcomes == {None: "complete", "0": "complete", "1": "stopped", "2": "complete"}
    assert {run.info.status for run in found} == {"FINISHED"}
    for number, epochs in ((0, 2), (1, 3), (2, 3)):
        history = client.get_metric_history(runs[number], "val_accuracy")
        assert sorted((m.step, m.value) for m in history) == [
            (epoch, 50.0 + epoch) for epoch in range(1, epochs + 1)
        ]
    assert [f.path for f in client.list_artifacts(runs[None], "report")] == ["report/index.html"]
