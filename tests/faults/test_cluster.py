"""A study on a cluster of several nodes, of which one is lost and another joins."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import find_free_port
from evidence import Patient, assert_sound, note
from launching import Launcher

pytestmark = pytest.mark.faults
RAY = str(Path(sys.executable).with_name("ray"))


@contextmanager
def node(*arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """One node of a cluster: its processes live in a group of their own until they are killed."""
    process = subprocess.Popen(
        [RAY, "start", "--block", "--num-cpus", "1", "--node-ip-address", "127.0.0.1", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        lose(process)


def lose(process: "subprocess.Popen[bytes]") -> None:
    """Kill a node's every process at once, as a power cut would."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_trial_whose_node_is_lost_goes_on_elsewhere_and_a_new_node_is_used(
    patient: Callable[..., Patient], launcher: Launcher
) -> None:
    study = patient(RAY_AUTH_MODE="disabled")
    port = find_free_port()
    address = f"127.0.0.1:{port}"
    environment = {
        **launcher.environment(),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Where students write down the epochs they begin: workers have their node's environment.
        "EPOCHS_BEGUN": str(study.epochs_file),
    }
    with ExitStack() as nodes:
        head = ("--head", "--port", str(port), "--include-dashboard", "false")
        nodes.enter_context(node(*head, environment=environment))
        time.sleep(5)
        second = nodes.enter_context(node("--address", address, environment=environment))
        time.sleep(5)
        driver = study.start("--json", "--address", address, "--concurrent", "2")
        study.wait_for_epoch(0, 2)
        lose(second)
        nodes.enter_context(node("--address", address, environment=environment))
        _, errors = driver.communicate(timeout=250)

    assert driver.returncode == 0, errors
    assert_sound(study)
    assert {trial.status for trial in study.record().trials} == {"complete"}
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note("a node removed, another added", lost, 0, "test_cluster.py")
