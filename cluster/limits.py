"""What the control groups of a container let this process use."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What the control group of this process allows it; None where nothing is set.

    Attributes:
        memory: Bytes.
        cpus: CPUs' worth of time.
    """

    memory: int | None = None
    cpus: float | None = None


def read_limits(root: Path = Path("/")) -> Limits:
    """Read the limits of this process's control group and of those around it (versions 1 and 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return Limits()
    mount = root / "sys/fs/cgroup"
    memory: list[int] = []
    cpus: list[float] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for folder in _with_parents(mount, path, controllers):
            memory += _numbers(folder / "memory.max") + _numbers(folder / "memory.limit_in_bytes")
            quota = _numbers(folder / "cpu.max")
            if len(quota) < 2:
                quota = _numbers(folder / "cpu.cfs_quota_us") + _numbers(
                    folder / "cpu.cfs_period_us"
                )
            if len(quota) == 2 and min(quota) > 0:
                cpus.append(quota[0] / quota[1])
    # Version 1 writes "no limit" as the largest number of pages.
    memory = [limit for limit in memory if limit < 2**60]
    return Limits(min(memory, default=None), min(cpus, default=None))


def free_memory() -> int:
    """Bytes that are free, at most what the control group allows."""
    import psutil

    free, limit = psutil.virtual_memory().available, read_limits().memory
    return int(free if limit is None else min(free, limit))


def _with_parents(mount: Path, path: str, controllers: str) -> list[Path]:
    """The folders of a group and of those around it; in a container its own is the mount."""
    top = mount if not controllers else mount / controllers
    inside = Path(path.lstrip("/"))
    return [top / inside, *(top / parent for parent in inside.parents)]


def _numbers(path: Path) -> list[int]:
    """The numbers in a file; none if it is not there or says ``max``."""
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []
