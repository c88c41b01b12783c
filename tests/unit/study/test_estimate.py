"""What a study is expected to take, from what single steps take."""

import sys
from typing import TYPE_CHECKING

import pytest
import torch

from search_spaces.catalogue import load_space
from study.arguments import parser
from study.estimate import Estimate, measure_estimate, scaled, too_short
from study.plan import PlanError, StudyPlan
from study.progress import Progress
from study.resolving import resolve
from study.task import task_of

if TYPE_CHECKING:
    from study.task import Summary


def plan_of(*arguments: str) -> "tuple[StudyPlan, Summary]":
    line = ["--space", "cifar_blocks", "--data", "digits", "--concurrent", "1", *arguments]
    plan, space = resolve(parser().parse_args([*line, "--cpus-per-trial", "1"]))
    return plan, task_of(space).describe(plan)


def estimated(plan: StudyPlan, data: "Summary", *, teacher: float) -> Estimate:
    """With a teacher that trains for so many seconds and answers in no time."""
    steps = teacher / data.train, 0.0, 0.01, 10.0
    return scaled(plan, data, *steps, views=1, outputs=10, serving=0.0)


def test_a_budget_is_left_to_trials_as_far_as_the_teacher_leaves_it() -> None:
    plan, data = plan_of("--trials", "1000", "--budget", "10m")
    assert estimated(plan, data, teacher=100.0).trials == pytest.approx(500.0)
    assert estimated(plan, data, teacher=900.0).trials == 0.0
    unbound = plan_of("--trials", "1000")
    assert estimated(*unbound, teacher=100.0).trials > 600.0


def test_a_budget_that_the_teacher_spends_alone_is_told_of() -> None:
    plan, data = plan_of("--budget", "10m")
    assert too_short(plan, estimated(plan, data, teacher=100.0)) == []
    ((label, text),) = too_short(plan, estimated(plan, data, teacher=900.0))
    assert label == "too short"
    assert text.replace("\u00a0", " ").startswith(
        "the teacher alone takes 15 min, so no trial would begin; give"
    )


def test_steps_on_a_gpu_are_not_timed_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    plan, data = plan_of("--gpus-per-trial", "1")
    space = load_space("cifar_blocks")
    with pytest.raises(PlanError, match="on which torch finds no GPU; give it where there is one"):
        measure_estimate(plan, space, data, None, Progress(sys.stderr, quiet=True))
