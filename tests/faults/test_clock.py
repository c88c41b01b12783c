"""The clock of the day is set forward and back between runs; durations and locks do not care."""

import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from evidence import Patient, assert_equal_studies, assert_sound, note

from analysis.results import TrialResult

pytestmark = pytest.mark.faults
SHIFTED_DRIVER = str(Path(__file__).with_name("shifted_driver.py"))


def test_a_clock_set_forward_and_back_changes_no_duration_and_frees_no_lock(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    begun = time.monotonic()
    driver = study.start(first=("3",), script=SHIFTED_DRIVER)
    study.wait_for_epoch(1, 2)
    second = study.launch(first=("-3",), script=SHIFTED_DRIVER)
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)
    first_took = time.monotonic() - begun

    assert driver.returncode == 143
    assert second.returncode == 4
    resumed = study.launch("--json", first=("-3",), script=SHIFTED_DRIVER)
    both_took = time.monotonic() - begun

    assert resumed.returncode == 0, resumed.stderr
    record = study.record()
    started = [datetime.fromisoformat(session.started_at) for session in record.sessions]
    assert (started[0] - started[1]).days == 5  # six but for the time the first run took
    assert 0 < record.sessions[0].seconds < first_took
    assert 0 < record.sessions[1].seconds < both_took - first_took
    assert all(0 < trial.usage.device_seconds < both_took for trial in record.trials)
    assert all(0 < epoch.seconds < both_took for t in record.trials for epoch in t.curve)
    assert_sound(study)
    assert_equal_studies(study, whole)
    status = study.verb("status", "--json")
    assert status.returncode == 0, status.stderr
    assert status.result["seconds"] == pytest.approx(sum(s.seconds for s in record.sessions), 0.01)
    note("clock set forward and back", study.epochs_lost(), 0, "test_clock.py")
