"""A Ray of the study's own that dies under it, and takes the driver with it."""

from collections.abc import Callable

import psutil
import pytest
from evidence import (
    EPOCHS,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_nothing_ended_ran_again,
    assert_sound,
    journal_lines,
    note,
)

from analysis.results import TrialResult

pytestmark = pytest.mark.faults


def test_a_driver_whose_ray_dies_says_so_and_the_study_goes_on(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    study.hold(EPOCHS + 3)
    driver = study.start("--json")
    study.wait_for_epoch(1, 2)
    children = psutil.Process(driver.pid).children()
    [raylet] = [child for child in children if child.name() == "raylet"]
    raylet.kill()
    study.release()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    ended, lines = study.ended(), len(journal_lines(study.folder))

    assert driver.returncode == 1
    assert f"the driver of {study.name} died" in errors
    assert f"python -m study resume {study.name}" in errors
    assert (study.folder / "logs" / "driver.log").stat().st_size > 0
    # Workers outlive their Ray for a while, and what they tell is recorded.
    assert 0 in ended
    resumed, seconds = study.resume_and_time()
    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ended, lines)
    assert_equal_studies(study, whole)
    lost = study.epochs_lost()
    assert 0 <= lost <= 2
    note("Ray killed", lost, seconds, "test_ray_gone.py")
