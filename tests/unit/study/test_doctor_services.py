"""What the doctor says of data, MLflow, Ray and leftovers; it leaves each as it was."""

import contextlib
import hashlib
import http.server
import os
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from cluster.connect import available_cpus
from study.doctor.check import Scope
from study.doctor.ray import Tried, check_ray, judge_ray
from study.doctor.services import check_data, check_leftovers, check_mlflow
from study.lock import StudyLock

if TYPE_CHECKING:
    from conftest import MlflowServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope(tmp_path / "studies")


@pytest.fixture(scope="module")
def other_server() -> Iterator[str]:
    """HOST:PORT of a web server that is neither MLflow nor Ray."""
    quiet = type("Quiet", (http.server.BaseHTTPRequestHandler,), {"log_message": lambda *_: None})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Data


def test_data_sets_that_are_here_are_told_from_those_to_be_downloaded(tmp_path: Path) -> None:
    found = check_data(Scope(tmp_path, data_dir=tmp_path))

    assert found.state == "ok"
    assert found.text == "here: digits; to be downloaded when asked for: cifar10, mnist"


def test_a_data_set_asked_for_is_described_or_refused(tmp_path: Path) -> None:
    def look(data: str) -> tuple[str, str]:
        found = check_data(Scope(tmp_path, data=data, data_dir=tmp_path))
        assert found.state == "ok" or found.mend
        return found.state, found.text

    assert look("digits")[0] == "ok"
    assert look("cifar10") == (
        "note",
        "cifar10: 10 classes, 45000 train, 5000 validation and 10000 test images, "
        f"to be downloaded into {tmp_path}",
    )
    assert look("digit_pairs")[0] == "ok"
    assert look("digit_pairs")[1].startswith("digit_pairs: pairs of images, 1222 train")
    assert look("digit")[0] == "fail"
    assert "did you mean 'digits'?" in look("digit")[1]


def test_a_data_set_that_is_half_there_is_noted_beside_the_others(tmp_path: Path) -> None:
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    (batches / "data_batch_1").write_bytes(b"")

    found = check_data(Scope(tmp_path, data_dir=tmp_path))

    assert found.state == "note"
    assert found.text.startswith("here: digits; to be downloaded when asked for: mnist")
    assert "cifar10 is incomplete" in found.text


# MLflow


def test_a_database_that_is_not_there_is_tried_elsewhere(scope: Scope, tmp_path: Path) -> None:
    found = check_mlflow(scope)

    assert found.state == "ok", found
    assert "is not there yet" in found.text
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_there_is_opened_and_left_as_it_was(scope: Scope) -> None:
    scope.studies.mkdir()
    database = scope.studies / "mlflow.db"
    script = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).create_experiment('blocks')"
    subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{database}"],
        cwd=scope.studies,
        check=True,
        timeout=120,
        capture_output=True,
    )
    before = {path: digest(path) for path in scope.studies.iterdir() if path.is_file()}

    found = check_mlflow(scope)

    assert found.state == "ok", found
    assert found.text.endswith("with 2 experiments")  # that one, and MLflow's default
    assert {path: digest(path) for path in scope.studies.iterdir() if path.is_file()} == before

    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.close()
    older = check_mlflow(Scope(scope.studies, tracking_uri=f"sqlite:///{database}?older=1"))
    assert older.state == "fail"
    assert "mlflow db upgrade" in str(older.mend)


def test_an_empty_database_is_not_laid_out_by_looking(scope: Scope) -> None:
    scope.studies.mkdir()
    database = scope.studies / "mlflow.db"
    database.touch()

    assert check_mlflow(scope).state == "ok"
    assert database.stat().st_size == 0


def test_a_file_that_is_no_database_fails(scope: Scope) -> None:
    scope.studies.mkdir()
    (scope.studies / "mlflow.db").write_text("not a database, not a database")

    found = check_mlflow(scope)

    assert found.state == "fail"
    assert "file is not a database" in found.text
    assert "\n" not in found.text
    assert found.mend


def test_a_server_is_asked(
    scope: Scope, tmp_path: Path, mlflow_server: "Callable[[Path], MlflowServer]"
) -> None:
    server = mlflow_server(tmp_path)
    asked = Scope(scope.studies, tracking_uri=server.uri)

    assert check_mlflow(asked).text == f"{server.uri} answers, with 1 experiment"

    server.kill()
    silent = check_mlflow(asked)
    assert silent.state == "fail"
    assert "mlflow server" in str(silent.mend)


def test_another_server_is_not_taken_for_mlflow(scope: Scope, other_server: str) -> None:
    found = check_mlflow(Scope(scope.studies, tracking_uri=f"http://{other_server}"))

    assert found.state == "fail"
    assert "does not answer as MLflow does" in found.text


def test_tracking_uris_are_judged_as_a_launch_judges_them(scope: Scope) -> None:
    off = check_mlflow(Scope(scope.studies, tracking_uri="none"))
    mistyped = check_mlflow(Scope(scope.studies, tracking_uri="sqllite:///a.db"))

    assert off.state == "ok"
    assert mistyped.state == "fail"
    assert "did you mean 'sqlite'" in mistyped.text


def test_passwords_are_not_shown(scope: Scope) -> None:
    for scheme in ("http", "postgresql+psycopg"):
        uri = f"{scheme}://ann:secret@127.0.0.1:9/mlflow"

        found = check_mlflow(Scope(scope.studies, tracking_uri=uri))

        assert found.state == "fail"
        assert "127.0.0.1" in found.text
        assert "secret" not in f"{found.text} {found.mend}"


