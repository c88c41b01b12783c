"""Workers forked from one process that has loaded what they need."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import forking
from cluster.forking import ForkServer, can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="workers are forked on Linux alone")

WORKER = """
import json, os, sys, time
import numpy
print(json.dumps({
    "arguments": sys.argv,
    "name": __name__,
    "loaded": "colorsys" in sys.modules,
    "variable": os.environ.get("VARIABLE"),
    "inherited": os.environ.get("INHERITED"),
    "folder": os.getcwd(),
    "drawn": numpy.random.random(),
    "group": os.getpgrp() == os.getpid(),
    "parent": os.getppid(),
}), flush=True)
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is run in place of Ray's worker."""
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    monkeypatch.setattr(forking, "_worker_script", lambda: str(path))
    return path


@pytest.fixture
def server(script: Path) -> Iterator[ForkServer]:
    server = ForkServer(("numpy", "no.such.module", "colorsys"), {"INHERITED": "yes"})
    yield server
    server.close()


def ask(server: ForkServer, tmp_path: Path, *arguments: str, **variables: str) -> dict[str, object]:
    """Start a worker as Ray's raylet does, and return what it says."""
    said = tmp_path / f"said-{time.monotonic_ns()}"
    with said.open("wb") as file:
        subprocess.run(
            [sys.executable, str(Path(forking.__file__).with_name("forked_worker.py")), *arguments],
            env={**os.environ, **server.env, **variables},
            cwd=tmp_path,
            stdout=file,
            check=True,
            timeout=60,
        )
    deadline = time.monotonic() + 120
    while not said.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    told: dict[str, object] = json.loads(said.read_text())
    return told


def test_a_worker_has_what_was_loaded_and_what_its_process_was_given(
    server: ForkServer, script: Path, tmp_path: Path
) -> None:
    said = ask(server, tmp_path, "--worker-id=7", VARIABLE="own")
    assert said["arguments"] == [str(script), "--worker-id=7"]
    assert said["name"] == "__main__"
    assert said["loaded"]
    assert said["variable"] == "own"
    assert said["inherited"] == "yes"
    assert said["folder"] == str(tmp_path)
    assert said["group"]
    assert said["parent"] == server.process_id


def test_who_asks_before_the_server_runs_waits_for_it(server: ForkServer, tmp_path: Path) -> None:
    os.kill(server.process_id, signal.SIGSTOP)
    runs = threading.Timer(1.0, os.kill, (server.process_id, signal.SIGCONT))
    runs.start()
    assert ask(server, tmp_path)["loaded"]


def test_a_long_temporary_folder_is_no_place_for_a_socket(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    server = ForkServer(("numpy", "colorsys"), {})
    try:
        assert ask(server, tmp_path)["loaded"]
    finally:
        server.close()
    assert list(long.iterdir()) == []


def test_two_workers_draw_different_numbers(server: ForkServer, tmp_path: Path) -> None:
    assert ask(server, tmp_path)["drawn"] != ask(server, tmp_path)["drawn"]


def test_where_the_server_is_gone_a_worker_loads_by_itself(
    server: ForkServer, script: Path, tmp_path: Path
) -> None:
    server.close()
    said = ask(server, tmp_path, "--worker-id=7", VARIABLE="own")
    assert said["arguments"] == [str(script), "--worker-id=7"]
    assert said["variable"] == "own"
    assert not said["loaded"]


def test_the_server_ends_with_its_driver(script: Path) -> None:
    code = (
        "import sys, time\n"
        "from cluster.forking import ForkServer\n"
        "server = ForkServer((), {})\n"
        "print(server.process_id, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        process = int(driver.stdout.readline())
        assert Path(f"/proc/{process}").exists()
        driver.kill()
    deadline = time.monotonic() + 120
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ray_is_not_among_what_is_loaded_first() -> None:
    """It reads who it is as it is imported: what was loaded before is forked into every worker."""
    from study.driving import LOADED_FIRST

    code = f"""
import importlib, sys
for name in {LOADED_FIRST!r}:
    importlib.import_module(name)
assert "torch" in sys.modules
assert "ray" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
