"""Where int8 students cannot be had, a launch says so before anything is trained."""

import subprocess
import sys
from pathlib import Path

import pytest
from launching import BRIEF, REPOSITORY, Launcher

pytestmark = pytest.mark.end_to_end

SMALL = (*BRIEF, "--space", "cifar_quantized", "--data", "digits", "--name", "tiny")


def test_without_torchao_the_space_is_refused_and_the_extra_is_named(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    command = [*SMALL, "--studies", str(studies)]
    # As python finds things where torchao is not installed.
    script = (
        "import sys; sys.modules['torchao'] = None\n"
        f"from study.launch import main; sys.exit(main({command!r}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 2
    errors = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "pip install '.[quantize]'" in errors[0]
    assert "Traceback" not in run.stderr
    assert not (studies / "tiny").exists()


def test_on_gpus_the_space_is_refused(tmp_path: Path, launcher: Launcher) -> None:
    studies = tmp_path / "studies"
    run = launcher.run(*SMALL, "--gpus-per-trial", "1", studies=studies)

    assert run.returncode == 2
    assert "--fix precision=float32" in run.stderr
    assert not (studies / "tiny").exists()
