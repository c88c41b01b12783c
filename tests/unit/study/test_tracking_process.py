"""How a tracker lives in its process, and beside other processes: quiet, and on its own thread."""

import subprocess
import sys
import threading
from pathlib import Path

from mlflow import MlflowClient

from study.tracking.mlflow import MlflowTracker
from study.tracking.tracker import NullTracker, default_tracking_uri, open_tracker

ROOT = Path(__file__).parents[3]


def test_two_drivers_may_lay_out_one_database_at_once(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import pathlib\n"
        "from study.tracking.tracker import default_tracking_uri, open_tracker\n"
        f"folder = pathlib.Path({str(tmp_path)!r}) / 'studies'\n"
        "tracker = open_tracker(default_tracking_uri(folder), folder, print, lambda *run: None)\n"
        "tracker.study_started(sys.argv[1], 'space', '', {}, {}, study_key=sys.argv[1])\n"
        "tracker.study_finished('complete', {})\n"
        "assert tracker.close(timeout=60).undelivered == 0\n"
    )
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", script, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("first", "second")
    ]
    assert [driver.communicate(timeout=120)[0] for driver in drivers] == ["", ""]
    client = MlflowClient(tracking_uri=default_tracking_uri(tmp_path / "studies"))
    experiment = client.get_experiment_by_name("space")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {"first", "second"}


def test_callbacks_run_on_the_drivers_thread_and_their_errors_stop_nothing(tmp_path: Path) -> None:
    threads = []

    def on_run(kind: str, number: int | None, run_id: str) -> None:
        threads.append(threading.current_thread())
        raise RuntimeError("the record is full")

    tracker = MlflowTracker(default_tracking_uri(tmp_path), tmp_path, print, on_run)
    tracker.study_started("first", "callbacks", "", {}, {}, study_key="callbacks")
    report = tracker.close(timeout=60)
    assert report.undelivered == 0
    assert threads == [threading.current_thread()]


def test_nothing_is_told_before_the_study_is(tmp_path: Path) -> None:
    tracker = MlflowTracker(default_tracking_uri(tmp_path), tmp_path, print, print)
    tracker.epoch(0, {"epoch": 1, "val_score": 50.0})
    assert tracker.close(timeout=1).delivered == 0


def test_null_tracker_accepts_everything(tmp_path: Path) -> None:
    tracker = open_tracker("none", tmp_path, print, print)
    assert isinstance(tracker, NullTracker)
    tracker.study_started("first", "space", "", {}, {}, study_key="k")
    tracker.trial_started(0, "t0000", {}, {})
    tracker.epoch(0, {"epoch": 1, "val_score": 50.0})
    tracker.trial_finished(0, "complete", None, {})
    tracker.study_finished("complete", {})
    assert tracker.experiment_id is None
    assert tracker.close(timeout=1).undelivered == 0
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_stays_quiet_and_the_process_keeps_its_own_mlflow(tmp_path: Path) -> None:
    script = f"""
import pathlib
from study.tracking.tracker import default_tracking_uri, open_tracker
folder = pathlib.Path({str(tmp_path)!r})
tracker = open_tracker(default_tracking_uri(folder), folder, print, lambda *run: None)
tracker.study_started("first", "quiet", "", {{}}, {{}}, study_key="quiet")
tracker.trial_started(0, "t0000", {{}}, {{}})
assert tracker.close(timeout=60).undelivered == 0
import mlflow
assert mlflow.active_run() is None
assert str(folder / "mlflow.db") not in mlflow.get_tracking_uri()
"""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(folder.iterdir()) == []
