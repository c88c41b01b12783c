"""Measures on the largest node of a cluster; says on how many CPUs that was, and the warnings.

    python lost_node_driver.py ADDRESS FOLDER CPUS

Begins once the cluster has so many CPUs. A measurement leaves a file in the folder once it has
begun, and has no end where there are several CPUs.
"""

import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import ray

from cluster.connect import connect, disconnect
from study.confirmation import WholeNodeWorker
from study.progress import Phase, Progress


def measure(context: object, folder: str) -> int:
    """Stand where a student is timed; returns the CPUs that are held."""
    cpus = int(ray.get_runtime_context().get_assigned_resources()["CPU"])
    (Path(folder) / f"begun on {cpus}").touch()
    time.sleep(3600 if cpus > 1 else 0)
    return cpus


def main(address: str, folder: str, cpus: str) -> None:
    connect(address, env={}, gpus=False)
    while ray.cluster_resources().get("CPU") != int(cpus):
        time.sleep(0.2)
    warnings: list[str] = []
    context = ray.put(SimpleNamespace(on_gpu=False))
    worker = WholeNodeWorker(context, on_gpu=False, warn=warnings.append)
    held = worker.run(Phase(Progress(io.StringIO()), "confirming the front"), measure, folder)
    print(json.dumps({"cpus": held, "warnings": warnings}))
    disconnect()


if __name__ == "__main__":
    main(*sys.argv[1:])
