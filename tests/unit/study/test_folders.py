"""A folder of studies of several people, some of whose files nobody else may read."""

import errno
import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.__main__ import main
from study.delete import leftovers
from study.earlier_reading import read_source
from study.lock import StudyLock
from study.plan import PlanError

SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)


def write(folder: Path) -> Path:
    trial = SAMPLE.trial(SAMPLE.params(), accuracy=70.0, ratio=3.0)
    SAMPLE.write_record(folder, [trial], plan_content=SAMPLE.plan(folder.name, trials=1))
    return folder


def closed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nobody look into a folder; to root, who runs tests in containers, none is closed."""
    stat_of = Path.stat

    def refuse(path: Path, *args: Any, **named: Any) -> Any:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat_of(path, *args, **named)

    monkeypatch.setattr(Path, "stat", refuse)


def test_a_study_of_somebody_else_is_named_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "theirs"):
        write(tmp_path / name)
    closed(monkeypatch, tmp_path / "theirs")

    assert main(["list", "--studies", str(tmp_path), "--json"]) == 0
    told = capsys.readouterr()
    assert [state["name"] for state in json.loads(told.out)["studies"]] == ["mine"]
    assert told.err == f"warning: theirs in {tmp_path} may not be read (Permission denied)\n"
    shutil.rmtree(tmp_path / "mine")
    assert main(["list", "--studies", str(tmp_path)]) == 0
    assert "no studies" not in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["status", "stop", "report", "delete", "sync", "resume"])
def test_a_study_of_somebody_else_is_refused_in_one_line(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "theirs")
    closed(monkeypatch, tmp_path / "theirs")

    assert main([verb, "theirs", "--studies", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "study 'theirs' in " in told.err
    assert told.err.endswith("may not be read (Permission denied)\n")
    assert told.err.count("\n") == 1


def test_what_a_killed_deletion_of_somebody_else_left_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("theirs", "mine"):
        write(tmp_path / name)
    killed = tmp_path / ".theirs.deleted.123"
    (tmp_path / "theirs").rename(killed)
    (tmp_path / "mine").rename(tmp_path / ".mine.deleted.123")
    (tmp_path / ".mine.deleted.123" / "plan.json").unlink()
    assert set(leftovers(tmp_path)) == {"theirs", "mine"}
    closed(monkeypatch, killed)

    assert main(["delete", "mine", "--studies", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == [killed]


def test_a_request_to_stop_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "study")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("study.watch.write_stop_request", full)
    with StudyLock(folder):
        assert main(["stop", "study", "--studies", str(tmp_path)]) == 1
    assert "(No space left on device); mend that, or end process" in capsys.readouterr().err


def test_a_warm_start_from_a_study_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "theirs")
    closed(monkeypatch, tmp_path / "theirs")

    for asked in ("theirs", str(tmp_path / "theirs"), str(tmp_path / "theirs" / "results.csv")):
        with pytest.raises(PlanError, match=r"--warm-start .*theirs.* may not be read"):
            read_source(asked, tmp_path)


def test_a_folder_of_studies_that_may_not_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)

    assert main(["list", "--studies", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("may not be read (Permission denied)\n")
