"""What a study ran on: versions and hardware, kept in the record."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "pandas", "plotly")


def describe_environment() -> dict[str, Any]:
    """Return versions, processor, GPUs and cores of the driver's machine."""
    from cluster.connect import available_cpus
    from cluster.kinds import processor_name

    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found["cpu"] = processor_name()
    found["cores"] = available_cpus()
    found["gpu"] = _gpu_name()
    return found


def _gpu_name() -> str | None:
    # As the driver tells it: torch would take seconds to load for this alone.
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in about.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None
