"""A record in a real PostgreSQL: killed, resumed, cut off from it, removed; MLflow beside it."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import find_free_port
from evidence import COUNTED, PATIENCE_SECONDS, STUDENT, wait_until
from launching import BRIEF, REPOSITORY, TEACHER, Launcher
from postgres import PASSWORD, Postgres, running_postgres

from analysis.record import StudyResults, read_record

pytestmark = pytest.mark.end_to_end
NAME = "in-a-database"
PLAN = (
    *BRIEF,
    *("--space", str(COUNTED), "--data", "digits", "--views", "2", "--max-epochs", "3"),
    *(*STUDENT, *TEACHER, "--concurrent", "1", "--scheduler", "none", "--name", NAME),
    *("--tracking-uri", "none", "--precision", "float32"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("database") / "studies"


def record_of(studies: Path) -> StudyResults | None:
    try:
        return read_record(studies / NAME)
    except Exception:
        return None  # not begun yet


def epochs(studies: Path) -> int:
    record = record_of(studies)
    return 0 if record is None else sum(len(trial.curve) for trial in record.trials)


def test_a_study_in_postgresql_survives_its_driver_and_its_database(
    server: Postgres, studies: Path, launcher: Launcher
) -> None:
    storage, held = ("--storage", server.url), studies.parent / "held"
    counted = {"EPOCHS_BEGUN": str(studies.parent / "epochs"), "EPOCHS_HELD": str(held)}
    held.write_text("3")  # the epoch in which the student waits
    driver = launcher.start(
        *(*PLAN, *storage, "--trials", "2"), studies=studies, own_group=True, **counted
    )
    wait_until(lambda: epochs(studies) >= 2, "two epochs", driver, every=0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    killed = record_of(studies)
    assert killed is not None
    before = {(t.number, e.epoch, e.val_score) for t in killed.trials for e in t.curve}

    # Gone on with, and the database taken away: a line that says so, and nothing lost.
    held.write_text("2")
    driver = launcher.start("resume", NAME, module="study", studies=studies, **counted)
    wait_until(lambda: epochs(studies) > len(before), "a further epoch", driver, every=0.2)
    server.stop()
    held.unlink()
    try:
        _, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    finally:
        server.start()  # for the other tests, too
    assert driver.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "database" in line
    assert f"python -m study resume {NAME}" in line
    assert PASSWORD not in errors

    done = launcher.run("resume", NAME, "--json", module="study", studies=studies, **counted)
    assert done.returncode == 0, done.stderr
    assert done.result["counts"]["complete"] == 2
    record = read_record(studies / NAME)
    curves = {(t.number, e.epoch, e.val_score) for t in record.trials for e in t.curve}
    assert before <= curves
    assert [[e.epoch for e in t.curve] for t in record.trials] == [[1, 2, 3]] * 2
    assert [session.end for session in record.sessions] == ["killed", "killed", "complete"]
    assert not (studies / NAME / "journal.log").exists()
    assert (studies / NAME / "report" / "index.html").exists()
    assert PASSWORD not in (studies / NAME / "report" / "index.html").read_text()


def test_a_name_that_the_database_knows_from_another_folder_is_refused(
    server: Postgres, studies: Path, launcher: Launcher, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "studies"
    run = launcher.run(*PLAN, "--storage", server.url, studies=elsewhere)
    assert run.returncode == 2
    assert "another folder" in run.stderr
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [((PASSWORD, "wrong"), "password authentication failed"), (("study:", "no:"), "check that it")],
)
def test_a_database_that_lets_nobody_in_is_one_line(
    server: Postgres, launcher: Launcher, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    url = server.url.replace(*change)
    run = launcher.run(*PLAN, "--storage", url, studies=tmp_path / "studies")
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert words in line
    assert PASSWORD not in line
    assert "wrong@" not in line
    assert not (tmp_path / "studies").exists()


def test_a_study_is_deleted_from_its_database_too(
    server: Postgres, studies: Path, launcher: Launcher
) -> None:
    run = launcher.run("delete", NAME, "--yes", module="study", studies=studies)
    assert run.returncode == 0, run.stderr
    import sqlalchemy

    engine = sqlalchemy.create_engine(server.url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM studies")).scalar() == 0
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM trials")).scalar() == 0
    engine.dispose()


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[str]:
    """A server of S3 on loopback."""
    port = find_free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"http://127.0.0.1:{port}"
        process.kill()


def test_the_mlflow_server_of_the_compose_file_asks_for_a_password_and_keeps_what_it_gets(
    server: Postgres, objects: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own command line and settings, with a PostgreSQL and an S3 server on loopback."""
    import boto3
    import yaml

    folder = REPOSITORY / "cluster" / "mlflow"
    described = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["server"]
    import sqlalchemy

    port = find_free_port()
    # The studies of other tests keep their records in the first one.
    engine = sqlalchemy.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE mlflow"))
    engine.dispose()
    database = f"study@127.0.0.1:{server.port}/mlflow"
    (tmp_path / "auth.ini").write_text(
        (folder / "auth.ini").read_text().replace("mlflow@database/mlflow", database)
    )
    command = [
        word.replace("mlflow@database/mlflow", database)
        .replace("${MLFLOW_HOST:-localhost}", "localhost")
        .replace("--host=0.0.0.0", "--host=127.0.0.1")
        .replace("--port=5000", f"--port={port}")
        for word in described["command"]
    ]
    told = {
        **described["environment"],
        "AWS_SECRET_ACCESS_KEY": "key-of-tests",
        "MLFLOW_S3_ENDPOINT_URL": objects,
        "PGPASSWORD": PASSWORD,
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret-of-tests",
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
    }
    s3 = boto3.client(
        *("s3", "us-east-1"),
        endpoint_url=objects,
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
    )
    wait_for(lambda: s3.create_bucket(Bucket="mlflow"))
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--workers", "1"],
        env={**os.environ, **told},
        cwd=tmp_path,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        uri = f"http://127.0.0.1:{port}"
        wait_for(lambda: urllib.request.urlopen(f"{uri}/health", timeout=20).close(), process)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{uri}/api/2.0/mlflow/experiments/get?experiment_id=0")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        run = client.create_run(client.create_experiment("kept"))
        client.log_metric(run.info.run_id, "val_score", 97.5)
        client.log_text(run.info.run_id, "a report", "report.html")
        assert client.get_run(run.info.run_id).data.metrics == {"val_score": 97.5}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()
    (kept,) = s3.list_objects_v2(Bucket="mlflow")["Contents"]
    assert kept["Key"].endswith("report.html")


def wait_for(
    act: Callable[[], object], server: subprocess.Popen[bytes] | None = None, seconds: float = 300
) -> None:
    """Try again until something works, as long as its server runs."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            act()
        except Exception:
            assert server is None or server.poll() is None, "the server ended"
            assert time.monotonic() < deadline
            time.sleep(0.3)
        else:
            return
