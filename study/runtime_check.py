"""Refused before anything else: a runtime that is not here, or that students cannot run in."""

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
    alone = space.cpu_only
    if plan.runtime == "eager" or alone is None:
        return
    drawn = space.drawn_values(alone.parameter)
    bound = [value for value in drawn if value in alone.values]
    if bound:
        other = next((value for value in drawn if value not in alone.values), None)
        instead = "" if other is None else f", or add --fix {alone.parameter}={other}"
        raise PlanError(
            f"--runtime {plan.runtime}: students of {alone.parameter}={bound[0]} are run by "
            f"PyTorch's own integer kernels; leave it at eager{instead}"
        )
