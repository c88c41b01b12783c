"""A task whose node is lost after it has begun is asked for again, of what is left."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from conftest import find_free_port
from launching import Launcher
from ray_nodes import cut_off, lose, node

from cluster.connect import connect, disconnect
from study.confirmation import WholeNodeWorker
from study.progress import Phase, Progress

pytestmark = pytest.mark.end_to_end


def measure(context: object, folder: str) -> int:
    """Note that it has begun, and take long where there are several CPUs; returns how many."""
    cpus = int(ray.get_runtime_context().get_assigned_resources()["CPU"])
    (Path(folder) / f"begun on {cpus}").touch()
    time.sleep(60 if cpus > 1 else 0)
    return cpus


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("gone", [lose, cut_off])
def test_a_measurement_whose_node_is_lost_is_made_on_the_largest_that_is_left(
    launcher: Launcher, tmp_path: Path, gone: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    environment = {
        **launcher.environment(),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        # A node that does not answer for about three seconds is gone.
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        # Workers import this file.
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    head = ("--head", "--port", address.partition(":")[2], "--include-dashboard", "false")
    with ExitStack() as cluster:
        cluster.enter_context(node(*head, environment=environment))
        time.sleep(5)
        connect(address, env={}, gpus=False)
        cluster.callback(disconnect)
        largest = cluster.enter_context(
            node("--address", address, "--num-cpus", "2", environment=environment)
        )
        wait_for(lambda: ray.cluster_resources().get("CPU") == 3)
        warnings: list[str] = []
        context = ray.put(SimpleNamespace(on_gpu=False))
        worker = WholeNodeWorker(context, on_gpu=False, warn=warnings.append)
        asked = worker.begin(measure, str(tmp_path))
        wait_for((tmp_path / "begun on 2").exists)
        gone(largest)
        cpus = worker.wait(asked, Phase(Progress(io.StringIO()), "confirming the front"))

    assert cpus == 1
    assert warnings == ["the worker that confirms the front was lost (its node died); retry 1 of 2"]
