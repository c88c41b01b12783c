"""A study whose output nobody reads any more: `launch | head`, and `launch | tee` under Ctrl-C."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from evidence import (
    ENDED,
    EPOCHS,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_nothing_ended_ran_again,
    assert_sound,
    assert_stopped,
    note,
)

from analysis.results import TrialResult

pytestmark = pytest.mark.faults


def close(driver: Any) -> None:
    """Read a line of what a driver prints, and no more."""
    assert driver.stdout.readline()
    driver.stdout.close()


def test_a_study_that_nobody_reads_is_stopped_and_goes_on_as_any_other(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient(PYTHONUNBUFFERED="")  # as most users have it: what is not written is kept
    study.hold(EPOCHS + 3)
    stopped = study.start(own_group=True)
    close(stopped)
    study.wait_for_epoch(1, 2)
    os.killpg(stopped.pid, signal.SIGINT)
    study.release()
    errors, lines = assert_stopped(study, stopped, 130)
    assert errors == ""
    assert (study.folder / "report" / "index.html").exists()

    goes_on = study.start()
    close(goes_on)
    _, errors = goes_on.communicate(timeout=PATIENCE_SECONDS)
    assert (goes_on.returncode, errors) == (0, "")
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ENDED, lines)
    assert_equal_studies(study, whole)

    # With --json the object alone is for that reader.
    shown = study.start("--json")
    shown.stdout.close()
    shown.communicate(timeout=PATIENCE_SECONDS)
    assert shown.returncode == 0
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note("reader of the output gone (130, then 0)", lost, 0, "test_reader_gone.py")
