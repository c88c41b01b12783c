"""`--dry-run`: the resolved plan, where things will lie, and a measured estimate of the time.

A few steps of the teacher and of some students are timed on random images of the right shape, and
scaled to the planned numbers of images, epochs and trials. Nothing is written.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.formatting import duration, joined
from cluster.connect import available_cpus
from cluster.kinds import Node, processor_name
from cluster.resources import plan_resources
from search_spaces.space import SearchSpace, Value
from study.console import make_view, print_rows
from study.plan import PlanError, StudyPlan
from study.plan_view import Rows, budget_rows, parameter_rows, plan_rows, seed_rows, where_rows
from study.progress import Progress, make_progress
from study.seed_points import seed_points, teacher_values
from study.task import task_of
from study.teacher_choice import known_side, teacher_recipe
from study.warm_start import earlier_for

if TYPE_CHECKING:
    from study.distillation.teacher_recipe import TeacherRecipe
    from study.task import Summary
    from study.warm_start import Earlier

_BATCH = 64
_STUDENTS_TIMED = 4
# Of all epochs that would be trained without early stopping, halving by a third at each rung
# leaves about this share; the estimate names both.
_SHARE_WITH_STOPPING = 0.5
# What is trained again is not known before the search: a front of so many is supposed, with as many
# rivals and controls, none of which was tried.
_FRONT_SUPPOSED = 4


@dataclass(frozen=True)
class Estimate:
    """Seconds of each part of a study, as measured here, and what the teacher answers ahead.

    ``serving`` are those of one architecture, to be brought into a runtime other than eager: part
    of the trials.
    """

    teacher: float
    outputs: float
    trials: float
    trials_stopped_early: float
    confirmation: float
    replicates: float = 0.0
    views: int = 0
    outputs_bytes: int = 0
    serving: float = 0.0

    @property
    def longest(self) -> float:
        """All of it, with no trial stopped early."""
        after = self.replicates + self.confirmation
        return self.teacher + self.outputs + self.trials + after

    @property
    def shortest(self) -> float:
        """All of it, with as many trials stopped early as rungs allow."""
        return self.longest - self.trials + self.trials_stopped_early


def show_plan(plan: StudyPlan, space: SearchSpace, studies: Path, *, as_json: bool) -> int:
    """Print what would be done and how long it would take; write nothing. Returns 0."""
    import sys

    summary = task_of(space).describe(plan)
    recipe = teacher_recipe(plan, space, summary.name) if space.taught else None
    earlier = earlier_for(plan, space, studies)
    progress = make_progress(sys.stderr, quiet=as_json)
    estimate = measure_estimate(plan, space, summary, recipe, progress)
    if as_json:
        print(json.dumps(_as_json(plan, space, summary, recipe, earlier, studies, estimate)))
        return 0
    console = make_view()
    for title, rows in (
        ("Plan", plan_rows(plan, space, summary, recipe, earlier)),
        ("Parameters", parameter_rows(space)),
        ("Tried first", seed_rows(plan, space)),
        ("Where", where_rows(plan, studies)),
        (
            "Cost, measured here",
            [*_time_rows(plan, space, estimate), _memory_row(plan, summary, recipe)],
        ),
    ):
        console.print(f"\n{title}", style="bold")
        print_rows(console, rows, indent=2)
    console.print("\nNothing was written.", style="dim")
    return 0


def measure_estimate(
    plan: StudyPlan,
    space: SearchSpace,
    data: "Summary",
    recipe: "TeacherRecipe | None",
    progress: Progress,
) -> Estimate:
    """Time a few steps and scale them.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        data: Counts of the data set.
        recipe: The teacher's recipe; None where there is none.
        progress: Shows how far it is.

    Raises:
        study.plan.PlanError: if a method of the space cannot work with the networks, or this
            machine has not what trials are to run on.
    """
    # Before torch is imported: more threads than a trial gets would promise too much, and threads
    # that spin while they wait, as a worker's do not, made a step ten times slower on a busy CPU.
    os.environ.setdefault("OMP_NUM_THREADS", str(plan.threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from study.distillation.estimate import (
        forward_seconds,
        serving_seconds,
        training_step_seconds,
    )
    from study.distillation.runtime import as_runtime
    from study.distillation.teacher_network import build_network
    from study.method_check import check_methods_here
    from study.precision import precision_of_students, precision_of_teacher

    device = torch.device("cuda" if plan.gpus_per_trial > 0 else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PlanError(
            f"--gpus-per-trial {plan.gpus_per_trial:g}: --dry-run times a few steps on this "
            "machine, on which torch finds no GPU; give it where there is one, or leave that out"
        )
    shape = _shape(plan, data, recipe)
    classes = len(data.classes)
    check_methods_here(plan, space, data.name, classes, shape)
    precision = precision_of_students(space, plan.precision, classes, shape, device)
    task, students = task_of(space), _students_to_time(plan, space)
    threads = available_cpus()
    with progress.phase("timing a few steps") as phase:
        torch.set_num_threads(threads)
        step = forward = 0.0
        if recipe is not None:
            teacher = build_network(recipe, classes, shape, auxiliary=True)
            own = precision_of_teacher(recipe, plan.precision, classes, shape, device)
            step = training_step_seconds(teacher, shape, classes, _BATCH, device, precision=own)
            forward = forward_seconds(teacher, shape, _BATCH, device, precision=own)
        torch.set_num_threads(plan.threads)
        steps: list[float] = []
        failures: dict[str, Exception] = {}
        for index, params in enumerate(students, start=1):
            batch, name = int(params.get("batch_size", _BATCH)), space.describe(params)
            try:
                built = space.build_student(params, classes, shape)
                steps.append(task.step_seconds(built, shape, classes, batch, device, precision))
                student = built
            except Exception as error:  # of a user's network; its trials would fail, and no other
                failures[name] = error
            phase.update(index, len(students), name)
        _tell_failures(failures, space, data.name, progress, all_failed=not steps)
        serving = 0.0
        if plan.runtime != "eager":
            phase.update(len(students), len(students), f"one student into {plan.runtime}")
            serving = serving_seconds(
                task.measured(student), shape, device, as_runtime(plan.runtime)
            )
    epochs = [space.epochs_of(params, plan.max_epochs) for params in students]
    per_image, mean_epochs = sum(steps) / len(steps), sum(epochs) / len(epochs)
    teachers = len(teacher_values(space, plan.preset, plan.fixed)) or 1
    trained = 0 if recipe is None or plan.teacher else teachers * recipe.epochs
    views = _views(plan, data, shape[:2], augment=space.augment)
    outputs = teachers * classes * (1 if recipe is None else recipe.subclasses)
    times = trained * step, teachers * forward, per_image, mean_epochs
    return scaled(plan, data, *times, views, outputs, serving)


def _tell_failures(
    failures: Mapping[str, Exception],
    space: SearchSpace,
    data: str,
    progress: Progress,
    *,
    all_failed: bool,
) -> None:
    """Name students that took no step; refuse the space if none did."""
    from study.distillation.feasibility import where_it_failed

    students: dict[str, list[str]] = {}
    for name, error in failures.items():
        students.setdefault(where_it_failed(error), []).append(name)
    for where, names in students.items():
        if all_failed:
            raise PlanError(
                f"space {space.name} on {data}: no student can be trained, {where}; "
                "mend build_student"
            )
        progress.warn(
            f"{joined(names)} cannot be trained, {where}; such trials would fail, and the "
            "estimate is of the others"
        )


def scaled(
    plan: StudyPlan,
    data: "Summary",
    teacher_training: float,
    teacher_forward: float,
    student_step: float,
    epochs: float,
    views: int,
    outputs: int,
    serving: float,
) -> Estimate:
    """Scale what steps take to the planned numbers of images, epochs and trials.

    Args:
        plan: The plan.
        data: Counts of the data set.
        teacher_training: Seconds of the teachers' trainings, per image.
        teacher_forward: Seconds of their answers, per image and view.
        student_step: Seconds of a student's step, per image.
        epochs: Of a trial, on the mean.
        views: Views that the teachers are asked about ahead.
        outputs: Numbers in their answer to an image.
        serving: Seconds to bring a student into the runtime.
    """
    here = Node("here", available_cpus(), 0 if plan.gpus_per_trial == 0 else 1, processor_name())
    resources = plan_resources(
        [here],
        cpus_per_trial=plan.threads,
        gpus_per_trial=plan.gpus_per_trial,
        concurrent=plan.concurrent,
    )
    images = data.train
    if plan.train_per_class is not None:
        images = min(images, plan.train_per_class * len(data.classes))
    epoch = images * student_step + data.validation * student_step / 3
    training = epochs * epoch / resources.concurrent
    trials = plan.budget.trials * (training + serving / resources.concurrent)
    replicates = _replicates(plan) * training
    teacher = data.train * teacher_training
    answering = images * views * teacher_forward
    if plan.budget.seconds is not None:
        # The budget begins with the command, not with the trials.
        left = max(0.0, plan.budget.seconds - teacher - answering)
        trials = min(trials, left)
        replicates = min(replicates, left - trials)
    if plan.budget.device_hours is not None:
        devices = plan.devices_per_trial * resources.concurrent
        trials = min(trials, 3600 * plan.budget.device_hours / devices)
        replicates = min(replicates, 3600 * plan.budget.device_hours / devices - trials)
    share = _SHARE_WITH_STOPPING if plan.scheduler != "none" else 1.0
    return Estimate(
        teacher=teacher,
        outputs=answering,
        trials=trials,
        trials_stopped_early=trials * share,
        confirmation=min(plan.budget.trials, 12)
        * (min(4.0, plan.timing_seconds) + data.test * student_step / 3),
        replicates=replicates,
        views=views,
        outputs_bytes=2 * images * views * outputs,
        serving=serving,
    )


def _views(plan: StudyPlan, data: "Summary", sides: tuple[int, int], *, augment: bool) -> int:
    """Views that the teacher is asked about ahead; those that are all alike, once."""
    if plan.teacher_outputs != "ahead":
        return 0
    from study.distillation.data import augmentation_of
    from study.distillation.views import distinct_views

    there_are = distinct_views(augmentation_of(data.name, min(sides), augment=augment))
    return plan.number_of_views if plan.number_of_views and there_are > 1 else there_are


def _replicates(plan: StudyPlan) -> int:
    """How many trainings ``--replicates`` adds at most to a front of the size that is supposed."""
    front = min(plan.budget.trials, _FRONT_SUPPOSED)
    again = plan.replicates - 1
    return front * (again + (again + 1) + again) if again else 0


def _shape(
    plan: StudyPlan, data: "Summary", recipe: "TeacherRecipe | None"
) -> tuple[int, int, int]:
    """Shape of an image; of a folder, which is not read, that of small ones the teacher can see."""
    from study.distillation.teacher_recipe import SMALLEST_INCEPTION_INPUT

    mnist = data.name in ("mnist", "mnist2x5")
    as_they_are = recipe is not None and recipe.network == "inception" and not recipe.input_size
    side = known_side(plan) or (SMALLEST_INCEPTION_INPUT if as_they_are else 28 if mnist else 32)
    return side, side, 1 if mnist else 3


def _students_to_time(plan: StudyPlan, space: SearchSpace) -> list[dict[str, Value]]:
    """Seed points and random draws: what the trials will be like, as far as one can know."""
    import random

    seeds = [dict(seed.params) for seed in seed_points(space, plan.preset, plan.fixed)]
    generator = random.Random(plan.seed)
    drawn: list[dict[str, Value]] = []
    while len(drawn) < _STUDENTS_TIMED:
        overrides: dict[str, Any] = {}
        for parameter in space.parameters:
            if not (parameter.searched and parameter.architecture):
                continue
            choices = getattr(parameter, "choices", None)
            if choices is None:
                low, high = int(parameter.low), int(parameter.high)  # type: ignore[union-attr]
                choices = range(low, high + 1)
            overrides[parameter.name] = generator.choice(list(choices))
        drawn.append(space.complete(overrides))
    asked = plan.budget.trials
    return [*seeds, *drawn] if asked > len(seeds) else seeds[:asked]


def _time_rows(plan: StudyPlan, space: SearchSpace, estimate: Estimate) -> Rows:
    of_teacher = [
        ("teacher", duration(estimate.teacher) + ", unless one is kept"),
        ("its outputs", _outputs_text(estimate)),
    ]
    rows = [
        *(of_teacher if space.taught else []),
        ("trials", f"{duration(estimate.trials_stopped_early)} to {duration(estimate.trials)}"),
        *_serving_row(plan, estimate),
        *_replicate_row(plan, estimate),
        ("confirmation", duration(estimate.confirmation)),
        ("in all", f"{duration(estimate.shortest)} to {duration(estimate.longest)}"),
    ]
    return [*rows, *budget_rows(plan.budget), *too_short(plan, estimate)]


def too_short(plan: StudyPlan, estimate: Estimate) -> Rows:
    """Say that the time budget would be spent before the first trial, if it would."""
    seconds, preparing = plan.budget.seconds, estimate.teacher + estimate.outputs
    if seconds is None or preparing < seconds:
        return []
    text = f"the teacher alone takes {duration(preparing)}, so no trial would begin"
    return [("too short", f"{text}; give a larger --budget, or fewer --teacher-epochs")]


def _outputs_text(estimate: Estimate) -> str:
    """What answering ahead takes, and of how many views."""
    if not estimate.views:
        return duration(estimate.outputs)
    views = f"{estimate.views} view{'s' * (estimate.views != 1)} of each image"
    megabytes = f"{estimate.outputs_bytes / 1e6:,.0f} MB"
    return f"{duration(estimate.outputs)} for {views}, {megabytes}, unless they are kept"


def _serving_row(plan: StudyPlan, estimate: Estimate) -> Rows:
    if not estimate.serving:
        return []
    each = duration(estimate.serving)
    return [("of which", f"{each} an architecture, to bring it into {plan.runtime}")]


def _replicate_row(plan: StudyPlan, estimate: Estimate) -> Rows:
    count = _replicates(plan)
    if not count:
        return []
    front = min(plan.budget.trials, _FRONT_SUPPOSED)
    text = f"{duration(estimate.replicates)} for {count} trainings, were the front of {front}"
    return [("replicates", text)]


def _memory_row(
    plan: StudyPlan, data: "Summary", recipe: "TeacherRecipe | None"
) -> tuple[str, str]:
    """What the images take: a byte for each channel of each pixel, once for all trials."""
    height, width, channels = _shape(plan, data, recipe)
    images = data.train + data.validation + data.test
    megabytes = images * height * width * channels / 1e6
    return "memory", f"{megabytes:,.0f} MB of images, shared by all trials of a machine"


def _as_json(
    plan: StudyPlan,
    space: SearchSpace,
    data: "Summary",
    recipe: "TeacherRecipe | None",
    earlier: "Earlier | None",
    studies: Path,
    estimate: Estimate,
) -> dict[str, Any]:
    return {
        "plan": plan.to_json(),
        "space": space.to_json(plan.preset),
        "data": {
            "name": data.name,
            "train": data.train,
            "validation": data.validation,
            "test": data.test,
        },
        "teacher": None if recipe is None else recipe.title,
        "warm_start": None if earlier is None else list(earlier.lines),
        "where": dict(where_rows(plan, studies)),
        "seconds": {
            "teacher": round(estimate.teacher, 1),
            "outputs": round(estimate.outputs, 1),
            "trials": round(estimate.trials, 1),
            "trials_stopped_early": round(estimate.trials_stopped_early, 1),
            "serving": round(estimate.serving, 1),
            "replicates": round(estimate.replicates, 1),
            "confirmation": round(estimate.confirmation, 1),
        },
    }
