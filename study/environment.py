"""What a study runs on: versions and hardware, kept in the record; the workers' environment."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "pandas", "plotly")


def describe_environment() -> dict[str, Any]:
    """Return versions, the code's commit, processor, GPUs and cores of the driver's machine."""
    from cluster.connect import available_cpus
    from cluster.kinds import processor_name

    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found["commit"] = _commit()
    found["cpu"] = processor_name()
    found["cores"] = available_cpus()
    found["gpu"] = _gpu_name()
    return found


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of workers: thread counts in force before torch is imported.

    Waiting threads sleep instead of spinning. On two cores a ResNet trained a fifth to a third
    slower so while nothing else ran, and three to seven times faster beside one busy process.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **{name: str(threads) for name in names},
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"),
    }


def _commit() -> str | None:
    """The commit of the code, with a word where files were changed since; None when installed."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    commands = (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
    told = []
    for command in commands:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=5
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode != 0:  # such as a folder of another owner
            return None
        told.append(done.stdout.strip())
    return f"{told[0]}, changed" if told[1] else told[0]


def _gpu_name() -> str | None:
    # As the driver tells it: torch would take seconds to load for this alone.
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in about.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None
