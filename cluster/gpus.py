"""What a machine's GPUs are called in full: Ray's types of them tell no PCIe card from a module."""

import functools
import os
import subprocess
from pathlib import Path

_TOOL = ("nvidia-smi", "--query-gpu=uuid,name", "--format=csv,noheader")


def gpu_names(drivers: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use, each once; none where none is known.

    Those that ``CUDA_VISIBLE_DEVICES`` leaves out do not count where it names others by UUID; its
    numbers are in an order of CUDA's own.

    Args:
        drivers: Where NVIDIA's driver tells of its cards; where it does not, or of several kinds,
            its tool is asked, which sees those alone that a job was given.
    """
    cards = _of_driver(drivers)
    if len({name for _, name in cards}) != 1:
        cards = _of_tool() or cards
    shown = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if all(word.startswith("GPU-") for word in shown):
        cards = [each for each in cards if each[0].startswith(tuple(shown))] or cards
    return tuple(sorted({name for _, name in cards}))


def _of_driver(drivers: Path) -> list[tuple[str, str]]:
    """UUID and name of each card."""
    cards = []
    for about in sorted(drivers.glob("*/information")):
        try:
            lines = [line.partition(":") for line in about.read_text().splitlines()]
        except OSError:
            continue
        said = {name.strip(): value.strip() for name, _, value in lines}
        if said.get("Model"):
            cards.append((said.get("GPU UUID", ""), said["Model"]))
    return cards


@functools.cache
def _of_tool() -> list[tuple[str, str]]:
    """UUID and name of each card; the tool is asked once, for it takes its time."""
    try:
        done = subprocess.run(_TOOL, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.partition(",") for line in done.stdout.splitlines() if done.returncode == 0]
    return [(uuid.strip(), name.strip()) for uuid, _, name in rows if name.strip()]
