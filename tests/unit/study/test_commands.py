"""What is told to be pasted works where it is read, whatever folder the studies are in."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from study import commands
from study.commands import command
from study.database import database_gone
from study.exporting.source import enter_directory
from study.halting import disk_full, then_resume
from study.last_words import describe_death
from study.lock import LockedError, StudyLock, check_free
from study.mirror import Mirror
from study.plan import PlanError
from study.tracking.registry import check_registry


@pytest.fixture(autouse=True)
def from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands._User, "directory", None)


def test_the_usual_folder_of_studies_is_not_spelt_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = "python -m study resume mine --trials 9"
    assert command("resume", Path("studies/mine"), "--trials", "9") == plain
    assert command("resume", tmp_path / "studies" / "mine", "--trials", "9") == plain


def test_another_folder_is_named_and_what_a_shell_would_split_is_quoted(tmp_path: Path) -> None:
    assert command("status", Path("other/mine")) == "python -m study status mine --studies other"
    assert command("stop", tmp_path / "my studies" / "mine") == (
        f"python -m study stop mine --studies '{tmp_path}/my studies'"
    )


def test_studies_in_an_object_store_are_named_by_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mirror = Mirror("s3://bucket/of/a/team")
    told = "python -m study report mine --studies s3://bucket/of/a/team"
    assert command("report", mirror.folder / "mine") == told


def test_a_process_that_has_gone_elsewhere_tells_what_works_where_its_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study is resumed in the directory where it was started, which its user need not be in."""
    for name in ("started", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("sys.path", [])
    monkeypatch.chdir(tmp_path / "here")
    enter_directory({"directory": str(tmp_path / "started")})

    assert Path.cwd() == tmp_path / "started"
    here, there = (command("resume", tmp_path / at / "studies/x") for at in ("here", "started"))
    assert here == "python -m study resume x"
    assert there == f"python -m study resume x --studies {tmp_path}/started/studies"


def gone(folder: Path) -> str:
    return database_gone(OperationalError("SELECT 1", {}, Exception("gone")), folder) or ""


def locked(folder: Path) -> str:
    with StudyLock(folder), pytest.raises(LockedError) as told:
        check_free(folder)
    return str(told.value)


def not_in_mlflow(folder: Path) -> str:
    results: Any = SimpleNamespace(
        plan=SimpleNamespace(name=folder.name, plan={"tracking_uri": None}), mlflow=None
    )
    trial: Any = SimpleNamespace(name="t0001", mlflow_run_id=None)
    with pytest.raises(PlanError) as told:
        check_registry(results, trial, "model", folder.parent)
    return str(told.value)


@pytest.mark.parametrize(
    ("tell", "verb"),
    [
        (gone, "resume"),
        (disk_full, "resume"),
        (lambda folder: then_resume("the store is gone", folder), "resume"),
        (lambda folder: describe_death("", folder / "log", folder), "resume"),
        (locked, "stop"),
        (not_in_mlflow, "sync"),
    ],
)
def test_every_line_with_a_command_names_the_folder(
    tmp_path: Path, tell: Callable[[Path], str], verb: str
) -> None:
    folder = tmp_path / "other" / "mine"
    folder.mkdir(parents=True)
    assert f"python -m study {verb} mine --studies {tmp_path}/other" in tell(folder)


def test_a_study_that_has_stopped_names_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.__main__ import main

    folder = tmp_path / "other" / "mine"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({}))
    monkeypatch.setattr("study.watch.wait_for_stop", lambda *_: True)
    monkeypatch.setattr("study.watch.request_stop", lambda *_: None)
    with StudyLock(folder):
        assert main(["stop", "mine", "--studies", str(folder.parent)]) == 0
    told = capsys.readouterr().out
    assert told.endswith(f"to go on: python -m study resume mine --studies {folder.parent}\n")
