"""A study on a cluster of several nodes, of which one is lost and another joins."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from conftest import find_free_port
from evidence import Patient, assert_sound, note
from launching import Launcher
from ray_nodes import LOOPBACK, lose, node

pytestmark = pytest.mark.faults


def test_a_trial_whose_node_is_lost_goes_on_elsewhere_and_a_new_node_is_used(
    patient: Callable[..., Patient], launcher: Launcher
) -> None:
    study = patient(RAY_AUTH_MODE="disabled", **LOOPBACK)
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
