"""Machines of a network of their own, all on this one: each has its name, address, processes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# Sees off whatever else has ended: `ray stop` would wait for those that nobody asks after.
_FIRST = """
import os, time
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.05)
"""
# Of what others have in `/tmp/ray` and `/dev/shm` a machine sees nothing.
_SET_UP = """
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp/ray
ip link set lo up
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """One of them."""

    name: str
    address: str
    first: int  # the process with which all others end

    def command(self, *words: str) -> list[str]:
        """Return what runs a command there."""
        return ["nsenter", "--all", "--target", str(self.first), f"--wdns={Path.cwd()}", *words]

    def run(
        self, *words: str, environment: Mapping[str, str] | None = None, timeout: float = 300
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command there to its end, in this environment unless another is given."""
        return subprocess.run(
            self.command(*words),
            env=without_rays(os.environ if environment is None else environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def running(self) -> str:
        """Return the commands that run there, each to its end, however long."""
        return self.run("ps", "-e", "-ww", "-o", "args").stdout


def without_rays(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment less what Ray has been told: it is another one there.

    In this process some of that is set by whoever connects to a Ray of its own.
    """
    return {name: value for name, value in environment.items() if not name.startswith("RAY_")}


def _start(name: str, address: str, hosts: Path) -> tuple["subprocess.Popen[str]", Machine]:
    process = subprocess.Popen(
        [
            *("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork"),
            *("--kill-child", "--mount-proc", "sh", "-c", _SET_UP, "sh", name, str(hosts)),
            *(sys.executable, "-c", f"print('up', flush=True){_FIRST}"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "up\n":
        _, errors = process.communicate()
        pytest.skip(f"needs the right to have networks of its own ({errors.strip()})")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return process, Machine(name, address, int(children))


def _connect(machines: list[Machine]) -> None:
    """Let the first be the switch of all."""

    def ip(machine: Machine, words: str) -> None:
        command = ["nsenter", f"--net=/proc/{machine.first}/ns/net", "ip", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs the right to have networks of its own ({done.stderr.strip()})")

    first = machines[0]
    ip(first, "link add eth0 type bridge")
    for machine in machines:
        if machine is not first:
            ip(first, f"link add {machine.name} type veth peer eth0 netns {machine.first}")
            ip(first, f"link set {machine.name} master eth0 up")
        ip(machine, f"address add {machine.address}/24 dev eth0")
        ip(machine, "link set eth0 up")


@contextmanager
def running_machines(*names: str) -> Iterator[list[Machine]]:
    """Machines that see each other and nobody else, with addresses from 10.0.0.1 on.

    They share the files of this one, but for Ray's, and are gone afterwards.
    """
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs root, unshare (util-linux) and ip (iproute2)")
    Path("/tmp/ray").mkdir(exist_ok=True)
    addresses = [f"10.0.0.{number}" for number in range(1, len(names) + 1)]
    rows = [f"{address} {name}\n" for name, address in zip(names, addresses, strict=True)]
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="study-machines-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The name of the first means its loopback, too, as Debian has it.
        hosts = f"127.0.0.1 localhost\n127.0.1.1 {names[0]}\n" + "".join(rows)
        (folder / "hosts").write_text(hosts)
        machines = []
        for name, address in zip(names, addresses, strict=True):
            process, machine = _start(name, address, folder / "hosts")
            stack.callback(process.communicate)
            stack.callback(process.kill)
            machines.append(machine)
        _connect(machines)
        yield machines


__all__ = ["Machine", "running_machines", "without_rays"]
