"""Studies in an object store, with a real PostgreSQL and a real server of S3 on loopback."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import find_free_port
from evidence import COUNTED, STUDENT, wait_until
from launching import BRIEF, TEACHER, Launched, Launcher
from objects import KEYS, running_objects
from postgres import PASSWORD, Postgres, running_postgres
from ray_nodes import BRIEF_PATIENCE, LOOPBACK, lose, node, wait_for_nodes

from analysis.record import StudyResults, read_record
from analysis.results import PLAN_FILE, PLAN_FORMAT
from study.driver_row import DriverRow
from study.lock import Holder, LockedError, beaten_ago, read_holder, study_lock
from study.mirror import Mirror, cache_folder
from study.object_store import ObjectStore, _client
from study.record import RecordError
from study.watch import request_stop

pytestmark = pytest.mark.end_to_end
NAME, BUCKET, EPOCHS = "in-objects", "studies-of-tests", 12
URL = f"s3://{BUCKET}/of/a/team"
PLAN = (
    *BRIEF,
    *("--space", str(COUNTED), "--data", "digits", "--views", "2", "--max-epochs", str(EPOCHS)),
    *(*STUDENT, *TEACHER, "--trials", "2", "--scheduler", "none", "--precision", "float32"),
    *("--tracking-uri", "none", "--name", NAME, "--json"),
)


@dataclass(frozen=True)
class Servers:
    """Where objects and the record lie, and the folder in which machines keep their caches."""

    objects: str
    database: Postgres
    folder: Path

    def machine(self, name: str) -> dict[str, str]:
        """The environment of a machine with a cache of its own."""
        return {
            **KEYS,
            **LOOPBACK,
            "AWS_ENDPOINT_URL": self.objects,
            "EPOCHS_BEGUN": str(self.begun),
            "EPOCHS_HELD": str(self.held),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            **BRIEF_PATIENCE,
            "XDG_CACHE_HOME": str(self.cache(name)),
        }

    def cache(self, name: str) -> Path:
        return self.folder / name

    def copy(self, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where a machine has its copy of the study."""
        with monkeypatch.context() as there:
            there.setenv("XDG_CACHE_HOME", str(self.cache(name)))
            return cache_folder(URL) / NAME

    @property
    def begun(self) -> Path:
        """Where students write a line for each epoch they begin."""
        return self.folder / "epochs"

    @property
    def held(self) -> Path:
        """While it is there, each machine waits in the midst of the epoch that it names."""
        return self.folder / "held"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_objects(BUCKET) as objects, running_postgres() as database:
        yield Servers(objects, database, tmp_path_factory.mktemp("machines"))


def on(servers: Servers, machine: str, launcher: Launcher, *words: str) -> Launched:
    """Run `python -m study` on a machine."""
    return launcher.run(
        *words, module="study", studies=servers.folder / "none", **servers.machine(machine)
    )


def record_at(copy: Path) -> StudyResults | None:
    try:
        return read_record(copy)
    except Exception:
        return None  # not begun yet


def curves(record: StudyResults) -> set[tuple[int, int, float]]:
    return {(t.number, e.epoch, e.val_score) for t in record.trials for e in t.curve}


