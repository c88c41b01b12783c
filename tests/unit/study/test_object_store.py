"""Files of a studies folder in an object store: a real server of S3 on loopback."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from conftest import find_free_port
from objects import KEYS, running_objects, server_at

from study.__main__ import main
from study.database import claim
from study.delete import RemnantError, find_removal, remove
from study.driver_row import row_of
from study.earlier_reading import read_source
from study.inputs import store_plan
from study.lock import Holder, StudyLock, _started, read_holder, study_lock
from study.mirror import (
    MARK_FILE,
    Mirror,
    bring_plans,
    bring_study,
    check_shared,
    mirror_of,
    open_studies,
    send_study,
)
from study.object_store import ObjectStore, StoreError, _client, digest
from study.plan import PlanError
from study.trial_context import has_student

BUCKET = "studies-of-tests"
DATABASE = "postgresql+psycopg://study@db.example.org/studies"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_objects(BUCKET) as url:
        yield url


@pytest.fixture(autouse=True)
def keys(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _client.cache_clear()
    yield
    _client.cache_clear()


@pytest.fixture
def mirror(request: pytest.FixtureRequest) -> Mirror:
    """A studies folder of its own for each test."""
    return Mirror(f"s3://{BUCKET}/{request.node.name}")


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go to another machine, as it were, which has no copy yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def plan(mirror: Mirror, name: str, mark: str = "one") -> Path:
    return write(mirror.folder / name / "plan.json", f'{{"format": 2, "record_id": "{mark}"}}')


def test_what_is_sent_here_is_brought_elsewhere(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = write(mirror.folder / "s" / "checkpoints" / "t0000" / "last.pt", "epoch 1")
    mirror.send(here)
    elsewhere(monkeypatch, tmp_path)
    there = mirror.folder / "s" / "checkpoints" / "t0000" / "last.pt"
    assert there != here
    assert mirror.bring(there)
    assert there.read_text() == "epoch 1"
    assert [path.name for path in there.parent.iterdir()] == ["last.pt"]


def test_a_copy_that_the_store_has_not_or_has_otherwise_gives_way(mirror: Mirror) -> None:
    path = write(mirror.folder / "s" / "last.pt", "of the store")
    mirror.send(path)
    path.write_text("of an earlier time")
    assert mirror.bring(path)
    assert path.read_text() == "of the store"
    written = path.stat().st_mtime_ns
    assert mirror.bring(path)
    assert path.stat().st_mtime_ns == written  # the same is not fetched again
    mirror.remove([mirror.key(path)])
    assert not mirror.bring(path)
    assert not path.exists()


def test_more_objects_than_one_answer_holds_are_found_and_removed(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(mirror.folder / "one", "1")
    for number in range(7):
        mirror.store.put(f"many/{number}/one", path)
    monkeypatch.setattr("study.object_store._AT_ONCE", 3)
    found = mirror.store.digests("many/")
    assert len(found) == 7
    assert set(found.values()) == {digest(path)}
    assert len(ObjectStore(f"{mirror.url}/many").folders()) == 7
    mirror.remove(found)
    assert mirror.store.digests("many/") == {}


def test_nothing_is_brought_to_where_a_key_leads_out_of_the_folder(mirror: Mirror) -> None:
    path = write(mirror.folder / "one", "1")
    for key in ("s/../../out", "s//out", "s/in", "../out/plan.json"):
        mirror.store.put(key, path)
    mirror.bring_all(mirror.folder / "s")
    bring_plans(mirror.folder)
    found = sorted(p.name for p in mirror.folder.parent.rglob("*") if p.is_file())
    assert found == [MARK_FILE, "in", "one"]


def test_a_study_is_brought_in_parts(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan(mirror, "s")
    folder = mirror.folder / "s"
    write(folder / "report" / "index.html", "report")
    write(folder / "lock", "mine")
    write(folder / ".plan.json.7.tmp", "half")
    for name in ("last.pt", "student.pt"):
        mirror.send(write(folder / "checkpoints" / "t0000" / name, name))
    send_study(folder)
    assert sorted(mirror.store.digests("s/")) == [
        "s/checkpoints/t0000/last.pt",
        "s/checkpoints/t0000/student.pt",
        "s/plan.json",
        "s/report/index.html",
    ]

    def here() -> list[str]:
        found = mirror.folder / "s"
        return sorted(str(p.relative_to(found)) for p in found.rglob("*") if p.is_file())

    elsewhere(monkeypatch, tmp_path)
    studies = mirror.folder
    bring_study(studies, "s", "plan")
    assert here() == ["plan.json"]
    bring_study(studies, "s", "files")
    assert here() == ["plan.json", "report/index.html"]
    bring_study(studies, "s", "students")
    assert here() == ["checkpoints/t0000/student.pt", "plan.json", "report/index.html"]


@pytest.mark.parametrize(
    ("driver", "left"), [("beside", "new"), ("gone", "old"), ("elsewhere", "old"), ("me", "old")]
)
def test_what_a_driver_of_this_machine_has_not_sent_yet_is_not_replaced(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, driver: str, left: str
) -> None:
    plan(mirror, "s")
    folder = mirror.folder / "s"
    report = write(folder / "report" / "index.html", "old")
    send_study(folder)
    student = write(folder / "checkpoints" / "t0000" / "student.pt", "of another machine")
    mirror.send(student)
    student.unlink()
    write(report, "new")
    parent, me = os.getppid(), Holder.me()
    beside = replace(me, pid=parent, started=_started(parent) or 0.0)
    holder = {
        "beside": beside,
        "gone": replace(beside, started=beside.started + 1),
        "elsewhere": replace(beside, host="elsewhere"),
        "me": me,
    }[driver]
    row = SimpleNamespace(holder=lambda: holder)
    monkeypatch.setattr("study.driver_row.row_of", lambda _: row)

    for part in ("files", "students"):
        bring_study(mirror.folder, "s", part)
        assert report.read_text() == left
    assert has_student(folder, 0)  # brought when it is asked for
    send_study(folder)
    assert mirror.store.digests("s/report/")["s/report/index.html"] == digest(report)


def test_a_study_to_learn_from_is_found_by_its_name(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan(mirror, "other")
    send_study(mirror.folder / "other")
    elsewhere(monkeypatch, tmp_path)
    monkeypatch.setattr("study.earlier_reading._read_study", lambda folder: folder)

    assert str(read_source("other", mirror.folder)) == str(mirror.folder / "other")
    assert "one" in (mirror.folder / "other" / "plan.json").read_text()
    with pytest.raises(PlanError, match=f"no study in {mirror.url}, .*; did you mean other"):
        read_source("othr", mirror.folder)


def test_what_a_driver_has_swept_goes_from_the_store_and_students_stay(mirror: Mirror) -> None:
    plan(mirror, "s")
    folder = mirror.folder / "s"
    model = write(folder / "models" / "t0000.pt2", "model")
    student = write(folder / "checkpoints" / "t0000" / "student.pt", "student")
    mirror.send(student)
    send_study(folder)
    model.unlink()
    student.unlink()
    send_study(folder, "report")
    send_study(folder)
    assert "s/models/t0000.pt2" in mirror.store.digests()
    send_study(folder, sweep=True)
    assert sorted(mirror.store.digests()) == ["s/checkpoints/t0000/student.pt", "s/plan.json"]


def test_what_was_exported_elsewhere_while_a_driver_ran_is_not_swept(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan(mirror, "s")
    folder = mirror.folder / "s"
    write(folder / "models" / "t0000.pt2", "model")
    send_study(folder)
    with monkeypatch.context() as there:
        elsewhere(there, tmp_path)
        bring_study(mirror.folder, "s", "students")
        write(mirror.folder / "s" / "exports" / "t0000.onnx", "export")
        send_study(mirror.folder / "s", "exports")
    (folder / "models" / "t0000.pt2").unlink()
    send_study(folder, sweep=True)
    assert sorted(mirror.store.digests()) == ["s/exports/t0000.onnx", "s/plan.json"]


def test_the_copy_of_a_study_that_is_gone_or_another_now_is_dropped(mirror: Mirror) -> None:
    for name in ("gone", "other", "same"):
        plan(mirror, name)
        send_study(mirror.folder / name)
        write(mirror.folder / name / "checkpoints" / "t0000" / "last.pt", "old")
    mirror.remove(["gone/plan.json"])
    own = plan(mirror, "other", mark="two")
    mirror.send(own)
    plan(mirror, "other", mark="one")
    bring_plans(mirror.folder)
    assert not (mirror.folder / "gone").exists()
    assert "two" in own.read_text()
    assert [path.name for path in own.parent.iterdir()] == ["plan.json"]
    assert (mirror.folder / "same" / "checkpoints" / "t0000" / "last.pt").exists()


def test_a_deletion_that_fails_in_the_middle_says_what_is_left_and_can_be_gone_on_with(
    mirror: Mirror, tmp_path: Path
) -> None:
    plan(mirror, "s")
    folder = mirror.folder / "s"
    write(folder / "plan.json", json.dumps({"format": 2, "name": "s", "plan": {"storage": None}}))
    write(folder / "report" / "index.html", "report")
    send_study(folder)
    removal = find_removal(mirror.folder, "s")
    unreachable = replace(removal, storage=f"sqlite:///{tmp_path / 'gone.db'}")

    with pytest.raises(RemnantError, match="left are its record and its plan:") as told:
        remove(unreachable)

    assert "nothing was removed" not in str(told.value)
    assert list(mirror.store.digests()) == ["s/plan.json"]
    assert (folder / "plan.json").is_file()
    remove(removal)
    assert mirror.store.digests() == {}
    assert not folder.exists()


def test_a_record_that_another_folder_claims_in_the_middle_of_a_deletion_stays(
    mirror: Mirror, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    optuna.create_study(study_name="s", storage=url)
    plan(mirror, "s")
    folder = mirror.folder / "s"
    write(folder / "plan.json", json.dumps({"format": 2, "name": "s", "plan": {"storage": None}}))
    write(folder / "report" / "index.html", "report")
    send_study(folder)
    removal = find_removal(mirror.folder, "s")
    assert claim(url, "s", "another's") is None

    with pytest.raises(RemnantError, match="has become another folder's") as told:
        remove(replace(removal, storage=url))

    assert str(told.value).endswith("give the same command again to delete all but the record")
    assert optuna.get_all_study_names(url) == ["s"]
    assert list(mirror.store.digests()) == ["s/plan.json"]
    assert (folder / "plan.json").is_file()


def test_nothing_is_deleted_from_a_store_that_cannot_be_written(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(mirror, "s")
    send_study(mirror.folder / "s")

    def read_only(store: ObjectStore, *, write: bool = False) -> None:
        if write:
            raise StoreError("this key may not write there")

    monkeypatch.setattr("study.object_store.ObjectStore.check", read_only)

    assert main(["delete", "s", "--yes", "--studies", mirror.url]) == 2
    assert capsys.readouterr().err == "error: this key may not write there\n"
    assert list(mirror.store.digests()) == ["s/plan.json"]


def test_a_look_at_all_studies_leaves_the_plan_that_a_driver_has_just_stored(
    mirror: Mirror,
) -> None:
    """A driver that starts, and a `list` of the same machine."""
    folder = mirror.folder / "s"
    folder.mkdir()
    document = {"format": 2, "created_at": "today", "record_id": "one"}
    document |= {"space": {"file_hash": None}, "plan": {"trials": 9}}
    for trials in (9, 20):
        asked = {**document, "plan": {"trials": trials}}
        store_plan(folder, asked)
        bring_plans(mirror.folder)
        assert json.loads((folder / "plan.json").read_text()) == asked
    assert [path.name for path in folder.iterdir()] == ["plan.json"]


def test_a_file_that_is_made_while_the_store_is_asked_for_it_stays(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mirror.folder / "s" / "plan.json"
    monkeypatch.setattr(ObjectStore, "get", lambda *_: not write(path, "just made"))
    assert not mirror.bring(path)
    assert path.read_text() == "just made"


def test_an_ordinary_folder_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "s" / "plan.json", "{}")
    assert open_studies(str(tmp_path)) == tmp_path
    assert mirror_of(tmp_path) is None
    bring_study(tmp_path, "s", "students")
    send_study(tmp_path / "s", sweep=True)
    assert row_of(tmp_path / "s") is None
    assert type(study_lock(tmp_path / "s")) is StudyLock
    assert read_holder(tmp_path / "s") is None


def test_a_copy_carried_elsewhere_by_hand_is_an_ordinary_folder(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(mirror, "s")
    shutil.copytree(mirror.folder, tmp_path / "carried")
    assert mirror_of(mirror.folder) == mirror
    assert mirror_of(tmp_path / "carried") is None
    monkeypatch.chdir(mirror.folder)
    assert mirror_of(Path()) == mirror
    assert mirror.key(Path("s/plan.json")) == "s/plan.json"


def test_a_bucket_that_can_be_used_leaves_nothing_in_it(mirror: Mirror) -> None:
    studies = open_studies(f"{mirror.url}/", write=True)
    assert studies == mirror.folder
    assert (studies / MARK_FILE).read_text() == mirror.url
    assert mirror_of(studies) == mirror
    assert mirror.store.digests() == {}


@pytest.mark.parametrize(
    ("url", "environment", "words"),
    [
        ("s3://no-such-bucket/a", {}, "there is no bucket no-such-bucket"),
        ("s3://Capital/a", {}, "names no bucket"),
        ("s3://ab", {}, "names no bucket"),
        ("gs://bucket/a", {}, "s3://BUCKET/PREFIX"),
        (f"s3://{BUCKET}/a", {"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
        (f"s3://{BUCKET}/a", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9 does not an"),
        (f"s3://{BUCKET}/a", {"AWS_ENDPOINT_URL": "nowhere"}, "AWS_ENDPOINT_URL is no URL"),
        (f"s3://{BUCKET}/a", {"AWS_ACCESS_KEY_ID": ""}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line_and_makes_nothing(
    url: str,
    environment: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        if not value:  # and so neither the secret
            monkeypatch.delenv(name)
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError) as told:
        open_studies(url, write=True)
    assert words in str(told.value)
    assert len(str(told.value).splitlines()) == 1
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(told.value)
    assert not (tmp_path / "cache").exists()


def test_a_store_that_is_away_for_a_while_is_waited_for(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(mirror.folder / "one", "1")
    url = f"http://127.0.0.1:{find_free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    _client.cache_clear()
    monkeypatch.setattr("study.object_store._PAUSES", (0.1,))
    with pytest.raises(StoreError, match="does not answer"):
        mirror.send(path)
    monkeypatch.setattr("study.object_store._PAUSES", (0.2,) * 600)
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(mirror.send, path)
        with server_at(url), pytest.raises(StoreError, match="there is no bucket"):
            sent.result()  # the server is a new one


@pytest.mark.parametrize("storage", [None, "sqlite:////tmp/record.db"])
def test_studies_in_a_store_want_a_record_that_every_machine_reaches(storage: str | None) -> None:
    check_shared("s3://bucket/a", DATABASE)
    check_shared("studies", storage)
    with pytest.raises(StoreError, match="keep the record in PostgreSQL with --storage"):
        check_shared("s3://bucket/a", storage)


def test_a_url_is_taken_apart_once() -> None:
    assert ObjectStore.at("s3://bucket").bucket == "bucket"
    assert ObjectStore.at("s3://bucket/a/b/") == ObjectStore.at("s3://bucket/a/b")
