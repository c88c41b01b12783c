"""The driver is killed, with SIGKILL, wherever it hurts; the study goes on as if nothing was."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from dying_driver import POINTS
from evidence import (
    Patient,
    assert_equal_studies,
    assert_nothing_ended_ran_again,
    assert_sound,
    journal_lines,
    note,
    selecting,
)

from analysis.results import TrialResult

pytestmark = pytest.mark.faults
DYING_DRIVER = str(Path(__file__).with_name("dying_driver.py"))

# To see that it is no luck: FAULTS_ROUNDS=10 python -m pytest tests/faults/test_driver_killed.py
ROUNDS = range(int(os.environ.get("FAULTS_ROUNDS", "1")))


@pytest.mark.parametrize("again", ROUNDS)
@pytest.mark.parametrize("point", POINTS)
def test_a_study_whose_driver_is_killed_goes_on_and_loses_at_most_one_epoch(
    point: str, again: int, patient: Callable[[], Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    killed = study.launch(first=(point,), script=DYING_DRIVER)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended, lines = study.ended(), len(journal_lines(study.folder))

    resumed, seconds = study.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert "is gone" in resumed.stderr
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ended, lines)
    assert_equal_studies(study, whole)
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    assert study.epochs_begun() == sum(trial.epochs_done for trial in whole) + lost
    note(f"driver killed {point}", lost, seconds, f"test_driver_killed.py {selecting(point)}")
