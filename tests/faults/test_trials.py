"""What goes wrong inside a trial, or with its worker, costs that trial alone."""

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest
from evidence import (
    EPOCHS,
    NARROW,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_sound,
    note,
)
from launching import BRIEF, TEACHER, Launcher

from analysis.results import TrialResult

pytestmark = pytest.mark.faults
FAULTY = str(Path(__file__).with_name("faulty.py"))
GIB = 2**30


def worker_of(driver: int, seconds: float = PATIENCE_SECONDS) -> psutil.Process:
    """The process that a driver's trial runs in.

    Ray renames it with every call and psutil reads a long name in two pieces, so that one look may
    find none; the kernel's own name holds its first 15 letters.
    """
    deadline = time.monotonic() + seconds
    while True:
        processes = psutil.Process(driver).children(recursive=True)
        named = [(process, _name(process)) for process in processes]
        workers = [process for process, name in named if name.startswith("ray::ResourceT")]
        if len(workers) == 1:
            return workers[0]
        assert time.monotonic() < deadline, named
        time.sleep(0.01)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize("server", ["", " and what it was forked from"])
def test_a_trial_whose_worker_is_killed_goes_on_from_its_last_checkpoint(
    patient: Callable[..., Patient], whole: tuple[TrialResult, ...], server: str
) -> None:
    study = patient()
    study.hold(EPOCHS + 3)
    driver = study.start("--json")
    study.wait_for_epoch(1, 2)
    worker = worker_of(driver.pid)
    if server:
        children = psutil.Process(driver.pid).children()
        (forking,) = [child for child in children if "fork_server.py" in " ".join(child.cmdline())]
        forking.kill()  # whoever comes next loads torch by itself
    worker.send_signal(signal.SIGKILL)
    study.release()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, errors
    (told,) = (line for line in errors.splitlines() if "worker died" in line)
    assert told.startswith("warning: t0001: its worker died; going on from epoch"), told
    assert_sound(study)
    assert_equal_studies(study, whole)
    assert [trial.usage.retries for trial in study.record().trials] == [0, 1, 0]
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note(f"worker killed mid-epoch{server}", lost, 0, "test_trials.py -k worker_is_killed")


def test_a_trial_whose_workers_keep_dying_fails_and_the_others_go_on(
    patient: Callable[..., Patient],
) -> None:
    study = patient()
    study.hold(EPOCHS + 2)
    driver = study.start("--json", "--retries", "1")
    study.wait_for_epoch(1, 1)
    first = worker_of(driver.pid)
    first.kill()
    study.hold(3)  # of another worker, which begins with the second
    study.wait_for_epoch(1, EPOCHS - 3)
    worker_of(driver.pid).kill()
    study.release()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, errors
    assert_sound(study)
    trials = study.record().trials
    assert [trial.status for trial in trials] == ["complete", "failed", "complete"]
    assert trials[1].reason == "its worker died (2 times)"
    assert trials[1].usage.retries == 1


def run_of_faulty(
    name: str, ward: Path, launcher: Launcher, *asked: str, **environment: str
) -> tuple[Patient, dict[str, int]]:
    """A study of faulty students, which comes to its end all the same; with it its counts."""
    study = Patient(name, ward, launcher)
    run = launcher.run(
        *BRIEF,
        *("--space", FAULTY, "--data", "digits", "--views", "2", *NARROW),
        *("--max-epochs", "2", "--concurrent", "1"),
        *TEACHER,
        *("--name", study.name, "--json", *asked),
        studies=ward,
        **environment,
    )
    assert run.returncode == 0, run.stderr
    assert_sound(study)
    return study, run.result["counts"]


def test_faulty_students_end_their_trials_alone_and_say_why(ward: Path, launcher: Launcher) -> None:
    faults = (
        ("nan", "failed", "the loss is nan"),
        ("raise", "failed", "no such layer"),
        ("allocate", "infeasible", "out of memory"),
    )
    study, counts = run_of_faulty("faulty", ward, launcher, "--preset", "faults", "--trials", "4")

    *distilled, control = study.record().trials
    for trial, (fault, status, reason) in zip(distilled, faults, strict=True):
        assert (trial.label, trial.status) == (fault, status)
        assert reason in (trial.reason or "")
        assert trial.usage.retries == 0
    assert (control.source, control.status) == ("control", "complete")
    assert (counts["failed"], counts["infeasible"], counts["complete"]) == (2, 1, 1)
    for fault, _, _ in faults:
        note(f"a trial with `{fault}`", "its own", 0, "test_trials.py -k faulty_students")


