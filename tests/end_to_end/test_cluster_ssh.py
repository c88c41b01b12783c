"""`ray up` and `ray down` over ssh, with the file for one's own machines: a head and two others."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from launching import REPOSITORY, Launcher
from machines import Machine, running_machines

pytestmark = pytest.mark.end_to_end
_SSHD = """
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
"""


def make_home(machine: Machine, folder: Path) -> Path:
    """Give root a home of its own there, with an environment that has all installed."""
    home = folder / machine.name
    (home / "env" / "bin").mkdir(parents=True)
    ray = Path(sys.executable).parent / "ray"
    scripts = {
        "python": f'exec {sys.executable} "$@"',
        "ray": f'exec {sys.executable} {ray} "$@"',
        "pip": "exit 0",
    }
    for name, body in scripts.items():
        (home / "env" / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (home / "env" / "bin" / name).chmod(0o755)
    rows = Path("/etc/passwd").read_text().splitlines(keepends=True)
    rows = [row for row in rows if not row.startswith("root:")]
    users = folder / f"passwd-{machine.name}"
    users.write_text(f"root:x:0:0:root:{home}:/bin/bash\n" + "".join(rows))
    assert machine.run("mount", "--bind", str(users), "/etc/passwd").returncode == 0
    return home


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """Three that let in whoever has the key, and the user's own, which has it."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or shutil.which("rsync") is None:
        # Not installed for tests: Debian's package lets in from everywhere at once.
        pytest.skip("no sshd or no rsync (Debian: apt-get install openssh-server rsync)")
    for name in ("host_key", "key"):
        path = str(tmp_path / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    with running_machines("head", "left", "right", "mine") as found:
        for machine in found:
            make_home(machine, tmp_path)
            if machine.name != "mine":
                settings = tmp_path / f"sshd-{machine.name}"
                settings.write_text(_SSHD.format(address=machine.address, folder=tmp_path))
                done = machine.run(sshd, "-f", str(settings), "-E", str(tmp_path / "log"))
                assert done.returncode == 0, (tmp_path / "log").read_text()
        yield found


def test_ray_up_starts_all_of_ones_own_machines_and_ray_down_ends_the_head(
    machines: list[Machine], launcher: Launcher, tmp_path: Path
) -> None:
    head, *_, mine = machines
    config = yaml.safe_load((REPOSITORY / "cluster" / "machines.yaml").read_text())
    assert config["provider"]["head_ip"] == head.address
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(tmp_path / "key")}
    config["file_mounts"] = {
        there: here if here.startswith("~") else str(REPOSITORY / here)
        for there, here in config["file_mounts"].items()
    }
    (tmp_path / "machines.yaml").write_text(yaml.safe_dump(config))
    environment = {**launcher.environment(), "HOME": str(tmp_path / "mine")}

    def ray(*words: str) -> str:
        command = (sys.executable, str(Path(sys.executable).parent / "ray"), *words)
        done = mine.run(*command, environment=environment, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    file = str(tmp_path / "machines.yaml")
    ray("get-auth-token", "--generate")
    ray("up", "--yes", file)
    deadline = time.monotonic() + 600
    all_but_the_heads = f"/{2 * (os.cpu_count() or 1)}.0 CPU"
    while all_but_the_heads not in (
        status := ray("exec", file, "RAY_AUTH_MODE=token ~/env/bin/ray status")
    ):
        assert time.monotonic() < deadline, status
        time.sleep(2)
    assert "gcs_server" in head.running()
    ray("down", "--yes", file)
    assert "gcs_server" not in head.running()
