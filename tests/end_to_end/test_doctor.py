"""`python -m study doctor`, as its users run it."""

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.end_to_end
REPOSITORY = Path(__file__).parents[2]
NAMES = (
    *("python", "packages", "cpus", "memory", "shared memory", "studies", "temporary"),
    *("leftovers", "data", "browser", "torch", "gpu", "mlflow", "ray"),
)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}


def test_here_a_study_can_run_and_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dr") as temporary:
        run = subprocess.run(
            [sys.executable, "-m", "study", "doctor", "--json"],
            cwd=tmp_path,
            env=environment(TMPDIR=temporary),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        # Not counted: Ray's folder, empty, and a cache that torch keeps for each user.
        left = [path for path in Path(temporary).rglob("*") if path.name != "ray"]
        left = [path for path in left if not path.name.startswith("torchinductor_")]

    body: dict[str, Any] = json.loads(run.stdout)
    found = {check["name"]: check["state"] for check in body["checks"]}
    assert run.returncode == 0, body
    assert body["ok"] is True
    assert tuple(found) == NAMES
    assert "fail" not in found.values()
    # Only our own lines, as they came: one a check, and the mend of one that has it.
    lines = run.stderr.splitlines()
    assert len(lines) == sum(1 + (check["mend"] is not None) for check in body["checks"])
    assert all(line.startswith(("✓ ", "· ", "    ")) for line in lines)
    assert list(tmp_path.iterdir()) == []
    assert left == []


def test_without_any_package_it_still_says_what_is_missing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-S", "-m", "study", "doctor", "--tracking-uri", "none"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 1
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    failed = [line[2:17].strip() for line in lines if line.startswith("✗")]
    assert {"packages", "data", "torch", "ray"} <= set(failed)
    assert "pip install" in lines[lines.index(next(x for x in lines if "✗ packages" in x)) + 1]
    assert lines[-1] == f"{len(failed)} of {len(NAMES)} fail: {', '.join(failed)}"


@pytest.mark.parametrize(("check", "signum"), [("torch", signal.SIGINT), ("ray", signal.SIGTERM)])
def test_stopped_in_the_middle_it_takes_along_what_it_started(
    tmp_path: Path, check: str, signum: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dr") as temporary:
        seen, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "study", "doctor", "--tracking-uri", "none"],
            cwd=tmp_path,
            env=environment(TMPDIR=temporary, NO_COLOR="1"),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        shown = b""
        try:
            while f"… {check}".encode() not in shown:
                shown += os.read(seen, 4096)
            while check == "ray" and not list(Path(temporary).glob("ray/session_*/logs")):
                time.sleep(0.05)
            ours = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signum)
            assert process.wait(timeout=300) == 128 + signum
        finally:
            process.kill()
            process.wait()
            os.close(seen)
        gone, alive = psutil.wait_procs(ours, timeout=120)
        logs = list(Path(temporary).glob("study-*"))

    assert len(gone) >= (check == "ray")
    assert alive == []
    assert logs == []
    assert b"\x1b[3" not in shown  # no colour
