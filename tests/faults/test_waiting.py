"""Trials that wait at rungs: who goes on is decided alike, whatever happens to the driver."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from evidence import (
    EPOCHS,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_sound,
    note,
)
from launching import Launcher

from analysis.results import TrialResult

pytestmark = pytest.mark.faults

DYING_DRIVER = str(Path(__file__).with_name("dying_driver.py"))
# Taught by another network than studies of faults have: of its students some wait, and some go on.
SEARCH = (
    *("--teacher-network", "resnet", "--trials", "12"),
    *("--sampler", "latency-first", "--scheduler", "pause"),
)
RUNGS = (1, 3)
# The default and its control come first, and are trained to their end.
SEEDS = 2


def begun_alike(whole: Patient, elsewhere: Path) -> Patient:
    """The same study, as far as teacher and student were timed: who goes on depends on that."""
    twin = Patient(whole.name, elsewhere / "studies", whole.launcher)
    twin.folder.mkdir(parents=True)
    shutil.copytree(whole.studies / "teachers", twin.studies / "teachers")
    for path in whole.folder.glob("*.json"):
        shutil.copy(path, twin.folder)
    lines = (whole.folder / "journal.log").read_text().splitlines(keepends=True)
    timed = next(i for i, line in enumerate(lines) if '"user_attr":{"latency":' in line)
    (twin.folder / "journal.log").write_text("".join(lines[: timed + 1]))
    return twin


def test_a_search_whose_driver_is_killed_goes_on_as_if_it_was_not(
    ward: Path, launcher: Launcher, tmp_path: Path
) -> None:
    undisturbed = Patient("waiting", ward, launcher)
    run = undisturbed.launch("--json", *SEARCH)
    assert run.returncode == 0, run.stderr
    assert_sound(undisturbed)
    trials = undisturbed.record().trials
    assert len(trials) == 12
    assert undisturbed.epochs_lost() == 0
    went_on = [t for t in trials[SEEDS:] if t.epochs_done > RUNGS[0]]
    waited = [t for t in trials[SEEDS:] if t.status == "stopped"]
    assert went_on
    assert waited
    for trial in waited:
        assert trial.epochs_done in RUNGS
        assert trial.outcome is not None
        assert trial.outcome.rung == trial.epochs_done
        assert (trial.reason or "").startswith(f"waited at epoch {trial.epochs_done}, expected to ")
    for trial in trials:
        assert trial.status == "stopped" or trial.epochs_done == EPOCHS

    study = begun_alike(undisturbed, tmp_path)
    driver = study.start("--json", *SEARCH)
    # In the middle of what the search decided by what it had learnt.
    study.wait_for_epoch(went_on[-1].number, RUNGS[0] + 1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=PATIENCE_SECONDS)
    resumed, seconds = study.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_equal_studies(study, trials)
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note("driver killed while trials wait", lost, seconds, "test_waiting.py -k 'not warm'")

    failing = begun_alike(undisturbed, tmp_path / "failing")
    failing.environment["DYING_TRIAL"] = "8"
    failed = failing.launch("--json", *SEARCH, first=("in its search",), script=DYING_DRIVER)
    assert failed.returncode == 1
    assert "RuntimeError: the search cannot go on" in failed.stderr
    assert any(trial.outcome is None for trial in failing.record().trials)
    resumed, seconds = failing.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert_sound(failing)
    assert_equal_studies(failing, trials)
    lost = failing.epochs_lost()
    assert 0 <= lost <= 1
    note("error in the search", lost, seconds, "test_waiting.py -k 'not warm'")


def test_a_warm_and_constrained_search_whose_driver_is_killed_goes_on_as_if_it_was_not(
    ward: Path,
    launcher: Launcher,
    whole: tuple[TrialResult, ...],
    tmp_path: Path,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ward / "whole", other)
    # Two of those three fall short of it.
    least = round(sorted(trial.val_score or 0.0 for trial in whole)[1] + 0.01, 2)
    asked = (*SEARCH, "--warm-start", str(other), "--min-accuracy", f"{least:.2f}")
    undisturbed = Patient("warm", ward, launcher)
    run = undisturbed.launch("--json", *asked)
    assert run.returncode == 0, run.stderr
    assert f"{len(whole)} of {len(whole)} trials of study other" in run.stderr
    assert_sound(undisturbed)
    trials = undisturbed.record().trials
    # What was handed over is no trial of this study.
    assert len(trials) == 12
    for trial in trials:
        fell_short = trial.epochs_done == EPOCHS and (trial.val_score or 0.0) < least
        assert (trial.reason or "").startswith("accuracy ") == fell_short
        assert trial.status == ("complete" if trial.label else "infeasible") or not fell_short
    went_on = [t for t in trials[SEEDS:] if t.epochs_done > RUNGS[0]]

    study = begun_alike(undisturbed, tmp_path)
    driver = study.start("--json", *asked)
    study.wait_for_epoch(went_on[-1].number, RUNGS[0] + 1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=PATIENCE_SECONDS)
    # The study has a copy of what it learnt from.
    shutil.rmtree(other)
    resumed, seconds = study.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_equal_studies(study, trials)
    note("driver killed in a warm search", study.epochs_lost(), seconds, "test_waiting.py -k warm")
