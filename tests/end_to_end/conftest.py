"""A finished study, run once from the command line and looked at by several tests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
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


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def command(*arguments: str, studies: Path) -> list[str]:
    return [sys.executable, "-m", "study.launch", *arguments, "--studies", str(studies)]


def launch(*arguments: str, studies: Path, timeout: float = 280) -> Launched:
    """Run a launch to its end, outside the repository, as an installed package would be."""
    run = subprocess.run(
        command(*arguments, studies=studies),
        cwd=studies.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Launched(run.returncode, run.stdout, run.stderr, studies)


@pytest.fixture(scope="session")
def shared_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A studies folder that holds the small studies' teacher, to copy from."""
    return tmp_path_factory.mktemp("shared") / "studies"


@pytest.fixture(scope="session")
def finished(shared_teacher: Path) -> Launched:
    """A study of six trials, with MLflow, that ran to its end."""
    run = launch(*SMALL, "--name", "small", "--trials", "6", "--json", studies=shared_teacher)
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture
def studies(finished: Launched, tmp_path: Path) -> Callable[[], Path]:
    """Make a studies folder that has the teacher already."""
    import shutil

    def make() -> Path:
        folder = tmp_path / "studies"
        folder.mkdir()
        shutil.copytree(finished.studies / "teachers", folder / "teachers")
        return folder

    return make
