"""Asked of a worker before anything is written: can the space's methods work with its networks?

A worker, because the driver does not load torch. The process stays and prepares the teacher.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.whole_node import NodeShare
from search_spaces.space import SearchSpace
from study.cluster_tasks import ClusterTasks, always
from study.inputs import StudyInputs
from study.plan import PlanError, StudyPlan
from study.progress import Progress
from study.seed_points import seed_points
from study.task import task_of
from study.teacher_choice import teacher_recipe

if TYPE_CHECKING:
    from study.distillation.feasibility import Networks

# What every training reads of a configuration.
_NEEDED = ("learning_rate", "batch_size")

Configurations = tuple[tuple[str, Mapping[str, Any]], ...]


def check_methods(inputs: StudyInputs, progress: Progress) -> None:
    """Refuse a space some of whose trials could only fail, such as for a tap that is not there.

    Tried are the seed points, and every value of every parameter with the others at their
    defaults.

    Raises:
        PlanError: naming the space and what is wrong.
        ClusterError: if no node has what a trial takes.
        study.cluster_tasks.WorkerLost: if whoever checks is lost too often.
    """
    plan, data = inputs.plan, inputs.data
    asked = _asked(plan, inputs.space, data.name, data.num_classes, data.shape)
    # With the resources of a trial, so that it fits wherever trials do.
    tasks = ClusterTasks(
        always(NodeShare(plan.threads, plan.gpus_per_trial)),
        "checks the methods",
        retries=plan.retries,
        warn=progress.warn,
    )
    with progress.phase("checking the methods") as phase, _refusing(inputs.space, data.name):
        tasks.run(phase, _check, inputs.space, *asked, plan.teacher)


def check_methods_here(
    plan: StudyPlan, space: SearchSpace, name: str, num_classes: int, shape: tuple[int, int, int]
) -> None:
    """Do the same in this process, where torch is loaded already.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        name: The data set's.
        num_classes: Of the data.
        shape: ``(height, width, channels)`` of an image.

    Raises:
        PlanError: naming the space and what is wrong.
    """
    with _refusing(space, name):
        _check(space, *_asked(plan, space, name, num_classes, shape), plan.teacher)


def _asked(
    plan: StudyPlan, space: SearchSpace, name: str, num_classes: int, shape: tuple[int, int, int]
) -> "tuple[Configurations, Networks]":
    from study.distillation.feasibility import Networks

    seeds = [dict(seed.params) for seed in seed_points(space, plan.preset, plan.fixed)]
    configurations = tuple((space.describe(p), p) for p in (*seeds, *space.samples()))
    networks = Networks(
        build_student=space.build_student,
        teacher=teacher_recipe(plan, space, name) if space.taught else None,
        num_classes=num_classes,
        shape=shape,
        teacher_asked_live=plan.teacher_outputs == "live" or space.teacher_asked == "both",
        own_methods=space.methods,
    )
    return configurations, networks


@contextlib.contextmanager
def _refusing(space: SearchSpace, data: str) -> Iterator[None]:
    from study.distillation.feasibility import InfeasibleError

    try:
        yield
    except InfeasibleError as error:
        raise PlanError(f"space {space.name} on {data}: {error}") from None


def _check(
    space: SearchSpace,
    configurations: Configurations,
    networks: "Networks",
    checkpoint: str | None,
) -> None:
    from dataclasses import replace

    from study.distillation.feasibility import InfeasibleError

    missing = [name for name in _NEEDED if any(name not in params for _, params in configurations)]
    if missing:
        raise InfeasibleError(
            f"training reads {' and '.join(missing)}, which the space does not declare; declare it "
            "(searched=False holds it at its default)"
        )
    if checkpoint is not None and networks.teacher is not None:
        from study.distillation.teacher_checkpoint import load_checkpoint

        own = load_checkpoint(
            Path(checkpoint), networks.num_classes, networks.shape, networks.teacher
        )
        networks = replace(networks, teacher=own.recipe)
    task_of(space).check_methods(configurations, networks)
