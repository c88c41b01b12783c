"""Hybrid trials without Ray: they ask the teacher's network, and leave a student and no more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_study import make_data

from search_spaces.cifar_hybrid import SPACE
from study import trial_teacher
from study.distillation import checkpoint
from study.distillation.teacher_network import build_network
from study.distillation.teacher_recipe import TeacherRecipe
from study.trial import StudentTrial
from study.trial_context import STUDENT_FILE, TrialContext, TrialTask, trial_folder
from study.trial_teacher import TeacherVariant

TEACHER = TeacherRecipe(depths=(1, 1, 1, 1), width_per_group=8, epochs=0)
SHAPE = (8, 8, 1)


def make_context(folder: Path) -> TrialContext:
    generator = np.random.default_rng(0)
    data = make_data(generator, pad=1)
    torch.manual_seed(7)
    teacher = build_network(TEACHER, 2, SHAPE)
    return TrialContext(
        space=SPACE,
        data=data,
        reduced_rows={},
        teacher=TeacherVariant(
            TEACHER,
            generator.normal(size=(2, len(data.train), 2)).astype(np.float16),
            {name: value.numpy() for name, value in teacher.state_dict().items()},
        ),
        teacher_ms=10.0,
        folder=str(folder),
        epochs=3,
        views=2,
        seed=0,
        precision="float32",
        threads=1,
        on_gpu=False,
    )


def params(**overrides: Any) -> dict[str, Any]:
    scheduled = {"alpha_schedule": "linear", "temperature_schedule": "exponential"}
    return SPACE.complete({"width": 16, "stem_stride": 1, **scheduled, **overrides})


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Size and latency as the record has them, so that tests need not measure again."""
    folder = tmp_path_factory.mktemp("known")
    first = StudentTrial(TrialTask(0, params(), False), make_context(folder)).advance()
    return {"model": first["model"], "latency": first["latency"]}


def finish(trial: StudentTrial) -> list[dict[str, Any]]:
    reports = [trial.advance()]
    while not reports[-1]["done"]:
        reports.append(trial.advance())
    assert "failure" not in reports[-1], reports[-1]
    return reports


def kept(context: TrialContext, number: int) -> dict[str, Any]:
    return checkpoint.load(trial_folder(Path(context.folder), number) / STUDENT_FILE)


def same_students(context: TrialContext, one: int, other: int) -> bool:
    ours, theirs = kept(context, one)["weights"], kept(context, other)["weights"]
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_kept_and_counted_of_a_hybrid_trial_is_the_student_alone(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    finish(StudentTrial(TrialTask(0, params(), False, **known), context))

    student = SPACE.build_student(params(), 2, SHAPE)
    assert set(kept(context, 0)["weights"]) == set(student.state_dict())
    assert known["model"]["params_m"] * 1e6 == pytest.approx(
        sum(parameter.numel() for parameter in student.parameters())
    )


def test_an_interrupted_hybrid_trial_goes_on_exactly_in_a_new_process(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    # The first of a process builds the teacher; one that goes on elsewhere does so again.
    trial_teacher._NETWORKS.clear()
    finish(StudentTrial(TrialTask(1, params(), False, **known), context))
    begun = StudentTrial(TrialTask(2, params(), False, **known), context)
    begun.advance()
    begun.advance()
    begun.close()
    trial_teacher._NETWORKS.clear()
    finish(StudentTrial(TrialTask(2, params(), False, **known), context))

    assert same_students(context, 1, 2)


def test_a_trial_is_the_same_whether_its_latency_was_measured_or_known(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    trial_teacher._NETWORKS.clear()
    finish(StudentTrial(TrialTask(1, params(), False, **known), context))
    trial_teacher._NETWORKS.clear()
    finish(StudentTrial(TrialTask(2, params(), False), context))

    assert same_students(context, 1, 2)


def test_hybrid_trials_ask_the_network_and_response_trials_the_table(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    assert context.teacher.outputs is not None
    nonsense = np.full_like(context.teacher.outputs, np.nan)
    poisoned = replace(context, teacher=replace(context.teacher, outputs=nonsense))

    hybrid = finish(StudentTrial(TrialTask(0, params(), False, **known), poisoned))
    response = StudentTrial(TrialTask(1, params(method="response"), False, **known), poisoned)
    response.advance()

    assert hybrid[-1]["epoch"] == 3
    assert "nan in epoch 1" in response.advance()["failure"]


def test_a_network_without_its_weights_does_not_teach(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    context = replace(context, teacher=replace(context.teacher, weights=None))

    report = StudentTrial(TrialTask(0, params(), False, **known), context).advance()

    assert "asks the teacher's network, and only its answers are here" in report["failure"]
