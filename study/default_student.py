"""Where no teacher is: the default student, timed once, whose latency others are compared with."""

from functools import partial
from typing import TYPE_CHECKING

from analysis.formatting import milliseconds
from analysis.results import DefaultStudent
from cluster.connect import Cluster
from cluster.kinds import wrong_device
from cluster.whole_node import whole_node
from study.cluster_tasks import ClusterTasks
from study.progress import Progress
from study.timing import time_alone

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace
    from study.task import Data


def prepare_default_student(
    space: "SearchSpace",
    data: "Data",
    precision: str,
    seed: int,
    threads: int,
    cluster: Cluster,
    progress: Progress,
    *,
    on_gpu: bool,
    runtime: str = "eager",
    timing_seconds: float = 6.0,
    known: DefaultStudent | None = None,
    retries: int = 2,
) -> tuple[DefaultStudent, str]:
    """Have the default student timed on a worker that has a node to itself.

    Args:
        space: The space, with ``--fix`` applied: its default configuration is built.
        data: What students see.
        precision: Of the training, ``auto`` to have it chosen.
        seed: Of its weights, which nothing depends on.
        threads: Those of a trial.
        cluster: Where the study runs.
        progress: Shows it.
        on_gpu: Whether trials run on a GPU.
        runtime: What runs it while it is timed.
        timing_seconds: The most that this may take.
        known: What an earlier run of the study found, which stays.
        retries: How often another worker is asked where one is lost.

    Returns:
        The default student, and the precision resolved.
    """
    import ray

    tasks = ClusterTasks(
        lambda apart: whole_node(ray.nodes(), gpus=on_gpu, selector=cluster.selector, apart=apart),
        "times the default student",
        retries=retries,
        warn=progress.warn,
        unfit=partial(wrong_device, cluster.checked_kind, gpus=on_gpu),
    )
    asked = space, ray.put(data), precision, seed, threads, on_gpu, runtime, timing_seconds, known
    with progress.phase("default student") as phase:
        found: tuple[DefaultStudent, str] = tasks.run(phase, _measure, *asked)
        phase.note = milliseconds(found[0].latency.latency_ms)
    return found


def _measure(
    space: "SearchSpace",
    data: "Data",
    precision: str,
    seed: int,
    threads: int,
    on_gpu: bool,
    runtime: str,
    timing_seconds: float,
    known: DefaultStudent | None,
) -> tuple[DefaultStudent, str]:
    import torch

    from study.distillation.acceleration import prepare_gpu
    from study.distillation.measurement import profile_model
    from study.precision import precision_of_students
    from study.task import task_of

    prepare_gpu(1.0 if on_gpu else 0.0)
    device = torch.device("cuda" if on_gpu else "cpu")
    resolved = precision_of_students(space, precision, data.num_classes, data.shape, device)
    if known is not None:
        return known, resolved
    torch.manual_seed(seed)
    params = space.complete({})
    student = task_of(space).measured(space.build_student(params, data.num_classes, data.shape))
    profile = profile_model(student, data.shape)
    student = student.to(device)
    latency = time_alone(student, data.shape, device, threads, runtime, timing_seconds)
    name = space.describe(params)
    return DefaultStudent(name, profile.params_m, profile.flops_m, latency), resolved
