"""A study whose record is in a real PostgreSQL: killed, resumed, cut off from it, and removed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launching import Launched, Launcher
from postgres import PASSWORD, Postgres, running_postgres

from analysis.record import StudyResults, read_record

pytestmark = pytest.mark.end_to_end
NAME = "in-a-database"
PLAN = (
    *("--space", "cifar_blocks", "--data", "digits", "--views", "2", "--max-epochs", "4"),
    *("--fix", "width=16", "--fix", "stem_stride=2", "--fix", "batch_size=64"),
    *("--teacher-epochs", "2", "--concurrent", "1", "--scheduler", "none", "--name", NAME),
    *("--tracking-uri", "none", "--precision", "float32"),
)
Launch = Callable[..., Launched]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("database") / "studies"


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


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
    storage = ("--storage", server.url)
    driver = launcher.start(*PLAN, *storage, "--trials", "3", studies=studies, own_group=True)
    wait_until(lambda: epochs(studies) >= 2, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    killed = record_of(studies)
    assert killed is not None
    before = {(t.number, e.epoch, e.val_score) for t in killed.trials for e in t.curve}

    # Gone on with, and the database taken away: a line that says so, and nothing lost.
    driver = launcher.start("resume", NAME, module="study", studies=studies)
    wait_until(lambda: epochs(studies) > len(before), driver)
    server.stop()
    _, errors = driver.communicate(timeout=200)
    assert driver.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "database" in line
    assert f"python -m study resume {NAME}" in line
    assert PASSWORD not in errors
    server.start()

    done = launcher.run("resume", NAME, "--json", module="study", studies=studies)
    assert done.returncode == 0, done.stderr
    assert done.result["counts"]["complete"] == 3
    record = read_record(studies / NAME)
    curves = {(t.number, e.epoch, e.val_score) for t in record.trials for e in t.curve}
    assert before <= curves
    assert [[e.epoch for e in t.curve] for t in record.trials] == [[1, 2, 3, 4]] * 3
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
