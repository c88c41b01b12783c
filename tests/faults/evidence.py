"""What must hold of a study that something happened to, read from all that is left of it."""

import csv
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launching import BRIEF, TEACHER, Launched, Launcher

from analysis.record import StudyResults, read_record
from analysis.results import TrialResult, trial_name

COUNTED = Path(__file__).with_name("counted.py")
EPOCHS, TRIALS = 6, 3
# Quickly trained, whichever is proposed.
NARROW = ("--fix", "width=16", "--fix", "stem_stride=2", "--fix", "batch_size=64")
# One student, so that it is timed once, and a small one, trained in seconds. What differs is how it
# is taught.
STUDENT = (
    *NARROW,
    *(word for n in range(1, 5) for word in ("--fix", f"blocks_{n}={int(n == 1)}")),
)
PLAN = (
    *("--space", str(COUNTED), "--data", "digits", "--views", "2", "--max-epochs", str(EPOCHS)),
    *(*STUDENT, *TEACHER, "--trials", str(TRIALS), "--concurrent", "1"),
    # Studies are compared to the last bit: what "auto" finds faster is up to the moment.
    *("--scheduler", "none", "--precision", "float32"),
    *BRIEF,
)
_SET_STATE, _SET_ATTRIBUTE = 6, 8
# Studies are told to stop while trial 1 is trained.
ENDED = {0}
# How long anything is waited for (s): what comes within a minute does so on a slow machine, too.
PATIENCE_SECONDS = 600


def wait_until(
    condition: Callable[[], object], wanted: str, process: Any = None, *, every: float = 0.02
) -> None:
    """Wait until a condition holds, as long as a process lives that is to bring it about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"waited for {wanted}"
        time.sleep(every)


def essence(trial: TrialResult) -> tuple[Any, ...]:
    """What must not depend on when, how fast, or in how many pieces a trial ran."""
    curve = [(e.epoch, e.train_loss, e.val_loss, e.val_score) for e in trial.curve]
    return trial.number, trial.params, trial.status, curve


@dataclass(frozen=True)
class Line:
    """One line of the journal that is about a trial."""

    trial: int
    attribute: str | None
    ends: bool

    @property
    def is_work(self) -> bool:
        """Whether a trial was trained, or its outcome decided, to write this line."""
        return (self.attribute or "").startswith(("epoch:", "outcome"))


def journal_lines(folder: Path) -> list[Line]:
    """The journal's lines about trials, in order."""
    lines = []
    for text in (folder / "journal.log").read_text().splitlines():
        body = json.loads(text)
        if body["op_code"] == _SET_STATE:
            lines.append(Line(body["trial_id"], None, True))
        elif body["op_code"] == _SET_ATTRIBUTE:
            lines += [Line(body["trial_id"], name, False) for name in body["user_attr"]]
    return lines


@dataclass
class Patient:
    """A study that something is done to, in a folder that it shares with others."""

    name: str
    studies: Path
    launcher: Launcher
    environment: dict[str, str] = field(default_factory=dict)
    drivers: list[Any] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.studies / self.name

    @property
    def epochs_file(self) -> Path:
        """Where students write a line for each epoch they begin."""
        return self.studies.parent / f"{self.name}.epochs"

    @property
    def held_file(self) -> Path:
        """While it is there, students wait in the midst of an epoch; see `hold`."""
        return self.epochs_file.with_suffix(".held")

    def hold(self, epoch: int) -> None:
        """Have each worker wait in the midst of so manieth an epoch that it begins.

        Where trials follow each other on one worker, the epochs of all of them count.
        """
        partial = self.held_file.with_suffix(".partial")
        partial.write_text(str(epoch))
        partial.replace(self.held_file)

    def end(self) -> None:
        """End the drivers that a test which failed has left at work."""
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()
                driver.communicate(timeout=PATIENCE_SECONDS)

    def release(self) -> None:
        """Let whoever is held go on."""
        self.held_file.unlink()

    @property
    def _how(self) -> dict[str, Any]:
        files = {"EPOCHS_BEGUN": str(self.epochs_file), "EPOCHS_HELD": str(self.held_file)}
        return {"studies": self.studies, **files, **self.environment}

    def start(self, *arguments: str, first: Sequence[str] = (), **how: Any) -> Any:
        """Start the study and leave it running; what a script takes comes `first`."""
        driver = self.launcher.start(*self._words(first, arguments), **self._how, **how)
        self.drivers.append(driver)
        return driver

    def launch(self, *arguments: str, first: Sequence[str] = (), **how: Any) -> Launched:
        """Start the study and wait for its end."""
        return self.launcher.run(*self._words(first, arguments), **self._how, **how)

    def _words(self, first: Sequence[str], arguments: Sequence[str]) -> tuple[str, ...]:
        return (*first, *PLAN, "--name", self.name, *arguments)

    def verb(self, verb: str, *arguments: str) -> Launched:
        """Run `python -m study VERB NAME` to its end."""
        return self.launcher.run(verb, self.name, *arguments, module="study", **self._how)

    def record(self) -> StudyResults:
        return read_record(self.folder)

    def epochs_begun(self) -> int:
        """Epochs that any worker has begun."""
        path = self.epochs_file
        return len(path.read_text().splitlines()) if path.exists() else 0

    def epochs_lost(self) -> int:
        """Epochs that were begun and had to be begun again."""
        return self.epochs_begun() - sum(trial.epochs_done for trial in self.record().trials)

    def ended(self) -> set[int]:
        return {trial.number for trial in self.record().trials if trial.outcome is not None}

    def wait_for_epoch(self, trial: int, epoch: int) -> None:
        """Wait until the journal has an epoch of a trial."""
        wanted = f'"trial_id":{trial},"user_attr":{{"epoch:{epoch:04d}"'
        wait_until(lambda: self._journal_has(wanted), f"epoch {epoch} of trial {trial}")

    def wait_for_epochs_begun(self, epochs: int) -> None:
        """Wait until workers have begun so many epochs, all of them together."""
        wait_until(lambda: self.epochs_begun() >= epochs, f"{epochs} epochs to be begun")

    def _journal_has(self, text: str) -> bool:
        journal = self.folder / "journal.log"
        return journal.exists() and text in journal.read_text()

    def resume_and_time(self, *arguments: str) -> tuple[Launched, float]:
        """Go on to the end; with it the seconds until something new was in the record.

        A study that had nothing left to add is timed to its end.
        """
        before = self._work_lines()
        begun = time.monotonic()
        process = self.launcher.start(
            "resume", self.name, "--json", *arguments, module="study", **self._how
        )
        recovered = None
        deadline = begun + PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline and recovered is None:
            if self._work_lines() > before:
                recovered = time.monotonic() - begun
            time.sleep(0.05)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        run = Launched(process.returncode, stdout, stderr, self.studies)
        return run, recovered or time.monotonic() - begun

    def _work_lines(self) -> int:
        journal = self.folder / "journal.log"
        text = journal.read_text() if journal.exists() else ""
        return text.count('"epoch:') + text.count('"outcome"') + text.count('"confirmed:')


