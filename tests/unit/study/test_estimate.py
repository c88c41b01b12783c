"""What a study is expected to take, from what single steps take."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from search_spaces.catalogue import load_space
from search_spaces.space import SearchSpace
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


def failing_where(fails: Callable[[Mapping[str, Any]], bool]) -> SearchSpace:
    """Students of two layers, some of which fail as soon as they are trained."""

    class Failing(torch.nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not self.training, "no mixup here"
            return images.new_zeros(len(images), 10)

    def build(params: Mapping[str, Any], classes: int, shape: tuple[int, ...]) -> torch.nn.Module:
        kind = Failing if fails(params) else torch.nn.Sequential
        height, width, channels = shape
        linear = torch.nn.Linear(height * width * channels, classes)
        return kind(torch.nn.Flatten(), linear)

    return replace(load_space("cifar_blocks"), name="own", build_student=build)


def test_students_that_cannot_be_trained_are_named_and_the_others_are_timed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, data = plan_of("--trials", "20")
    space = failing_where(lambda params: params["stem_stride"] == 4)
    estimate = measure_estimate(plan, space, data, None, Progress(sys.stderr, quiet=True))

    assert estimate.trials > 0
    (told,) = capsys.readouterr().err.split("warning: ")[1:]
    told = " ".join(told.split())
    named = told.partition(" cannot be trained")[0].replace(" and ", ", ").split(", [")
    assert all("stride 4" in name for name in named)
    assert " cannot be trained, test_estimate.py, line " in told
    assert "AssertionError: no mixup here; such trials would fail, and the estimate" in told


def test_one_student_that_cannot_be_trained_is_named_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, data = plan_of("--trials", "20")
    space = failing_where(lambda params: params["width"] == 16)
    measure_estimate(plan, space, data, None, Progress(sys.stderr, quiet=True))

    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("warning: [2,1,1,1] stride 4 width 16 cannot be trained, ")


def test_a_space_whose_students_all_fail_in_training_is_refused() -> None:
    plan, data = plan_of()
    space = failing_where(lambda _: True)
    with pytest.raises(
        PlanError,
        match=r"^space own on digits: no student can be trained, test_estimate.py, line \d+: "
        r"AssertionError: no mixup here; mend build_student$",
    ):
        measure_estimate(plan, space, data, None, Progress(sys.stderr, quiet=True))
