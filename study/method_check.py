"""Asked of a worker before anything is written: can the space's methods work with its networks?

A worker, because the driver does not load torch. The process stays and prepares the teacher.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.inputs import StudyInputs
from study.plan import PlanError, seed_points
from study.preparation import get, teacher_recipe
from study.progress import Progress

if TYPE_CHECKING:
    from study.distillation.feasibility import Networks

Configurations = tuple[tuple[str, Mapping[str, Any]], ...]


def check_methods(inputs: StudyInputs, progress: Progress) -> None:
    """Refuse a space some of whose trials could only fail, such as for a tap that is not there.

    Tried are the seed points, and every value of every parameter with the others at their
    defaults.

    Raises:
        PlanError: naming the space and what is wrong.
    """
    import ray

    from study.distillation.feasibility import InfeasibleError, Networks

    plan, space, data = inputs.plan, inputs.space, inputs.data
    seeds = [dict(seed.params) for seed in seed_points(space, plan.preset, plan.fixed)]
    configurations = tuple((space.describe(p), p) for p in (*seeds, *space.samples()))
    networks = Networks(
        build_student=space.build_student,
        teacher=teacher_recipe(plan, space, data.name) if space.taught else None,
        num_classes=data.num_classes,
        shape=data.shape,
        teacher_asked_live=plan.teacher_outputs == "live" or space.teacher_asked == "both",
    )
    # With the resources of a trial, so that it fits wherever trials do.
    worker = ray.remote(_check).options(
        num_cpus=plan.cpus_per_trial, num_gpus=plan.gpus_per_trial, max_retries=0
    )
    with progress.phase("checking the methods"):
        try:
            get(worker.remote(configurations, networks, plan.teacher))
        except InfeasibleError as error:
            raise PlanError(f"space {space.name} on {data.name}: {error}") from None


def _check(configurations: Configurations, networks: "Networks", checkpoint: str | None) -> None:
    from dataclasses import replace

    from study.distillation.feasibility import check_methods

    if checkpoint is not None and networks.teacher is not None:
        from study.distillation.teacher_checkpoint import load_checkpoint

        own = load_checkpoint(
            Path(checkpoint), networks.num_classes, networks.shape, networks.teacher
        )
        networks = replace(networks, teacher=own.recipe)
    check_methods(configurations, networks)