def assert_sound(patient: Patient, mlflow: bool = True) -> None:
    """Every trial has exactly one terminal state, and everyone tells of it alike."""
    trials = patient.record().trials
    ends = Counter(line.trial for line in journal_lines(patient.folder) if line.ends)
    outcomes = Counter(
        line.trial for line in journal_lines(patient.folder) if line.attribute == "outcome"
    )
    assert ends == outcomes == {trial.number: 1 for trial in trials}
    with (patient.folder / "report" / "results.csv").open() as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        trial.name: trial.status for trial in trials
    }
    if mlflow:
        assert_mlflow_agrees(patient.record())


def assert_mlflow_agrees(record: StudyResults) -> None:
    """MLflow has one run a trial, ended as the record says, with each epoch once."""
    from mlflow import MlflowClient

    assert record.mlflow is not None
    client = MlflowClient(record.mlflow["tracking_uri"])
    experiment = str(record.mlflow["experiment_id"])
    runs = client.search_runs(
        [experiment], f"tags.`mlflow.parentRunId` = '{record.mlflow['run_id']}'"
    )
    assert Counter(run.data.tags["trial"] for run in runs) == {
        str(trial.number): 1 for trial in record.trials
    }
    for run in runs:
        trial = record.trials[int(run.data.tags["trial"])]
        assert run.data.tags["outcome"] == trial.status
        assert run.info.status in ("FINISHED", "FAILED")
        assert run.info.end_time is not None
        assert run.data.metrics.get("final/val_score") == trial.val_score
        history = client.get_metric_history(run.info.run_id, "val_score")
        assert sorted((point.step, point.value) for point in history) == [
            (epoch.epoch, epoch.val_score) for epoch in trial.curve
        ]
    study = client.get_run(record.mlflow["run_id"])
    assert study.info.status == "FINISHED"
    named = client.search_runs(
        [experiment], f"tags.kind = 'study' and tags.study = '{record.name}'"
    )
    assert len(named) == 1


def assert_nothing_ended_ran_again(patient: Patient, ended: set[int], lines_before: int) -> None:
    """No line of work was written about trials that had ended `lines_before` lines ago."""
    later = journal_lines(patient.folder)[lines_before:]
    assert [line for line in later if line.is_work and line.trial in ended] == []


def assert_equal_studies(patient: Patient, whole: Sequence[TrialResult]) -> None:
    assert [essence(trial) for trial in patient.record().trials] == [essence(t) for t in whole]


def assert_stopped(
    study: Patient, driver: Any, code: int, *, in_order: bool = True
) -> tuple[str, int]:
    """The driver ends, by a signal, with trial 1 half done, and the record says so.

    Returns what it told, and how many lines about trials the journal has.
    """
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == code, errors
    assert study.ended() == ENDED
    if in_order:
        assert study.record().sessions[-1].end == signal.Signals(code - 128).name
    return errors, len(journal_lines(study.folder))


def assert_goes_on(
    study: Patient, whole: Sequence[TrialResult], lines: int, *, in_order: bool = True
) -> float:
    """Resumed, a stopped study comes to the same end as one that nothing happened to.

    Returns the seconds until something new was in the record.
    """
    resumed, seconds = study.resume_and_time()
    assert resumed.returncode == 0, resumed.stderr
    # Who had to leave at once has kept the lock.
    assert ("is gone" in resumed.stderr) != in_order
    assert_sound(study)
    assert_nothing_ended_ran_again(study, ENDED, lines)
    assert_equal_studies(study, whole)
    return seconds


def note(fault: str, lost: int | str, seconds: float, test: str) -> None:
    """Add a row to the table that FAULTS_TABLE names, if it names one."""
    path = os.environ.get("FAULTS_TABLE")
    if path:
        row = {"fault": fault, "epochs_lost": lost, "seconds": round(seconds, 1), "test": test}
        with Path(path).open("a") as file:
            file.write(json.dumps(row) + "\n")


def selecting(case: str) -> str:
    """The option by which pytest runs a case alone: all of its words are in its name."""
    return f"-k '{' and '.join(case.split())}'"


__all__ = [
    "EPOCHS",
    "NARROW",
    "PATIENCE_SECONDS",
    "PLAN",
    "STUDENT",
    "TRIALS",
    "Patient",
    "trial_name",
]
