"""A study on a cluster of several nodes, of which one is lost and another joins."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import find_free_port
from evidence import PATIENCE_SECONDS, Patient, assert_sound, note, wait_until
from launching import Launcher
from ray_nodes import LOOPBACK, lose, node, wait_for_members

pytestmark = pytest.mark.faults

# What a node's every Python process reads of its processor, and that it was read.
ANOTHER_PROCESSOR = """
import os
from pathlib import Path
read = Path.read_text
def read_text(path, *args, **kwargs):
    if str(path) != "/proc/cpuinfo":
        return read(path)
    Path(os.environ["PROCESSOR_READ"]).touch()
    return "model name : A Processor Of 1971"
Path.read_text = read_text
"""


@dataclass
class TwoNodes:
    """A head and a second node, that others may join until the block ends.

    Attributes:
        address: Of the head.
        environment: Of both nodes, which their workers have.
        second: The second node.
    """

    address: str
    environment: Mapping[str, str]
    second: "Popen[bytes]"
    nodes: ExitStack

    def join(self, **environment: str) -> None:
        """Have another node join, with more in its environment."""
        given = {**self.environment, **environment}
        self.nodes.enter_context(node("--address", self.address, environment=given))


@contextmanager
def two_nodes(study: Patient, launcher: Launcher) -> Iterator[TwoNodes]:
    port = find_free_port()
    address = f"127.0.0.1:{port}"
    environment = {
        **launcher.environment(),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Where students write down the epochs they begin, and what keeps them from it.
        "EPOCHS_BEGUN": str(study.epochs_file),
        "EPOCHS_HELD": str(study.held_file),
    }
    with ExitStack() as nodes:
        head = ("--head", "--port", str(port), "--include-dashboard", "false")
        nodes.enter_context(node(*head, environment=environment))
        wait_for_members(address, 1)
        second = nodes.enter_context(node("--address", address, environment=environment))
        wait_for_members(address, 2)
        yield TwoNodes(address, environment, second, nodes)


def test_a_node_of_another_processor_that_joins_is_trained_on_by_nobody_and_fails_none(
    patient: Callable[..., Patient], launcher: Launcher, tmp_path: Path
) -> None:
    study = patient(RAY_AUTH_MODE="disabled", **LOOPBACK)
    (tmp_path / "sitecustomize.py").write_text(ANOTHER_PROCESSOR)
    with two_nodes(study, launcher) as cluster:
        # Both are still trained when one is lost, and one when the node has joined and been asked.
        study.hold(2)
        asked_for = ("--concurrent", "2", "--trials", "2")
        driver = study.start("--json", "--address", cluster.address, *asked_for)
        study.wait_for_epoch(0, 1)
        study.wait_for_epoch(1, 1)
        lose(cluster.second)
        path = f"{tmp_path}{os.pathsep}{cluster.environment['PYTHONPATH']}"
        asked = tmp_path / "asked"
        cluster.join(PYTHONPATH=path, PROCESSOR_READ=str(asked))
        wait_until(asked.exists, "the node to be asked")
        study.release()
        _, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, errors
    assert "its node has another processor (A Processor Of 1971) than the study runs on" in errors
    assert_sound(study)
    trials = study.record().trials
    assert {trial.status for trial in trials} == {"complete"}
    assert 1 <= sum(trial.usage.retries for trial in trials) <= 4
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note("a node removed, one of another processor added", lost, 0, "test_cluster.py -k processor")


def test_a_trial_whose_node_is_lost_goes_on_elsewhere_and_a_new_node_is_used(
    patient: Callable[..., Patient], launcher: Launcher
) -> None:
    study = patient(RAY_AUTH_MODE="disabled", **LOOPBACK)
    with two_nodes(study, launcher) as cluster:
        study.hold(3)
        driver = study.start("--json", "--address", cluster.address, "--concurrent", "2")
        study.wait_for_epoch(0, 2)
        study.wait_for_epoch(1, 2)
        lose(cluster.second)
        cluster.join()
        wait_for_members(cluster.address, 2)
        study.release()
        _, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, errors
    assert_sound(study)
    assert {trial.status for trial in study.record().trials} == {"complete"}
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note("a node removed, another added", lost, 0, "test_cluster.py -k lost")
