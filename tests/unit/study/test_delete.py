"""Deleting a study: all of it or nothing, and never anything beside it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from study.__main__ import main
from study.database import RECORD_ID, claim
from study.delete import DeleteError, find_removal, leftovers, remove
from study.lock import StudyLock, read_holder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def studies(sample: SimpleNamespace, tmp_path: Path) -> Path:
    """Two studies of two trials in a folder that they share with a teacher and MLflow."""
    folder = tmp_path / "studies"
    for name in ("first", "second"):
        trials = sample.paper_trials()[:2]
        sample.write_record(folder / name, trials, plan_content=sample.plan(name))
    (folder / "teachers" / "abc").mkdir(parents=True)
    (folder / "teachers" / "abc" / "weights.pt").write_bytes(b"weights")
    (folder / "mlflow.db").write_bytes(b"runs")
    return folder


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def delete(studies: Path, *arguments: str) -> int:
    return main(["delete", *arguments, "--studies", str(studies)])


def answered(studies: Path, name: str, answer: str) -> subprocess.CompletedProcess[str]:
    """Run the deletion on a terminal, and type an answer."""
    typed, terminal = pty.openpty()
    os.write(typed, answer.encode())
    try:
        return subprocess.run(
            [sys.executable, "-m", "study", "delete", name, "--studies", str(studies)],
            cwd=ROOT,
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(typed)
        os.close(terminal)


def in_database(
    sample: SimpleNamespace, studies: Path, name: str, url: str, mark: str | None = None
) -> Path:
    """Write a study of one trial whose record is in a database; `mark` is for its plan alone."""
    folder = studies / name
    folder.mkdir(parents=True)
    plan = {**sample.plan(name, storage=url), **({} if mark is None else {RECORD_ID: mark})}
    (folder / "plan.json").write_text(json.dumps(plan))
    made = optuna.create_study(
        study_name=name, storage=url, directions=["maximize", "minimize"], load_if_exists=True
    )
    made.add_trial(optuna.create_trial(values=[50.0, 3.0]))
    return folder


def test_a_study_goes_whole_and_what_is_shared_stays(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {path for path in tree(studies) if not path.startswith("first")}

    assert delete(studies, "first", "--yes") == 0

    assert tree(studies) == others
    shown = capsys.readouterr().out
    assert "study first: 2 trials" in shown
    assert "its MLflow runs, and the teachers and data sets that studies share, stay" in shown
    assert shown.endswith("deleted first\n")


def test_json_is_one_object_on_standard_output(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = sum(path.stat().st_size for path in (studies / "first").rglob("*") if path.is_file())

    assert delete(studies, "first", "--yes", "--json") == 0

    body = json.loads(capsys.readouterr().out)
    assert body["deleted"] is True
    assert body["folder"] == str(studies / "first")
    assert (body["trials"], body["bytes"], body["storage"]) == (2, size, None)


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_on_a_terminal_a_yes_deletes(studies: Path, answer: str) -> None:
    run = answered(studies, "first", answer)

    assert run.returncode == 0, run.stderr
    assert run.stderr == "Delete study first? [y/N] "
    assert not (studies / "first").exists()


@pytest.mark.parametrize("answer", ["\n", "n\n", "yesterday\n", "\x04"])  # the last is Ctrl-D
def test_on_a_terminal_anything_else_keeps(studies: Path, answer: str) -> None:
    before = tree(studies)

    run = answered(studies, "first", answer)

    assert run.returncode == 0
    assert run.stdout.endswith("kept first\n")
    assert tree(studies) == before


def test_without_a_terminal_it_is_refused_unless_told_yes(studies: Path) -> None:
    before = tree(studies)

    run = subprocess.run(
        [sys.executable, "-m", "study", "delete", "first", "--studies", str(studies)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "--yes" in run.stderr
    assert tree(studies) == before


def test_a_study_with_a_live_driver_is_refused(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StudyLock(studies / "first"):
        before = tree(studies)
        assert delete(studies, "first", "--yes") == 4
        assert tree(studies) == before
    assert f"process {os.getpid()}" in capsys.readouterr().err


def test_a_driver_that_began_after_the_question_is_refused_too(studies: Path) -> None:
    removal = find_removal(studies, "first")
    with StudyLock(studies / "first"), pytest.raises(RuntimeError, match="is driven by"):
        remove(removal)
    assert (studies / "first" / "plan.json").is_file()


def test_the_lock_of_a_driver_that_is_gone_does_not_stand_in_the_way(studies: Path) -> None:
    script = (
        "import os, pathlib\nfrom study.lock import StudyLock\n"
        f"StudyLock(pathlib.Path({str(studies / 'first')!r})).__enter__()\nos._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=False)
    assert read_holder(studies / "first") is not None

    assert delete(studies, "first", "--yes") == 0
    assert not (studies / "first").exists()


def test_a_name_is_refused_with_the_nearest_one(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in {
        "frist": "did you mean first?",
        "../studies": "letters, digits",
        "teachers": "taken by the service itself",
    }.items():
        before = tree(studies)
        assert delete(studies, name, "--yes") == 2
        assert words in capsys.readouterr().err
        assert tree(studies) == before


def test_a_link_to_a_study_elsewhere_is_refused(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (studies / "second").rename(tmp_path / "elsewhere")
    (studies / "second").symlink_to(tmp_path / "elsewhere")

    assert delete(studies, "second", "--yes") == 2

    assert f"--studies {tmp_path}" in capsys.readouterr().err
    assert (tmp_path / "elsewhere" / "plan.json").is_file()
    assert (studies / "second").is_symlink()


def test_links_inside_a_study_are_removed_and_not_followed(studies: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("kept")
    (studies / "first" / "checkpoints").symlink_to(tmp_path / "precious")

    assert delete(studies, "first", "--yes") == 0

    assert not (studies / "first").exists()
    assert (tmp_path / "precious" / "data").read_text() == "kept"


@pytest.mark.parametrize("content", ['{"format": 1', '{"format": 2}', "[]"])
def test_a_damaged_study_can_be_deleted(
    studies: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (studies / "first" / "plan.json").write_text(content)

    assert delete(studies, "first", "--yes") == 0

    shown = capsys.readouterr().out
    assert "it is damaged: " in shown
    assert "trials unknown" in shown
    assert not (studies / "first").exists()


def test_a_study_with_a_damaged_journal_can_be_deleted(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = studies / "first" / "journal.log"
    journal.write_bytes(b"not json\n" + journal.read_bytes())

    assert delete(studies, "first", "--yes") == 0

    assert "damaged at line 1" in capsys.readouterr().out
    assert not (studies / "first").exists()


def test_a_record_in_a_database_goes_too_and_its_neighbours_stay(
    sample: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    for name in ("first", "second"):
        in_database(sample, tmp_path / "studies", name, url)

    assert delete(tmp_path / "studies", "first", "--yes") == 0

    assert optuna.get_all_study_names(url) == ["second"]
    assert not (tmp_path / "studies" / "first").exists()
    shown = capsys.readouterr().out
    assert "study first: 1 trial," in shown
    assert f"its record in {url} goes too" in shown


def test_a_database_that_cannot_be_reached_is_refused_and_nothing_removed(
    sample: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "unmounted.db"
    urls = {
        "gone": f"sqlite:///{missing}",
        "silent": "postgresql+psycopg://ann:secret@127.0.0.1:9/records",
    }
    studies = tmp_path / "studies"
    for name, url in urls.items():
        (studies / name).mkdir(parents=True)
        (studies / name / "plan.json").write_text(json.dumps(sample.plan(name, storage=url)))

    for name in urls:
        assert delete(studies, name, "--yes") == 2
        error = capsys.readouterr().err
        assert "nothing was removed" in error
        assert "secret" not in error
        assert (studies / name / "plan.json").is_file()
    assert not missing.exists()


def test_a_relative_database_is_looked_for_where_the_study_was_started(
    sample: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    folder = in_database(sample, tmp_path / "studies", "first", url)
    document = sample.plan("first", storage="sqlite:///records.db")
    (folder / "plan.json").write_text(json.dumps({**document, "directory": str(tmp_path)}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert delete(tmp_path / "studies", "first", "--yes") == 0

    assert optuna.get_all_study_names(url) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_copy_leaves_the_record_in_the_database_to_the_original(
    sample: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    original = in_database(sample, tmp_path / "studies", "first", url)
    copied = original.with_name("copied")
    copied.mkdir()
    (copied / "plan.json").write_bytes((original / "plan.json").read_bytes())

    assert delete(tmp_path / "studies", "copied", "--yes") == 0

    assert optuna.get_all_study_names(url) == ["first"]
    assert not copied.exists()
    assert "a copy of first" in capsys.readouterr().out


def test_a_record_that_another_folder_owns_stays_with_its_folder(
    sample: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    owner, other = tmp_path / "a" / "first", tmp_path / "b" / "first"
    for folder, mark in ((owner, "of a"), (other, "of b")):
        in_database(sample, folder.parent, "first", url, mark)
    assert claim(url, "first", "of a") is None
    with StudyLock(owner):  # its driver is at work, which a lock in another folder does not tell
        assert delete(other.parent, "first", "--yes") == 0

    assert not other.exists()
    assert optuna.get_all_study_names(url) == ["first"]
    shown = capsys.readouterr().out
    assert f"the record of first in {url} is another folder's, and stays" in shown
    assert "trials unknown" in shown
    assert "goes too" not in shown

    assert delete(owner.parent, "first", "--yes") == 0
    assert optuna.get_all_study_names(url) == []


def test_a_record_that_another_folder_claims_after_the_question_stays(
    sample: SimpleNamespace, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    studies = tmp_path / "studies"
    in_database(sample, studies, "first", url, "of b")
    removal = find_removal(studies, "first")
    assert removal.storage == url
    before = tree(studies)
    assert claim(url, "first", "of a") is None

    with pytest.raises(DeleteError, match=r"has become another folder's: nothing was removed"):
        remove(removal)

    assert tree(studies) == before
    assert optuna.get_all_study_names(url) == ["first"]
    assert find_removal(studies, "first").storage is None


@pytest.mark.parametrize("what", ["folder", "record"])
def test_what_cannot_be_deleted_stays_whole(
    sample: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    studies = tmp_path / "studies"
    folder = in_database(sample, studies, "first", url)
    before = tree(studies)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as barred:
        target = "pathlib.Path.rename" if what == "folder" else "optuna.storages.RDBStorage"
        barred.setattr(target if what == "folder" else f"{target}.delete_study", refuse)
        assert delete(studies, "first", "--yes") == 2

    told = capsys.readouterr().err
    assert str(folder) in told if what == "folder" else "nothing was removed" in told
    assert tree(studies) == before
    assert optuna.get_all_study_names(url) == ["first"]
    assert listed(studies, capsys) == ["first"]


def killed_while_removing(studies: Path, name: str, at: str = "shutil.rmtree") -> None:
    script = (
        "import os, pathlib, shutil\n"
        "from study import delete\n"
        f"{at} = lambda *_: os._exit(9)\n"
        f"delete.remove(delete.find_removal(pathlib.Path({str(studies)!r}), {name!r}))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=False)
    assert run.returncode == 9


def listed(studies: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    main(["list", "--studies", str(studies), "--json"])
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    return sorted(study["name"] for study in body["studies"])


def test_a_deletion_killed_in_the_middle_leaves_no_study_and_the_next_one_sweeps(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_while_removing(studies, "first")

    assert not (studies / "first").exists()
    assert list(leftovers(studies)) == ["first"]
    assert listed(studies, capsys) == ["second"]

    assert delete(studies, "second", "--yes") == 0
    assert tree(studies) == {"teachers", "teachers/abc", "teachers/abc/weights.pt", "mlflow.db"}


def test_a_killed_deletion_is_finished_by_asking_for_it_again(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_while_removing(studies, "first")

    assert delete(studies, "first") == 0

    assert capsys.readouterr().out == "deleted the rest of first\n"
    assert leftovers(studies) == {}
    assert listed(studies, capsys) == ["second"]


def test_a_deletion_killed_before_it_had_removed_anything_is_begun_anew(
    sample: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    studies = tmp_path / "studies"
    for name in ("first", "second"):
        in_database(sample, studies, name, url)
    killed_while_removing(studies, "first", at="delete._delete_recorded")
    assert listed(studies, capsys) == ["second"]

    # Another deletion does not take the study, whose record is there, for the rest of one.
    assert delete(studies, "second", "--yes") == 0
    assert list(leftovers(studies)) == ["first"]
    assert delete(studies, "first", "--yes") == 0

    assert "study first: 1 trial," in capsys.readouterr().out
    assert optuna.get_all_study_names(url) == []
    assert tree(studies) == set()


def test_a_deletion_that_goes_on_is_waited_for(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (studies / "first").rename(studies / ".first.deleted.7")
    with StudyLock(studies / ".first.deleted.7"):
        assert delete(studies, "first", "--yes") == 4
    assert f"first is being deleted by process {os.getpid()}" in capsys.readouterr().err
    assert (studies / ".first.deleted.7" / "plan.json").is_file()


def test_only_what_a_deletion_named_is_taken_for_its_leftover(studies: Path) -> None:
    for name in (".first.deleted", ".first.deleted.x", "first.deleted.3", ".git"):
        (studies / name).mkdir()
    (studies / ".second.deleted.7").write_text("a file")
    (studies / ".third.deleted.7").symlink_to(studies / "teachers")

    assert leftovers(studies) == {}