# Ray


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own for Ray, with a path short enough for its sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dr") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes that are alive, and name a folder in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(folder) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.fixture
def suspended(ray_folder: Path) -> Iterator[list[psutil.Process]]:
    """Ray's processes in its folder, each suspended when seen: no machine starts Ray like that."""
    held: list[psutil.Process] = []
    over = threading.Event()

    def suspend() -> None:
        while not over.wait(0.02):
            for process in processes_of(ray_folder):
                if process not in held:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.suspend()
                        held.append(process)

    thread = threading.Thread(target=suspend, daemon=True)
    thread.start()
    yield held
    over.set()
    thread.join()
    for process in held:  # one that was missed would stay, stopped
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_local_ray_runs_a_task_and_leaves_nothing_behind(scope: Scope, ray_folder: Path) -> None:
    found = check_ray(scope)

    assert found.state == "ok", found
    assert f"{available_cpus()} CPUs" in found.text
    assert "a task took" in found.text
    assert [path.name for path in ray_folder.glob("ray/session_*")] == []
    assert processes_of(ray_folder) == []
    assert not scope.studies.exists()


def test_a_ray_that_takes_too_long_is_ended_with_all_it_has_started(
    scope: Scope, ray_folder: Path, suspended: list[psutil.Process]
) -> None:
    found = check_ray(scope, limit=10.0)

    assert found.state == "fail"
    assert "did not start within 10 s" in found.text
    assert suspended
    # An agent that was just being started ends itself when it finds its node gone.
    deadline = time.monotonic() + 30
    while processes_of(ray_folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(ray_folder) == []


def test_an_address_where_something_else_listens_is_given_up_on(
    scope: Scope, other_server: str, ray_folder: Path
) -> None:
    found = check_ray(Scope(scope.studies, address=other_server), limit=3.0)

    assert found.state == "fail"
    assert other_server in found.text
    assert "no Ray head" in found.text
    assert "leave --address out" in str(found.mend)


def test_an_address_where_nothing_listens_is_refused_at_once(scope: Scope, free_port: int) -> None:
    found = check_ray(Scope(scope.studies, address=f"127.0.0.1:{free_port}"))

    assert found.state == "fail"
    assert "no Ray head answers there" in found.text


def test_what_came_of_ray_is_judged() -> None:
    joined = Tried(cpus=8, gpus=1, nodes=2, connect_seconds=1.04, task_seconds=0.5)
    busy = Tried(cpus=8, nodes=2, connect_seconds=1.0)
    bare = Tried(problem="ModuleNotFoundError: No module named 'study'")

    assert judge_ray("h:1", joined, 9, logs=None).text == (
        "joined h:1 in 1.0 s (8 CPUs, 1 GPU on 2 nodes); a task took 0.5 s"
    )
    assert judge_ray("h:1", busy, 9, logs=None).state == "note"
    assert judge_ray("h:1", Tried(nodes=1), 9, logs=None).state == "fail"  # no CPU at all
    assert judge_ray("h:1", bare, 9, logs=None).mend == "install this package on every node"
    crashed = judge_ray(None, Tried(problem="Ray ended its process"), 9, logs=Path("/r/logs"))
    assert (crashed.state, crashed.mend) == ("fail", "Ray's own log: /r/logs")


# Leftovers


def drive_and_die(folder: Path) -> int:
    """Take a study's lock in a process that ends without giving it back; return its pid."""
    folder.mkdir(parents=True)
    script = (
        "import os, pathlib, sys\nfrom study.lock import StudyLock\n"
        "StudyLock(pathlib.Path(sys.argv[1])).__enter__()\n"
        "print(os.getpid(), flush=True)\nos._exit(9)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return int(run.stdout)


def test_no_studies_leave_nothing_over(scope: Scope) -> None:
    assert check_leftovers(scope).text == "none"


def test_a_lock_whose_driver_is_gone_is_noted_and_left(scope: Scope) -> None:
    pid = drive_and_die(scope.studies / "ended")
    (scope.studies / "running").mkdir()
    (scope.studies / "torn").mkdir()
    (scope.studies / "torn" / "lock").write_text("{")
    (scope.studies / "unreadable" / "lock").mkdir(parents=True)

    with StudyLock(scope.studies / "running"):
        found = check_leftovers(scope)

    assert found.state == "note"
    assert f"the driver ended without a word: ended (process {pid})" in found.text
    assert "the lock cannot be read: torn" in found.text
    assert "the lock of study unreadable cannot be read (" in found.text
    assert "running" not in found.text
    assert "study resume" in str(found.mend)
    assert (scope.studies / "ended" / "lock").exists()


def test_a_driver_at_work_is_no_leftover(scope: Scope) -> None:
    (scope.studies / "running").mkdir(parents=True)
    with StudyLock(scope.studies / "running"):
        found = check_leftovers(scope)
    assert found.state == "ok"
    assert f"at work: running (process {os.getpid()}" in found.text


def test_what_a_killed_deletion_left_is_noted(scope: Scope) -> None:
    (scope.studies / ".old.deleted.77" / "checkpoints").mkdir(parents=True)

    found = check_leftovers(scope)

    assert found.state == "note"
    assert found.mend == f"python -m study delete old --studies {scope.studies}"
