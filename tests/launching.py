"""Running studies from the command line, as their users do."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
# What tests tell the Ray of their own process, a command line has to tell its own.
_TOLD_TO_ALL = frozenset(os.environ)
# What is not about latencies needs them but roughly.
BRIEF = ("--timing-seconds", "0.5")
# Where who teaches has no part in what is tried: trained in seconds, and timed beside every student
# in no time.
TEACHER = ("--teacher-network", "mnist_cnn", "--teacher-epochs", "3")
# Real digits and real training, small: narrow students, two views, three epochs.
SMALL = (
    *("--space", "cifar_blocks", "--data", "digits", "--fix", "width=16", "--views", "2"),
    *("--max-epochs", "3", "--teacher-epochs", "3"),
    *BRIEF,
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
    """Runs the command line outside the repository, as an installed package would be run."""

    small = SMALL

    def environment(self) -> dict[str, str]:
        told = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("RAY_") or name in _TOLD_TO_ALL
        }
        return {**told, "PYTHONPATH": str(REPOSITORY)}

    def start(
        self,
        *arguments: str,
        studies: Path,
        module: str = "study.launch",
        script: str = "",
        own_group: bool = False,
        **env: str,
    ) -> subprocess.Popen[str]:
        """Start a launch (or another module, or a script) beside a folder; leave it running.

        The folder is that of its studies, unless the arguments name another.
        """
        what = [script] if script else ["-m", module]
        where = [] if "--studies" in arguments else ["--studies", str(studies)]
        return subprocess.Popen(
            [sys.executable, *what, *arguments, *where],
            cwd=studies.parent,
            env={**self.environment(), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=own_group,
        )

    def run(self, *arguments: str, studies: Path, timeout: float = 1200, **how: str) -> Launched:
        """Run a launch to its end."""
        process = self.start(*arguments, studies=studies, **how)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return Launched(process.returncode, stdout, stderr, studies)
