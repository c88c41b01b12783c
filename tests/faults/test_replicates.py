"""The driver is killed while the front is trained again; the study goes on as if nothing was."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence import (
    EPOCHS,
    PATIENCE_SECONDS,
    TRIALS,
    Patient,
    assert_equal_studies,
    assert_nothing_ended_ran_again,
    assert_sound,
    journal_lines,
    note,
    selecting,
)
from launching import Launcher

from analysis.results import TrialResult

pytestmark = pytest.mark.faults
DYING_DRIVER = str(Path(__file__).with_name("dying_driver.py"))
# By this sampler the third trial is close behind the front, and so is trained again.
REPLICATES = ("--replicates", "3", "--sampler", "tpe")
# The second trial after those of the search: some of its round is done, some is not.
SECOND = str(TRIALS + 1)
POINTS = ("after ask", "mid-epoch", "after report before tell")


@pytest.fixture(scope="module")
def replicated(ward: Path, launcher: Launcher) -> tuple[TrialResult, ...]:
    """The trials of the study with replicates that nothing happens to."""
    undisturbed = Patient("replicated", ward, launcher)
    run = undisturbed.launch(*REPLICATES, "--json")
    assert run.returncode == 0, run.stderr
    trials = undisturbed.record().trials
    assert len(trials) > TRIALS + 2
    assert undisturbed.epochs_begun() == EPOCHS * len(trials)
    return trials


def asked_as(trials: tuple[TrialResult, ...]) -> list[tuple[int | None, int, int | None]]:
    return [(trial.replicate_of, trial.run, trial.control_of) for trial in trials]


def assert_tested_as(patient: Patient, whole: tuple[TrialResult, ...]) -> None:
    """Every run is scored on the test split that is scored in the undisturbed study, and alike."""
    assert [t.test_score for t in patient.record().trials] == [t.test_score for t in whole]


@pytest.mark.parametrize("point", POINTS)
def test_a_study_killed_while_it_trains_replicates_goes_on_and_trains_none_twice(
    point: str, patient: Callable[..., Patient], replicated: tuple[TrialResult, ...]
) -> None:
    study = patient(DYING_TRIAL=SECOND)
    killed = study.launch(*REPLICATES, first=(point,), script=DYING_DRIVER)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended, lines = study.ended(), len(journal_lines(study.folder))
    assert len(ended) >= TRIALS

    resumed, seconds = study.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ended, lines)
    assert_equal_studies(study, replicated)
    assert asked_as(study.record().trials) == asked_as(replicated)
    assert_tested_as(study, replicated)
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note(
        f"driver killed {point} of a replicate",
        lost,
        seconds,
        f"test_replicates.py {selecting(point)}",
    )


def test_runs_that_were_trained_as_one_go_on_one_by_one_after_the_driver_was_killed(
    patient: Callable[..., Patient],
) -> None:
    study = patient(DYING_TRIAL=str(TRIALS))
    asked = (*REPLICATES, "--fuse", "always", "--concurrent", "1")
    killed = study.launch(*asked, first=("mid-epoch",), script=DYING_DRIVER)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first = study.record().trials[TRIALS]
    assert first.usage.runs > 1
    together = study.record().trials[TRIALS : TRIALS + first.usage.runs]
    assert all(trial.status == "running" for trial in together)
    ended, lines = study.ended(), len(journal_lines(study.folder))

    resumed, _ = study.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ended, lines)
    trials = study.record().trials
    assert all(trials[one.number].status == "complete" for one in together)
    runs = Counter((trial.replicate_of, trial.run) for trial in trials if trial.run)
    assert set(runs.values()) == {1}


def test_a_study_stopped_by_a_signal_goes_on_with_its_replicate(
    patient: Callable[..., Patient], replicated: tuple[TrialResult, ...]
) -> None:
    study = patient()
    study.hold(int(SECOND) * EPOCHS + 3)
    process = study.start(*REPLICATES)
    study.wait_for_epoch(int(SECOND), 2)
    process.send_signal(signal.SIGTERM)
    study.release()
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    ended, lines = study.ended(), len(journal_lines(study.folder))
    assert int(SECOND) not in ended

    resumed, _ = study.resume_and_time()

    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ended, lines)
    assert_equal_studies(study, replicated)
    assert_tested_as(study, replicated)
