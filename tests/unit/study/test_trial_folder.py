"""A trial keeps what it learns in the study's folder, and so trains only where that is."""

import errno
import logging
import os
from pathlib import Path

import pytest
from tiny_study import SIZE as MODEL
from tiny_study import SMALL, latency, make_context

from analysis.results import PLAN_FILE
from search_spaces.cifar_blocks import SPACE
from study.death import UnfitWorker, death_of
from study.trial import StudentTrial
from study.trial_context import CHECKPOINT_FILE, TrialTask, student_file, trial_folder


def task(**different: int) -> TrialTask:
    known = {"model": MODEL.to_json(), "latency": latency(3.0).to_json()}
    return TrialTask(0, SPACE.complete({**SMALL, "terms": "ce"}), False, **known, **different)


def test_a_trial_that_comes_to_a_node_without_the_study_s_folder_is_for_another_to_train(
    tmp_path: Path,
) -> None:
    elsewhere = make_context(tmp_path / "study", shared=True)

    with pytest.raises(UnfitWorker, match=f"does not have the folder {tmp_path}/study") as said:
        StudentTrial(task(), elsewhere).advance()

    assert not (tmp_path / "study").exists()
    death = death_of(said.value)
    assert death.retry
    assert death.whole_node
    assert "does not have the folder" in death.reason


def test_a_trial_is_trained_where_the_study_s_folder_is(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text("{}")

    assert "failure" not in StudentTrial(task(), make_context(tmp_path, shared=True)).advance()


@pytest.mark.parametrize("known", [0, 2])
def test_a_trial_that_begins_again_for_want_of_a_checkpoint_says_so(
    tmp_path: Path, known: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="study.trial"):
        StudentTrial(task(epochs_known=known), make_context(tmp_path)).advance()

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (1 if known else 0)
    assert all("begins again, with 2 epochs on record: no checkpoint" in line for line in said)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (None, ""),
        ("{studies}/mine/checkpoints/t0000/last.pt", ""),
        ("{studies}/teachers/part", ""),
        ("/tmp/ray/session/part", "/tmp/ray/session/part"),
    ],
)
def test_a_trial_tells_which_file_a_full_disk_had_no_room_for_if_it_is_none_of_the_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None, told: str
) -> None:
    def full(*_: object) -> None:
        name = None if file is None else file.format(studies=tmp_path)
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr(StudentTrial, "_prepare", full)
    report = StudentTrial(task(), make_context(tmp_path / "mine")).advance()

    assert (report["done"], report["disk_full"]) == (True, told)


def begun(folder: Path, epochs: int) -> StudentTrial:
    """A trial of so many epochs, measured and built."""
    trial = StudentTrial(task(), make_context(folder, epochs=epochs))
    assert trial.advance()["epoch"] == 0
    return trial


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN])
def test_a_trial_whose_checkpoint_cannot_be_written_is_for_another_worker_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def hiccup(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    trial = begun(tmp_path, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", hiccup)
        with pytest.raises(UnfitWorker, match="its files are out of reach") as told:
            trial.advance()

    death = death_of(told.value)
    assert death.retry
    assert not death.whole_node
    assert os.strerror(code) in death.reason
    begun(tmp_path, epochs=1).advance()
    assert student_file(tmp_path, 0).exists()


def test_a_full_disk_is_told_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    trial = begun(tmp_path, epochs=1)
    monkeypatch.setattr(os, "fsync", full)

    assert trial.advance()["disk_full"] == ""


def test_a_trial_whose_checkpoint_cannot_be_read_does_not_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def hiccup(path: Path) -> bytes:
        if path.name.startswith(CHECKPOINT_FILE):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    first = begun(tmp_path, epochs=3)
    first.advance()
    first.advance()
    first.close()
    before = {path: path.read_bytes() for path in trial_folder(tmp_path, 0).iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", hiccup)
        with pytest.raises(UnfitWorker, match=r"no checkpoint can be read at .*input/output error"):
            StudentTrial(task(epochs_known=2), make_context(tmp_path, epochs=3)).advance()

    assert {path: path.read_bytes() for path in trial_folder(tmp_path, 0).iterdir()} == before
    report = StudentTrial(task(epochs_known=2), make_context(tmp_path, epochs=3)).advance()
    assert [epoch["epoch"] for epoch in report["curve"]] == [1, 2]
