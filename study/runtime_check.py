"""Refused before anything else: a runtime that is not here, or that students cannot run in."""

from typing import NamedTuple

from search_spaces.space import SearchSpace
from study.distillation.runtime import unavailable
from study.plan import PlanError, StudyPlan


def check_runtime(plan: StudyPlan, space: SearchSpace) -> None:
    """Refuse a runtime that is not installed here, or that cannot run the space's students.

    Raises:
        PlanError: naming the mend.
    """
    problem = unavailable(plan.runtime, on_gpu=plan.gpus_per_trial > 0)
    if problem is not None:
        raise PlanError(f"--runtime {plan.runtime}: {problem}")
    bound = None if plan.runtime == "eager" else bound_to_cpu(space)
    if bound is not None:
        raise PlanError(
            f"--runtime {plan.runtime}: students of {bound.value} are run by PyTorch's own "
            f"integer kernels; leave it at eager{bound.instead}"
        )


class Bound(NamedTuple):
    """A value of a space whose students only processors run.

    Args:
        value: as in ``weights=int8``.
        instead: what else mends it, to be added to a sentence; empty if nothing does.
    """

    value: str
    instead: str


def bound_to_cpu(space: SearchSpace) -> Bound | None:
    """Return the first value that the space may draw whose students only processors run."""
    alone = space.cpu_only
    if alone is None:
        return None
    drawn = space.drawn_values(alone.parameter)
    bound = next((value for value in drawn if value in alone.values), None)
    if bound is None:
        return None
    other = next((value for value in drawn if value not in alone.values), None)
    instead = "" if other is None else f", or add --fix {alone.parameter}={other}"
    return Bound(f"{alone.parameter}={bound}", instead)
