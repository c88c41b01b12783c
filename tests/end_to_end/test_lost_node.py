"""A task whose node is lost after it has begun is asked for again, of what is left."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import find_free_port
from launching import Launcher
from ray_nodes import BRIEF_PATIENCE, LOOPBACK, cut_off, lose, node, wait_for_members

pytestmark = pytest.mark.end_to_end
DRIVER = Path(__file__).with_name("lost_node_driver.py")


@pytest.mark.parametrize("gone", [lose, cut_off])
def test_a_measurement_whose_node_is_lost_is_made_on_the_largest_that_is_left(
    launcher: Launcher, tmp_path: Path, gone: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    environment = {
        **launcher.environment(),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        **BRIEF_PATIENCE,
    }
    head = ("--head", "--port", address.partition(":")[2], "--include-dashboard", "false")
    with ExitStack() as nodes:
        nodes.enter_context(node(*head, environment=environment))
        wait_for_members(address, 1)
        largest = nodes.enter_context(
            node("--address", address, "--num-cpus", "2", environment=environment)
        )
        driver = subprocess.Popen(
            [sys.executable, str(DRIVER), address, str(tmp_path), "3"],
            env={**environment, **LOOPBACK},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        nodes.callback(driver.kill)
        deadline = time.monotonic() + 400
        while not (tmp_path / "begun on 2").exists():
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        gone(largest)
        out, errors = driver.communicate(timeout=400)

    assert driver.returncode == 0, errors
    told = json.loads(out.splitlines()[-1])
    assert told == {
        "cpus": 1,
        "warnings": ["the worker that confirms the front was lost (its node died); retry 1 of 2"],
    }