@pytest.mark.parametrize("fault", ["cuda", "stale"])
def test_a_worker_that_would_fail_whatever_it_is_given_is_given_nothing_more(
    fault: str, ward: Path, launcher: Launcher, tmp_path: Path
) -> None:
    lost, name = tmp_path / "worker", f"faulty-worker-{fault}"
    study, counts = run_of_faulty(
        name, ward, launcher, "--trials", "3", FAULT=fault, LOST_WORKER=str(lost)
    )

    assert lost.exists()
    assert counts["failed"] == 0
    assert sum(trial.usage.retries for trial in study.record().trials) == 1


def test_too_many_failures_throw_away_nobody_who_waits_and_a_resume_goes_on_with_them(
    ward: Path, launcher: Launcher, tmp_path: Path
) -> None:
    study, failing = Patient("faulty-waiting", ward, launcher), tmp_path / "failing"
    faults = {"FAULT": "nan", "FAULT_WHILE": str(failing)}
    driver = launcher.start(
        *BRIEF,
        *("--space", FAULTY, "--data", "digits", "--views", "2", *NARROW),
        *("--max-epochs", "4", "--concurrent", "1"),
        *TEACHER,
        # Of so many the first sixteen are begun before anyone goes on.
        *("--sampler", "latency-first", "--scheduler", "pause", "--trials", "40"),
        *("--max-failures", "0.2", "--name", study.name, "--json"),
        studies=ward,
        **faults,
    )
    # Whoever is trained to the end is another: the default and its control.
    study.wait_for_epoch(4, 1)
    failing.touch()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 3, errors

    before = study.record().trials
    waited = [trial for trial in before if trial.waits_at is not None]
    failed = [trial for trial in before if trial.status == "failed"]
    assert len(waited) >= 2
    assert len(failed) >= 2
    assert not [trial for trial in before if trial.status == "stopped"]
    for trial in waited:
        assert (study.folder / "checkpoints" / trial.name / "last.pt").exists()
    told = study.verb("status", "--json").result
    assert (told["state"], len(told["paused"])) == ("too many failures", len(waited))
    run_ids = {trial.number: trial.mlflow_run_id for trial in waited}
    assert set(_outcomes_in_mlflow(study, run_ids.values())) == {"interrupted"}

    failing.unlink()
    again = launcher.run(
        *("resume", study.name, "--max-failures", "0.9", "--trials", "12", "--json"),
        module="study",
        studies=ward,
        **faults,
    )
    assert again.returncode == 0, again.stderr
    assert_sound(study)
    trials = study.record().trials
    # They were in the running again: trained to the end, or given up for what was expected of them.
    for trial in waited:
        outcome = trials[trial.number].outcome
        assert outcome is not None
        assert outcome.status == "complete" or (outcome.reason or "").startswith("waited at epoch")
    assert [trial.number for trial in trials if trial.status == "failed"] == [
        trial.number for trial in failed
    ]


def _outcomes_in_mlflow(study: Patient, run_ids: Iterable[str | None]) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient((study.record().mlflow or {})["tracking_uri"])
    return [client.get_run(str(each)).data.tags["outcome"] for each in run_ids]


# What others take of the memory meanwhile, Ray would take for this study's.
@pytest.mark.alone
def test_a_student_that_takes_all_memory_ends_its_trial_alone_and_says_why(
    ward: Path, launcher: Launcher
) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 6 * GIB:
        pytest.skip("needs six GiB of free memory")
    # Ray ends a worker when the node has three GiB less than now.
    threshold = min(0.98, 1 - (memory.available - 3 * GIB) / memory.total)
    watched = {
        "RAY_memory_usage_threshold": f"{threshold:.4f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    study, counts = run_of_faulty(
        "faulty-memory", ward, launcher, "--trials", "2", FAULT="memory", **watched
    )

    distilled, control = study.record().trials
    assert (distilled.status, control.status) == ("infeasible", "complete")
    assert "out of memory" in (distilled.reason or "")
    assert distilled.usage.retries == 0
    assert counts["infeasible"] == 1
    note("a trial with `memory`", "its own", 0, "test_trials.py -k takes_all_memory")
