"""A trial keeps what it learns in the study's folder, and so trains only where that is."""

import errno
import logging
from pathlib import Path

import pytest
from tiny_study import SIZE as MODEL
from tiny_study import SMALL, latency, make_context

from analysis.results import PLAN_FILE
from search_spaces.cifar_blocks import SPACE
from study.death import UnfitWorker, death_of
from study.trial import StudentTrial
from study.trial_context import TrialTask


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
