"""A finished study, run once from the command line and looked at by several tests."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
# Real digits and real training, small: narrow students, two views, three epochs.
SMALL = (
    *("--space", "cifar_blocks", "--data", "digits", "--fix", "width=16", "--views", "2"),
    *("--max-epochs", "3", "--teacher-epochs", "3"),
)


@dataclass(frozen=True)
class Launched:
    """What a launch came to."""

    returncode: int
    stdout: str
    stderr: str
    studies: Path

    @property
    def result(self) -> dict[str, Any]:
        """The object that --json prints."""
        body: dict[str, Any] = json.loads(self.stdout)
        return body


class Launcher:
    """Runs `python -m study.launch` outside the repository, as an installed package would be."""

    small = SMALL

    def command(self, *arguments: str, studies: Path) -> list[str]:
        return [sys.executable, "-m", "study.launch", *arguments, "--studies", str(studies)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def start(self, *arguments: str, studies: Path) -> subprocess.Popen[str]:
        """Start a launch and leave it running."""
        return subprocess.Popen(
            self.command(*arguments, studies=studies),
            cwd=studies.parent,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, studies: Path, timeout: float = 280) -> Launched:
        """Run a launch to its end."""
        process = self.start(*arguments, studies=studies)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return Launched(process.returncode, stdout, stderr, studies)


@pytest.fixture(scope="session")
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture(scope="session")
def finished(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A study of six trials, with MLflow, that ran to its end."""
    studies = tmp_path_factory.mktemp("finished") / "studies"
    run = launcher.run(*SMALL, "--name", "small", "--trials", "6", "--json", studies=studies)
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture
def studies(finished: Launched, tmp_path: Path) -> Path:
    """A studies folder of one's own that has the teacher already."""
    folder = tmp_path / "studies"
    shutil.copytree(finished.studies / "teachers", folder / "teachers")
    return folder
