"""What tests of several folders share: studies, a browser, an MLflow server, ports."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from launching import SMALL, Launched, Launcher

from cluster.connect import set_ray_defaults

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before any test imports Ray: what it starts is to listen on loopback only.
set_ray_defaults(None)

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure() -> None:
    # Whoever starts the tests in the background has them ignore Ctrl-C, and what they start too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Whole studies that the tests of a file start, where there are several: of files that two processes
# share, the longest go first, so that neither is left with one at the end.
STUDIES_OF = {
    "end_to_end/test_conformance.py": 20,
    "faults/test_driver_killed.py": 16,
    "faults/test_signals.py": 10,
    "faults/test_replicates.py": 9,
    "faults/test_disk.py": 8,
    "faults/test_waiting.py": 8,
    "end_to_end/test_bad_input.py": 6,
    "end_to_end/test_study.py": 5,
    "faults/test_trials.py": 5,
    "end_to_end/test_cluster.py": 4,
    "end_to_end/test_cluster_storage.py": 4,
    "end_to_end/test_object_store.py": 4,
    "end_to_end/test_replicates.py": 4,
    "end_to_end/test_untaught.py": 4,
    "end_to_end/test_benchmarks.py": 3,
    "faults/test_mlflow_server.py": 3,
    "end_to_end/test_cluster_slurm.py": 2,
    "end_to_end/test_exits.py": 2,
    "end_to_end/test_readme.py": 2,
    "end_to_end/test_subclass.py": 2,
    "faults/test_clock.py": 2,
    "faults/test_ray_gone.py": 2,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: -STUDIES_OF.get("/".join(item.path.parts[-2:]), 0))
    if not any("gpu" in item.keywords for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Where Chromium is; without one the test is skipped, but under CI it fails."""
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None and os.environ.get("CI") == "true":
        pytest.fail("no Chromium, and under CI the browser tests must run")
    if executable is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    return executable


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator["Browser"]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


def find_free_port() -> int:
    """Return a loopback port that nothing listens on, nor will while a server starts.

    Below those that the kernel hands to outgoing connections, of which a Ray makes hundreds, and
    above 10002 to 19999, which `ray start` keeps for workers and refuses to its other servers.
    """
    while True:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port := random.SystemRandom().randint(20_000, 31_000)))
            except OSError:
                continue
            return port


@pytest.fixture
def free_port() -> int:
    """A loopback port that nothing listens on."""
    return find_free_port()


class MlflowServer:
    """A real MLflow server on loopback, lean: one worker, no job runner; FOLDER/mlflow.db."""

    def __init__(self, folder: Path) -> None:
        port = find_free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self._command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "mlartifacts")),
        ]
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once the server answers."""
        environment = os.environ | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        pytest.fail(f"the MLflow server did not start:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends the server and its worker at once, as a crash would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def mlflow_server() -> Iterator[Callable[[Path], MlflowServer]]:
    """Starts a server for a folder; all are ended with the tests of the module."""
    servers: list[MlflowServer] = []

    def start(folder: Path) -> MlflowServer:
        servers.append(MlflowServer(folder))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture(scope="session")
def finished(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A study of six trials, with MLflow, that ran to its end; who changes it has a copy."""
    base = tmp_path_factory.getbasetemp()
    # Of processes that share the tests each has a folder in a common one.
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    studies, told = common / "finished" / "studies", common / "finished.json"
    with FileLock(common / "finished.lock"):
        if not told.exists():
            studies.parent.mkdir(exist_ok=True)
            asked = (*SMALL, "--name", "small", "--trials", "6", "--json")
            run = launcher.run(*asked, studies=studies)
            told.write_text(json.dumps([run.returncode, run.stdout, run.stderr]))
    run = Launched(*json.loads(told.read_text()), studies)
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture
def studies(finished: Launched, tmp_path: Path) -> Path:
    """A studies folder of one's own that has the teacher already."""
    folder = tmp_path / "studies"
    shutil.copytree(finished.studies / "teachers", folder / "teachers")
    return folder
