"""A real SLURM over machines of a network of their own, for tests that submit jobs to one."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from machines import Machine, running_machines, without_rays

# As little as does: no accounting, no control groups. Each machine has all of this one.
_SETTINGS = """
ClusterName=tests
SlurmctldHost={first.name}({first.address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP
"""
_UNDER_WAY = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}


@dataclass(frozen=True)
class Slurm:
    """Machines, the first of which is also where users log in."""

    folder: Path
    machines: list[Machine]

    def run(self, *words: str, environment: Mapping[str, str] = os.environ) -> str:
        """Run a command where users log in; return what it prints."""
        told = {**environment, "SLURM_CONF": str(self.folder / "slurm.conf")}
        done = self.machines[0].run(*words, environment=told)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown(self, job: str) -> dict[str, str]:
        """Return what SLURM says of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, job: str, seconds: float = 600) -> tuple[str, str]:
        """Wait until a job has ended; return its state and exit code."""
        deadline = time.monotonic() + seconds
        while (shown := self.shown(job))["JobState"] in _UNDER_WAY:
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)
        return shown["JobState"], shown["ExitCode"]

    def begin(self) -> None:
        """Start its daemons."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        nodes = "\n".join(
            f"NodeName={each.name} NodeAddr={each.address} CPUs={os.cpu_count()}"
            f" RealMemory={memory} State=UNKNOWN"
            for each in self.machines
        )
        first = self.machines[0]
        settings = _SETTINGS.format(folder=self.folder, first=first, nodes=nodes)
        (self.folder / "slurm.conf").write_text(settings)
        (self.folder / "state").mkdir()
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        places = [f"--{what}-file={self.folder}/munge.{what}" for what in ("pid", "log", "seed")]
        socket = f"--socket={self.folder}/munge.socket"
        self._start(first, "munged", "--force", f"--key-file={key}", socket, *places)
        self._start(first, "slurmctld")
        for machine in self.machines:
            self._start(machine, "slurmd", "-N", machine.name)

    def _start(self, machine: Machine, *daemon: str) -> None:
        told = {**without_rays(os.environ), "SLURM_CONF": str(self.folder / "slurm.conf")}
        # What stays would keep pipes open.
        with (self.folder / "log").open("w+") as log:
            done = subprocess.run(
                machine.command(*daemon), env=told, stdout=log, stderr=log, timeout=300, check=False
            )
            log.seek(0)
            assert done.returncode == 0, log.read()


@contextmanager
def running_slurm(*names: str) -> Iterator[Slurm]:
    """Machines with a SLURM of their own, gone afterwards; where none is, a test is skipped."""
    if not all(shutil.which(daemon) for daemon in ("munged", "slurmctld", "slurmd", "sbatch")):
        if os.environ.get("CI") == "true":
            pytest.fail("no SLURM: `make slurm` installs it")
        pytest.skip("no SLURM (Debian: apt-get install munge slurmctld slurmd slurm-client)")
    with running_machines(*names) as machines:
        folder = Path(tempfile.mkdtemp(prefix="study-slurm-"))
        try:
            slurm = Slurm(folder, machines)
            slurm.begin()
            yield slurm
        finally:
            shutil.rmtree(folder, ignore_errors=True)


__all__ = ["Slurm", "running_slurm"]
