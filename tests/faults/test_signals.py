"""Signals and requests to stop; two drivers that want the same study."""

import os
import signal
from collections.abc import Callable

import psutil
import pytest
from evidence import (
    EPOCHS,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_goes_on,
    assert_sound,
    assert_stopped,
    note,
    wait_until,
)

from analysis.results import TrialResult

pytestmark = pytest.mark.faults


# By SIGTERM alone, and by the verb, studies are stopped in test_disk.py.
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("SIGINT", 130),
        ("Ctrl-C", 130),
        ("SIGTERM of timeout", 143),
        ("SIGTERM to all", 143),
    ],
)
def test_a_study_that_is_told_to_stop_goes_on_as_if_it_had_not_been(
    how: str, code: int, patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    study.hold(EPOCHS + 3)
    driver = study.start("--json", own_group=True)
    study.wait_for_epoch(1, 2)
    in_order = how != "SIGTERM to all"  # where nobody is left to stop trials
    if how == "Ctrl-C":
        os.killpg(driver.pid, signal.SIGINT)
    elif how == "SIGTERM of timeout":  # to its group, as `timeout` does
        os.killpg(driver.pid, signal.SIGTERM)
    elif how == "SIGTERM to all":  # as systemd does, to Ray's processes as well
        for process in (psutil.Process(driver.pid), *psutil.Process(driver.pid).children()):
            process.send_signal(signal.SIGTERM)
    else:
        driver.send_signal(signal.SIGINT)
    study.release()

    errors, lines = assert_stopped(study, driver, code, in_order=in_order)
    if not in_order:
        assert "SIGTERM ended Ray as well" in errors
        assert f"python -m study resume {study.name}" in errors
    seconds = assert_goes_on(study, whole, lines, in_order=in_order)
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note(f"{how} ({code})", lost, seconds, f"test_signals.py -k {how.split()[-1]}-{code}")


def test_of_two_drivers_started_at_once_one_works_and_the_other_says_who(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    study.hold(1)
    drivers = [study.start("--json") for _ in range(2)]
    # However much later the other one comes, the study is not over by then.
    wait_until(lambda: any(each.poll() is not None for each in drivers), "one to end")
    study.release()
    ends = {driver.pid: driver.communicate(timeout=PATIENCE_SECONDS)[1] for driver in drivers}
    codes = {driver.pid: driver.returncode for driver in drivers}

    assert sorted(codes.values()) == [0, 4], ends
    winner, loser = sorted(codes, key=lambda pid: codes[pid])
    assert f"process {winner} on " in ends[loser]
    assert "Traceback" not in ends[loser]
    assert_sound(study)
    assert_equal_studies(study, whole)
    assert study.epochs_lost() == 0
    note("two drivers at once", 0, 0, "test_signals.py -k two_drivers")
