"""Nodes of a real Ray cluster on loopback, each a group of processes that can be lost as one."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from conftest import find_free_port

RAY = str(Path(sys.executable).with_name("ray"))
TOKEN = "a-token-for-tests-0123456789abcdef"
# Else Ray takes another address than the loopback that it is given; for nodes and drivers.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def node(*arguments: str, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """One node of a cluster: its processes live in a group of their own until they are killed."""
    process = subprocess.Popen(
        [
            *(RAY, "start", "--block", "--num-cpus", "1", "--node-ip-address", "127.0.0.1"),
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
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cut_off(process: "subprocess.Popen[bytes]") -> None:
    """Stop a node's every process: its connections stay, and nothing answers any more."""
    os.killpg(process.pid, signal.SIGSTOP)


def wait_for_dashboard(url: str, seconds: float = 60) -> None:
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
