"""Signals and requests to stop; two drivers that want the same study."""

import os
import signal
from collections.abc import Callable

import psutil
import pytest
from evidence import (
    Patient,
    assert_equal_studies,
    assert_nothing_ended_ran_again,
    assert_sound,
    journal_lines,
    note,
)

from analysis.results import TrialResult

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("SIGINT", 130),
        ("SIGTERM", 143),
        ("Ctrl-C", 130),
        ("SIGTERM of timeout", 143),
        ("SIGTERM to all", 143),
        ("study stop", 143),
    ],
)
def test_a_study_that_is_told_to_stop_goes_on_as_if_it_had_not_been(
    how: str, code: int, patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    driver = study.start("--json", own_group=True)
    study.wait_for_epoch(1, 2)
    if how == "Ctrl-C":
        os.killpg(driver.pid, signal.SIGINT)
    elif how == "SIGTERM of timeout":  # to its group, as `timeout` does
        os.killpg(driver.pid, signal.SIGTERM)
    elif how == "SIGTERM to all":  # as systemd does, to Ray's processes as well
        for process in (psutil.Process(driver.pid), *psutil.Process(driver.pid).children()):
            process.send_signal(signal.SIGTERM)
    elif how == "study stop":
        stopped = study.verb("stop", "--json")
        assert stopped.returncode == 0, stopped.stderr
        assert stopped.result == {"study": study.name, "stopped": True}
    else:
        driver.send_signal(getattr(signal, how))
    _, errors = driver.communicate(timeout=60)
    ended, lines = study.ended(), len(journal_lines(study.folder))

    assert driver.returncode == code, errors
    assert ended == {0}
    if how == "SIGTERM to all":  # nobody is left to stop trials
        assert "SIGTERM ended Ray as well" in errors
        assert f"python -m study resume {study.name}" in errors
    else:
        assert study.record().sessions[-1].end == ("SIGINT" if code == 130 else "SIGTERM")
    resumed, seconds = study.resume_and_time()
    assert resumed.returncode == 0, resumed.stderr
    # Who had to leave at once has kept the lock.
    assert ("is gone" in resumed.stderr) == (how == "SIGTERM to all")
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ended, lines)
    assert_equal_studies(study, whole)
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note(f"{how} ({code})", lost, seconds, f"test_signals.py -k {how.split()[-1]}-{code}")


def test_of_two_drivers_started_at_once_one_works_and_the_other_says_who(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    drivers = [study.start("--json") for _ in range(2)]
    ends = {driver.pid: driver.communicate(timeout=250)[1] for driver in drivers}
    codes = {driver.pid: driver.returncode for driver in drivers}

    assert sorted(codes.values()) == [0, 4], ends
    winner, loser = sorted(codes, key=lambda pid: codes[pid])
    assert f"process {winner} on " in ends[loser]
    assert "Traceback" not in ends[loser]
    assert_sound(study)
    assert_equal_studies(study, whole)
    assert study.epochs_lost() == 0
    note("two drivers at once", 0, 0, "test_signals.py -k two_drivers")
