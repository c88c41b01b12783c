"""The script for SLURM, submitted to a real one of two machines: stopped, and gone on with."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from evidence import COUNTED, PATIENCE_SECONDS, STUDENT
from launching import BRIEF, REPOSITORY, TEACHER, Launcher
from slurm import Slurm, running_slurm

from analysis.record import read_record

pytestmark = pytest.mark.end_to_end
NAME = "on-slurm"
PLAN = (
    *BRIEF,
    *("--space", str(COUNTED), "--data", "digits", "--views", "2", "--max-epochs", "4"),
    *(*STUDENT, *TEACHER, "--scheduler", "none", "--trials", "2", "--name", NAME),
    *("--tracking-uri", "none", "--precision", "float32"),
)


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    with running_slurm("one", "two") as found:
        yield found


def epochs(studies: Path) -> set[tuple[int, int, float]]:
    try:
        trials = read_record(studies / NAME).trials
    except Exception:
        return set()  # not begun yet
    return {(trial.number, e.epoch, e.val_score) for trial in trials for e in trial.curve}


def test_a_study_on_slurm_ends_when_told_and_the_same_command_goes_on_with_it(
    slurm: Slurm, launcher: Launcher, tmp_path: Path
) -> None:
    home, studies, held = (tmp_path / name for name in ("home", "studies", "held"))
    home.mkdir()
    environment = {
        **launcher.environment(),
        "HOME": str(home),
        "TMPDIR": "/tmp/ray",  # each machine's own, as all of /tmp is elsewhere
        "STUDY_ENV": str(Path(sys.executable).parents[1]),
        "EPOCHS_BEGUN": str(tmp_path / "epochs"),
        "EPOCHS_HELD": str(held),
    }

    def submit(output: Path) -> str:
        script = str(REPOSITORY / "cluster" / "slurm.sh")
        asked = ("sbatch", "--parsable", "--nodes=2", f"--output={output}", script)
        command = (*asked, *PLAN, "--studies", str(studies))
        return slurm.run(*command, environment=environment).strip()

    stopped, done = tmp_path / "stopped", tmp_path / "done"
    held.write_text("2")  # the epoch in which each machine waits until the job is told
    job = submit(stopped)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not epochs(studies):
        assert slurm.shown(job)["JobState"] in ("PENDING", "RUNNING"), stopped.read_text()
        assert time.monotonic() < deadline, stopped.read_text()
        time.sleep(0.5)
    # As SLURM does two minutes before the time is up.
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    held.unlink()
    assert slurm.wait_for(job) == ("FAILED", "143:0"), stopped.read_text()
    before = epochs(studies)

    assert slurm.wait_for(submit(done)) == ("COMPLETED", "0:0"), done.read_text()
    record = read_record(studies / NAME)
    assert before <= epochs(studies)
    assert [[e.epoch for e in trial.curve] for trial in record.trials] == [[1, 2, 3, 4]] * 2
    assert [trial.usage.retries for trial in record.trials] == [0, 0]  # on whichever machine
    assert [session.end for session in record.sessions] == ["SIGTERM", "complete"]
    assert (studies / NAME / "report" / "index.html").exists()
    # Nothing is left on the machines, nor of the token; the last word is not Ray's about its head.
    assert [machine.name for machine in slurm.machines if "ray" in machine.running()] == []
    assert list(home.glob(".study-ray-*")) == []
    left = [machine.run("ls", "/tmp/ray").stdout.split() for machine in slurm.machines]
    assert [name for names in left for name in names if name.startswith("ray")] == []
    assert "Failed to start Ray" not in done.read_text()
