"""The clock of the day is set forward and back between runs; durations and locks do not care.

On the way: where a driver listens, whom a second launch names, what a stopped study leaves open.
"""

import contextlib
import ipaddress
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from evidence import (
    EPOCHS,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_sound,
    note,
)

from analysis.results import TrialResult

pytestmark = pytest.mark.faults
SHIFTED_DRIVER = str(Path(__file__).with_name("shifted_driver.py"))


def addresses_listened_on(pid: int) -> set[str]:
    """Where a driver and all that it started wait for connections."""
    driver = psutil.Process(pid)
    found = set()
    for process in (driver, *driver.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip.removeprefix("::ffff:"))
    return found


def test_a_driver_on_loopback_keeps_its_lock_and_its_durations_whatever_the_clock_is_set_to(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    study.hold(EPOCHS + 3)  # of the second trial the third
    begun = time.monotonic()
    driver = study.start(first=("3",), script=SHIFTED_DRIVER)
    study.wait_for_epoch(1, 2)
    listening = addresses_listened_on(driver.pid)
    second = study.launch(first=("-3",), script=SHIFTED_DRIVER)
    driver.send_signal(signal.SIGTERM)
    study.release()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    first_took = time.monotonic() - begun

    assert driver.returncode == 143, errors
    assert listening
    assert all(ipaddress.ip_address(address).is_loopback for address in listening)
    assert second.returncode == 4
    assert f"process {driver.pid} on " in second.stderr
    assert any(trial.status == "running" for trial in study.record().trials)
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