def test_a_study_of_two_machines_goes_on_from_a_third_once_its_driver_and_a_node_are_lost(
    servers: Servers, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder is shared: what one machine needs of another it has from the store alone."""
    port, dashboard = find_free_port(), find_free_port()
    address = f"127.0.0.1:{port}"
    first, second = ({**launcher.environment(), **servers.machine(n)} for n in ("one", "two"))
    where = ("--studies", URL, "--storage", servers.database.url, "--address", address)
    with ExitStack() as nodes:
        head = ("--head", "--port", str(port), "--include-dashboard", "true")
        seen = ("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard))
        nodes.enter_context(node(*head, *seen, environment=first))
        wait_for_nodes(f"http://127.0.0.1:{dashboard}", 1)
        lost = nodes.enter_context(node("--address", address, environment=second))
        wait_for_nodes(f"http://127.0.0.1:{dashboard}", 2)
        servers.held.write_text("4")
        driver = launcher.start(
            *(*PLAN, *where, "--concurrent", "2"),
            studies=servers.folder / "none",
            own_group=True,
            **servers.machine("driver"),
        )
        copy = servers.copy("driver", monkeypatch)

        def are_held() -> bool:
            found = record_at(copy)
            trials = () if found is None else found.trials
            return len(trials) == 2 and all(len(trial.curve) > 2 for trial in trials)

        wait_until(are_held, "three epochs of both", driver, every=0.1)
        os.killpg(driver.pid, signal.SIGKILL)
        lose(lost)
        servers.held.unlink()
        driver.communicate()
        before = read_record(copy)
        wait_for_nodes(f"http://127.0.0.1:{dashboard}", 1)
        again = ("resume", NAME, "--json", "--concurrent", "1", "--studies", URL)
        done = on(servers, "third", launcher, *again)

    assert done.returncode == 0, done.stderr
    assert "kept from an earlier study" in done.stderr  # the teacher, trained for the first driver
    assert done.result["counts"]["complete"] == 2
    record = read_record(servers.copy("third", monkeypatch))
    assert curves(before) <= curves(record)
    assert [[e.epoch for e in t.curve] for t in record.trials] == [[*range(1, EPOCHS + 1)]] * 2
    assert [session.end for session in record.sessions] == ["killed", "complete"]
    # Of each trial the epoch that was under way, and one that was done but not in the store yet.
    begun = len(servers.begun.read_text().splitlines())
    assert 0 <= begun - 2 * EPOCHS <= 4
    # Both machines have trained, each in a copy of its own.
    for name in ("one", "two"):
        assert (servers.copy(name, monkeypatch) / "checkpoints").is_dir()
    assert not (copy / "checkpoints").exists()


def test_any_machine_reads_exports_and_deletes_what_is_in_the_store(
    servers: Servers, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": servers.objects}.items():
        monkeypatch.setenv(name, value)
    _client.cache_clear()
    store = ObjectStore(URL)
    kept = store.digests(f"{NAME}/")
    assert {f"{NAME}/plan.json", f"{NAME}/report/index.html", f"{NAME}/logs/driver.log"} <= {*kept}
    checkpoints = [key for key in kept if "/checkpoints/" in key]
    assert checkpoints
    assert all(key.endswith("/student.pt") for key in checkpoints)
    assert any(key.endswith("/teacher.json") for key in store.digests("teachers/"))

    listed = on(servers, "fourth", launcher, "list", "--json", "--studies", URL)
    assert [study["state"] for study in listed.result["studies"]] == ["finished"]
    trial = checkpoints[0].split("/")[-2]
    exported = on(
        *(servers, "fourth", launcher, "export", NAME, "--trial", trial, "--format", "pt2"),
        *("--json", "--studies", URL),
    )
    assert exported.returncode == 0, exported.stderr
    assert any(key.endswith(".pt2") for key in store.digests(f"{NAME}/exports/"))
    unknown = on(servers, "fourth", launcher, "status", "in-objets", "--studies", URL)
    assert unknown.returncode == 2
    assert unknown.stderr.splitlines() == [
        f"error: no study 'in-objets' in {URL}; did you mean {NAME}?"
    ]

    gone = on(servers, "fifth", launcher, "delete", NAME, "--yes", "--studies", URL)
    assert gone.returncode == 0, gone.stderr
    assert store.digests(f"{NAME}/") == {}
    assert store.digests("teachers/")
    listed = on(servers, "fourth", launcher, "list", "--json", "--studies", URL)
    assert listed.result["studies"] == []


def test_a_bucket_that_is_not_there_is_one_line(servers: Servers, launcher: Launcher) -> None:
    where = ("--studies", "s3://no-such-bucket/a", "--storage", servers.database.url)
    run = launcher.run(*PLAN, *where, studies=servers.folder / "none", **servers.machine("sixth"))
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert "there is no bucket no-such-bucket" in line
    assert PASSWORD not in line
    assert not servers.cache("sixth").exists()


def test_the_lock_in_the_database_has_one_holder_who_beats_and_hears_requests_to_stop(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines by their host names: neither sees the other's processes."""
    monkeypatch.setattr("study.lock.PATIENCE_SECONDS", 0.5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(servers.cache("seventh")))
    folder = Mirror(URL).folder / "locked"
    folder.mkdir()
    plan = {"format": PLAN_FORMAT, "plan": {"storage": servers.database.url}}
    (folder / PLAN_FILE).write_text(json.dumps(plan))
    here, there = study_lock(folder), study_lock(folder)
    there._me = replace(Holder.me(), host="elsewhere")
    assert read_holder(folder) is None
    assert beaten_ago(folder) is None

    with here:
        with pytest.raises(LockedError, match=str(os.getpid())), study_lock(folder):
            pass
        here.beat()
        assert here.is_mine()
        assert not (folder / "stop").exists()
        holder = read_holder(folder)
        assert holder is not None
        assert holder.beat == 1
        ago = beaten_ago(folder)
        assert ago is not None
        assert 0 <= ago < 60
        request_stop(folder, holder)
        here.beat()
        assert json.loads((folder / "stop").read_text())["pid"] == os.getpid()
        # The driver has read it. A second one would mean to stop at once.
        (folder / "stop").unlink()
        here.beat()
        assert not (folder / "stop").exists()
    assert read_holder(folder) is None

    # Who cannot be seen and does not beat is gone; one who finds that out late changes nothing.
    with there, study_lock(folder) as taker:
        assert taker.taken_over == there._me
        assert not there.is_mine()
        there.beat()
        there.__exit__()
        assert taker.is_mine()
        assert not taker._row.take(there._me, there._me)  # type: ignore[attr-defined]
    assert read_holder(folder) is None


def test_a_role_that_may_not_keep_locks_is_refused(servers: Servers) -> None:
    import psycopg

    owner = servers.database.url.replace("+psycopg", "")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'of-a-guest'")
    url = servers.database.url.replace(f"study:{PASSWORD}", "guest:of-a-guest")
    with pytest.raises(RecordError, match="refuses the lock of study barred") as told:
        DriverRow(url, "barred").take(None, Holder.me())
    assert "study_drivers" in str(told.value)
    assert "of-a-guest" not in str(told.value)


def test_a_database_with_a_lock_that_does_not_answer_is_a_refusal(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = DriverRow(f"postgresql+psycopg://study:{PASSWORD}@127.0.0.1:9/postgres", "locked")
    with pytest.raises(RecordError, match="does not answer") as told:
        row.holder()
    assert PASSWORD not in str(told.value)
    assert PASSWORD not in repr(row)
