"""Nodes of a real Ray cluster on loopback, whose processes can be lost as one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil
from conftest import find_free_port

TOKEN = "a-token-for-tests-0123456789abcdef"
# Else drivers and workers take another address than the loopback of their node.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# A node that does not answer for about ten seconds is gone; one that is merely slow is not.
BRIEF_PATIENCE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
# Of nodes, as the head has it.
_ALIVE = 0
# `ray start`, which by itself takes another address too, or starts no second node.
_RAY = """
from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.get_node_ip_address = lambda address=None: "127.0.0.1"
from ray.scripts.scripts import main
main()
"""


@contextmanager
def node(*arguments: str, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """One node of a cluster: its processes live in a session of their own until they are killed."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _RAY, "start", "--block", "--num-cpus", "1"),
            *("--node-ip-address", "127.0.0.1"),
            *("--dashboard-agent-listen-port", str(find_free_port()), *arguments),
        ],
        env={**environment, **LOOPBACK},
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
        _signal(process, signal.SIGKILL)
        process.wait()


def cut_off(process: "subprocess.Popen[bytes]") -> None:
    """Stop a node's every process: its connections stay, and nothing answers any more."""
    _signal(process, signal.SIGSTOP)


def _signal(process: "subprocess.Popen[bytes]", signum: int) -> None:
    """Send a signal to all: to the group, and to workers, each of which has a group of its own."""
    others = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signum)
    for other in others:
        with contextlib.suppress(psutil.NoSuchProcess):
            other.send_signal(signum)


def wait_for_members(address: str, number: int, seconds: float = 400) -> None:
    """Wait until a cluster that asks for no token has so many nodes; also one without dashboard."""
    from ray import _raylet

    deadline = time.monotonic() + seconds
    while True:
        states: list[int] = []
        with contextlib.suppress(Exception):  # the head is not up yet
            client = _raylet.GcsClient(address=address)
            states = [each.state for each in client.get_all_node_info(timeout=10).values()]
        if states.count(_ALIVE) == number:
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.2)


def wait_for_dashboard(url: str, seconds: float = 400) -> None:
    """Wait until a head runs jobs."""
    deadline = time.monotonic() + seconds
    asked = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                json.load(answer)
                return
        except OSError:
            assert time.monotonic() < deadline, f"no dashboard at {url}"
            time.sleep(0.5)


def wait_for_nodes(url: str, number: int, seconds: float = 400) -> None:
    """Wait until the cluster of a dashboard has so many nodes, no more and no fewer."""
    asked = urllib.request.Request(
        f"{url}/api/v0/nodes?limit=100", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    deadline = time.monotonic() + seconds
    while True:
        rows: list[dict[str, str]] = []
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                rows = json.load(answer)["data"]["result"]["result"]
        except OSError:
            pass  # the head is not up yet
        if sum(row["state"] == "ALIVE" for row in rows) == number:
            return
        assert time.monotonic() < deadline, rows
        time.sleep(0.5)
