"""How many CPUs a trial is to have, measured: a few steps of the default student at each split.

Several trials of one thread each mostly train more in all than one trial of several threads; where
memory is what they wait for, or students are large, they do not.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.connect import Cluster
from cluster.whole_node import NodeShare
from search_spaces.space import SearchSpace
from study.cluster_tasks import ClusterTasks, always
from study.plan import StudyPlan
from study.progress import Progress

if TYPE_CHECKING:
    from study.task import Data

_SECONDS = 1.5
# Another split has to be so much better than one of fewer CPUs: less is noise.
_BETTER = 1.05


@dataclass(frozen=True)
class Rate:
    """Images a second that as many trials train as fit on a node, each on so many CPUs."""

    cpus: int
    trials: int
    images: float


def splits(cpus: int) -> list[int]:
    """Return the CPUs a trial that are tried on a node: powers of two, and all there are."""
    powers = [2**power for power in range(cpus.bit_length()) if 2**power < cpus]
    return [*powers, cpus]


def best(rates: list[Rate]) -> Rate:
    """Return the fastest; another of fewer CPUs where what it lacks is noise."""
    chosen = rates[0]
    for rate in rates[1:]:
        if rate.images > _BETTER * chosen.images:
            chosen = rate
    return chosen


def measure_split(
    plan: StudyPlan, space: SearchSpace, data: "Data", cluster: Cluster, progress: Progress
) -> int:
    """Return the CPUs a trial with which the cluster's largest node trains the most images.

    As many trials as fit train their first steps at the same time.

    Args:
        plan: Without GPUs.
        space: The space, with ``--fix`` applied.
        data: The data that students learn from.
        cluster: Nothing else runs there.
        progress: Shows how far it is.

    Raises:
        ClusterError: if no node is left that is as large.
        study.cluster_tasks.WorkerLost: if whoever measures is lost too often.
    """
    rates = []
    with progress.phase("splitting the cores") as phase:
        tried = splits(cluster.largest)
        for index, cpus in enumerate(tried):
            phase.update(index, len(tried), f"{cpus} a trial")
            trials = cluster.largest // cpus
            tasks = ClusterTasks(
                always(NodeShare(cpus, 0, cluster.selector)),
                "tries a split of the cores",
                retries=plan.retries,
                warn=progress.warn,
            )
            asked = space.complete({}), data.num_classes, data.shape, plan.precision, cpus
            running = [tasks.begin(_images_a_second, space, *asked) for _ in range(trials)]
            rates.append(Rate(cpus, trials, sum(tasks.wait(one, phase) for one in running)))
        chosen = best(rates)
        phase.note = f"{chosen.cpus} a trial: " + ", ".join(
            f"{rate.images:,.0f} images/s with {rate.trials} x {rate.cpus}" for rate in rates
        )
    return chosen.cpus


def _images_a_second(
    space: SearchSpace,
    params: Mapping[str, Any],
    classes: int,
    shape: tuple[int, int, int],
    precision: str,
    threads: int,
) -> float:
    """Train steps of one student for a while; what the first of each few take is not counted."""
    import statistics

    import torch

    from study.distillation.answering import torch_threads
    from study.precision import precision_of_students
    from study.task import task_of

    device, task = torch.device("cpu"), task_of(space)
    times: list[float] = []
    with torch_threads(threads):
        resolved = precision_of_students(space, precision, classes, shape, device)
        student = space.build_student(params, classes, shape)
        batch = int(params["batch_size"])
        begun = time.perf_counter()
        while not times or time.perf_counter() - begun < _SECONDS:
            times.append(task.step_seconds(student, shape, classes, batch, device, resolved))
    return 1 / statistics.median(times)
