"""An MLflow server that is dead, or dies in the middle of a study, costs the study nothing.

What it missed, or what a killed driver took with it, `python -m study sync` brings there.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.record import read_record
from study.tracking.tracker import Tracker, open_tracker

if TYPE_CHECKING:
    from conftest import MlflowServer

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]


def epoch_result(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "val_loss": 2.1 / epoch,
        "val_score": 50.0 + epoch,
        "learning_rate": 0.1 / epoch,
        "seconds": 1.5,
    }


def run_trial(tracker: Tracker, number: int, epochs: int) -> None:
    tracker.trial_started(number, f"t{number:04d}", {"temperature": 4.0}, {})
    for epoch in range(1, epochs + 1):
        tracker.epoch(number, epoch_result(epoch))
    tracker.trial_finished(number, "complete", None, {"val_score": 50.0 + epochs})


def wait_for(condition: Callable[[], bool], tracker: Tracker) -> None:
    deadline = time.monotonic() + 300
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
    deadline = time.monotonic() + 300
    while not warnings:
        assert time.monotonic() < deadline
        tracker.wait(0.1)
    start = time.monotonic()
    report = tracker.close(timeout=4.0)
    assert time.monotonic() - start < 12.0
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
    tracker.trial_finished(1, "stopped", "rung 1", {"val_score": 53.0})
    report = tmp_path / "index.html"
    report.write_text("<h1>front</h1>")
    tracker.study_finished("complete", {"hypervolume": 0.7}, [report])

    server.start()
    closing = tracker.close(timeout=300)
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
        history = client.get_metric_history(runs[number], "val_score")
        assert sorted((m.step, m.value) for m in history) == [
            (epoch, 50.0 + epoch) for epoch in range(1, epochs + 1)
        ]
    assert [f.path for f in client.list_artifacts(runs[None], "report")] == ["report/index.html"]


# A driver that has told of half of its trials, and is killed with the other half in its queue.
KILLED_DRIVER = """
import os, signal, sys, time
from pathlib import Path
from analysis.stored_plan import read_plan
from study.record import StudyRecord
from study.tracking.facts import final_metrics, trial_facts
from study.tracking.session import open_study

folder, uri = Path(sys.argv[1]), sys.argv[2]
record = StudyRecord(folder, folder.name, None)
tracker = open_study(record, read_plan(folder / "plan.json"), uri, print)
for trial in record.trials():
    if trial.number == 6:
        assert tracker.wait(300).undelivered == 0
    facts = trial_facts(trial)
    tracker.trial_started(trial.number, facts.name, facts.params, facts.tags)
    for epoch in trial.curve:
        tracker.epoch(trial.number, epoch.to_json())
    if trial.number != 5:  # half-way at the moment of the kill
        tracker.trial_finished(trial.number, trial.status, trial.reason, final_metrics(trial))
os.kill(os.getpid(), signal.SIGKILL)
"""


def sync(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ("--studies", str(folder.parent), "--json", *arguments)
    return subprocess.run(
        [sys.executable, "-m", "study", "sync", folder.name, *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def trials_shown(client: MlflowClient) -> dict[str, Run]:
    experiment = client.get_experiment_by_name("cifar_blocks")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    shown = {run.data.tags["trial"]: run for run in runs}
    assert len(shown) == len(runs)
    return shown


def assert_as_recorded(client: MlflowClient, folder: Path) -> dict[str, Run]:
    """Each trial of the record has one run, with its outcome and every epoch once."""
    shown = trials_shown(client)
    for trial in read_record(folder).trials:
        run = shown[str(trial.number)]
        assert run.data.tags["outcome"] == trial.status
        assert run.info.status != "RUNNING"
        curve = client.get_metric_history(run.info.run_id, "val_score")
        assert sorted((m.step, m.value) for m in curve) == [
            (epoch.epoch, epoch.val_score) for epoch in trial.curve
        ]
        assert trial.mlflow_run_id == run.info.run_id
    return shown


def test_what_a_killed_driver_and_a_dead_server_lost_is_made_good(
    mlflow_server: "Callable[[Path], MlflowServer]", tmp_path: Path
) -> None:
    sample = runpy.run_path(str(ROOT / "tests" / "unit" / "analysis" / "sample_record.py"))
    server = mlflow_server(tmp_path)
    plan = sample["plan"](tracking_uri=server.uri)
    trials = sample["sampled_trials"](12, epochs=6)
    folder: Path = sample["write_record"](tmp_path / "pareto-demo", trials, plan_content=plan)
    driver = subprocess.run(
        [sys.executable, "-c", KILLED_DRIVER, str(folder), server.uri],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=400,
        check=False,
    )
    assert driver.returncode == -signal.SIGKILL
    client = MlflowClient(tracking_uri=server.uri)
    before = trials_shown(client)
    assert before["5"].info.status == "RUNNING"
    assert len(before) < 12

    server.kill()
    record = read_record(folder)
    down = sync(folder, "--timeout", "10")
    assert down.returncode == 1
    assert json.loads(down.stdout)["delivered"] == 0
    error = down.stderr.splitlines()[-1]
    assert error.startswith(f"error: MLflow at {server.uri} does not answer: Connection refused")
    assert "12 of 12 trials" in error
    assert read_record(folder) == record

    server.start()
    up = sync(folder)
    assert (up.returncode, json.loads(up.stdout)["delivered"]) == (0, 12)
    shown = assert_as_recorded(client, folder)
    assert {n: run.info.run_id for n, run in before.items()}.items() <= {
        n: run.info.run_id for n, run in shown.items()
    }.items()

    server.kill()
    (tmp_path / "mlflow.db").unlink()
    server.start()
    again = sync(folder)
    assert (again.returncode, json.loads(again.stdout)["problem"]) == (0, None)
    assert_as_recorded(client, folder)
