"""A cluster is joined from its own machines alone, with the token that lies there."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import Launcher
from machines import Machine, running_machines

pytestmark = pytest.mark.end_to_end
PORT = 6379


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    with running_machines("one", "two") as found:
        yield found


def start_head(machine: Machine, folder: Path, mode: str) -> str:
    """Start a head, whose user's home is the folder; return its address."""
    ray = Path(sys.executable).parent / "ray"
    told = f"HOME={folder} RAY_AUTH_MODE={mode} RAY_USAGE_STATS_ENABLED=0"
    asked = f"--port {PORT} --node-ip-address {machine.address} --include-dashboard=false"
    # What stays would keep pipes open.
    begun = machine.run("sh", "-c", f"{told} {ray} start --head {asked} >{folder}/head 2>&1")
    assert begun.returncode == 0, (folder / "head").read_text()
    return f"{machine.address}:{PORT}"


def launch(
    machine: Machine, launcher: Launcher, folder: Path, address: str, *words: str
) -> "subprocess.CompletedProcess[str]":
    command = ("-m", "study.launch", "--space", "cifar_blocks", "--data", "digits", "--quiet")
    return machine.run(
        *(sys.executable, *command, "--address", address, *words),
        *("--studies", str(folder / "studies")),
        environment={**launcher.environment(), "HOME": str(folder)},
    )


def test_a_machine_that_is_no_node_of_a_cluster_is_told_at_once_what_to_give_instead(
    machines: list[Machine], launcher: Launcher, tmp_path: Path
) -> None:
    one, two = machines
    address = start_head(one, tmp_path, "disabled")
    since = time.monotonic()
    run = launch(two, launcher, tmp_path, address)
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    assert "this machine is no node of that cluster" in line
    assert f"--submit http://{one.address}:8265" in line
    assert f"`ray start --address {address}`" in line
    assert time.monotonic() - since < 50  # Ray by itself looks for a minute


def test_a_cluster_is_joined_with_the_token_in_the_home_folder(
    machines: list[Machine], launcher: Launcher, tmp_path: Path
) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    address = start_head(machines[0], tmp_path, "token")
    # What is asked for shows that the cluster's nodes were looked at.
    run = launch(machines[0], launcher, tmp_path, address, "--gpus-per-trial", "1")
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    assert "no node has a GPU and a CPU beside it" in line


def test_a_cluster_without_a_token_is_joined_though_one_lies_in_the_home_folder(
    machines: list[Machine], launcher: Launcher, tmp_path: Path
) -> None:
    address = start_head(machines[0], tmp_path, "disabled")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    for named in (address, "auto"):
        run = launch(machines[0], launcher, tmp_path, named, "--gpus-per-trial", "1")
        assert run.returncode == 2, run.stderr
        (line,) = run.stderr.splitlines()
        assert "no node has a GPU and a CPU beside it" in line
