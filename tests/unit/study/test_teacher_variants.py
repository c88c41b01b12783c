"""Spaces whose trials ask more than one teacher: which, and who teaches whom."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.mnist_subclass import SPACE
from search_spaces.space import Params, SearchSpace, SpaceError
from study.arguments import parser
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe, teacher_key
from study.plan import StudyPlan
from study.preparation import find_teacher
from study.resolving import resolve
from study.seed_points import teacher_values
from study.student import load_student
from study.teacher_choice import teacher_recipe, teacher_variants
from study.trial import StudentTrial
from study.trial_context import TrialContext, TrialTask
from study.trial_teacher import TeacherVariant

SMALL = {"width": 98, "batch_size": 64}


def planned(*arguments: str) -> tuple[StudyPlan, SearchSpace]:
    asked: Namespace = parser().parse_args(["--space", "mnist_subclass", *arguments])
    return resolve(asked)


def images_of(images_a_class: int, classes: int = 2) -> ImageData:
    generator = np.random.default_rng(0)
    labels = np.arange(images_a_class * classes, dtype=np.int64) % classes
    images = generator.integers(0, 40, (len(labels), 8, 8, 1))
    split = Split((images + 40 * labels[:, None, None, None]).astype(np.uint8), labels)
    return assemble(
        "made",
        [f"class{number}" for number in range(classes)],
        split,
        split,
        validation_fraction=0.25,
        augmentation=Augmentation(0, False),
        source="made here",
    )


# Which teachers there are.


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ((), (2, 4, 5, 8)),
        (("--preset", "paper"), (2, 4, 5, 8)),
        (("--fix", "subclasses=5"), (5,)),
        (("--fix", "method=subclass"), (2, 4, 5, 8)),
        (("--fix", "method=response"), (2,)),
        (("--fix", "method=none", "--preset", "paper"), (2,)),
        (("--fix", "method=response", "--fix", "subclasses=8"), (8,)),
    ],
)
def test_there_is_a_teacher_for_each_value_that_a_trial_can_have_the_study_s_own_first(
    arguments: tuple[str, ...], values: tuple[int, ...]
) -> None:
    plan, space = planned(*arguments)
    recipe = teacher_recipe(plan, space, "mnist2x5")

    variants = teacher_variants(plan, space, recipe)

    assert tuple(variants) == values
    assert next(iter(variants.values())) == recipe
    assert [each.subclasses for each in variants.values()] == list(values)
    assert len({teacher_key(each, "ab", 0) for each in variants.values()}) == len(values)


def test_a_preset_s_value_that_is_not_searched_has_its_teacher_too() -> None:
    held = replace(
        SPACE,
        parameters=tuple(
            replace(p, searched=False) if p.name == "subclasses" else p for p in SPACE.parameters
        ),
    )
    assert teacher_values(held, None, {}) == (2,)
    assert teacher_values(held, "paper", {}) == (2, 5)


def test_a_space_of_one_teacher_has_no_variants() -> None:
    plan, _ = planned()
    space = replace(SPACE, teacher_varies_with=None)
    assert teacher_variants(plan, space, TeacherRecipe()) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher_varies_with": "subclass"}, "'subclass', which is no parameter"),
        ({"teacher_varies_with": "width"}, "'width', which no teacher has"),
        ({"preset_data": {"papers": "mnist"}}, "preset papers; did you mean paper"),
    ],
)
def test_a_space_that_names_what_is_not_there_is_refused_when_it_is_made(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpaceError, match=words):
        replace(SPACE, **changes)


def test_a_preset_brings_its_data_set_unless_another_is_asked() -> None:
    assert planned()[0].data == "mnist"
    assert planned("--preset", "paper")[0].data == "mnist2x5"
    assert planned("--preset", "paper", "--data", "digits")[0].data == "digits"


# What is refused before anything is trained.


def refusal(data: ImageData, *arguments: str) -> str:
    plan, space = planned(*arguments)
    with pytest.raises(TeacherError) as caught:
        find_teacher(plan, space, teacher_recipe(plan, space, data.name), data, Path("studies"))
    return str(caught.value)


def test_more_subclasses_than_a_batch_has_images_are_refused() -> None:
    words = refusal(images_of(12, classes=40))
    assert "8 subclasses of each of 40 classes are more than the 256 images" in words
    assert "hold them at 6 or fewer with --fix" in words


def test_fewer_images_than_a_whole_batch_are_refused() -> None:
    assert "has 150 training images, and a teacher of subclasses" in refusal(images_of(100))


def test_one_s_own_teacher_is_refused_where_each_value_needs_another() -> None:
    words = refusal(images_of(400), "--teacher", "own.pt")
    assert "one for each of subclasses 2, 4, 5, 8; hold it with --fix subclasses=2" in words


def test_the_study_s_teacher_is_that_of_the_default() -> None:
    data = images_of(400)
    plan, space = planned()
    recipe = teacher_recipe(plan, space, data.name)
    key = find_teacher(plan, space, recipe, data, Path("studies"))
    assert key == teacher_key(replace(recipe, subclasses=2), data.content_hash, 0)


# Who teaches whom.


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> TrialContext:
    data = images_of(100)
    generator = np.random.default_rng(1)

    def teacher(subclasses: int) -> TeacherVariant:
        outputs = generator.normal(size=(1, len(data.train), 2 * subclasses)).astype(np.float16)
        recipe = TeacherRecipe(network="mnist_cnn", subclasses=subclasses)
        return TeacherVariant(recipe, outputs)

    variants = {count: teacher(count) for count in (2, 4)}
    return TrialContext(
        space=SPACE,
        data=data,
        reduced_rows={},
        teacher=variants[2],
        teacher_ms=1.0,
        folder=str(tmp_path_factory.mktemp("study")),
        epochs=2,
        views=1,
        seed=0,
        precision="float32",
        threads=1,
        on_gpu=False,
        variants=variants,
    )


def without_answers(context: TrialContext, count: int) -> TrialContext:
    outputs = context.variants[count].outputs
    assert outputs is not None
    silent = replace(context.variants[count], outputs=np.full_like(outputs, np.nan))
    own = silent if count == 2 else context.teacher
    return replace(context, teacher=own, variants={**context.variants, count: silent})


def finish(context: TrialContext, number: int, **overrides: Any) -> dict[str, Any]:
    params: Params = SPACE.complete({**SMALL, **overrides})
    trial = StudentTrial(TrialTask(number, params, False), context)
    report = trial.advance()
    while not report["done"]:
        report = trial.advance()
    return report


def test_a_student_of_subclasses_is_taught_by_the_teacher_of_as_many(context: TrialContext) -> None:
    asked = {"method": "subclass", "subclasses": 4}
    report = finish(without_answers(context, 2), 0, **asked)
    assert (report["epoch"], report.get("failure")) == (2, None)
    assert 0 <= report["val_score"] <= 100
    student = load_student(context, 0)
    assert student(torch.zeros(1, 1, 8, 8)).shape == (1, 8)

    assert "epoch 1" in finish(without_answers(context, 4), 1, **asked)["failure"]


def test_a_conventional_student_is_taught_by_the_study_s_own_teacher(context: TrialContext) -> None:
    report = finish(without_answers(context, 4), 2, method="response")
    assert (report["epoch"], report.get("failure")) == (2, None)
    assert load_student(context, 2)(torch.zeros(1, 1, 8, 8)).shape == (1, 2)

    assert "epoch 1" in finish(without_answers(context, 2), 3, method="response")["failure"]


def test_the_control_asks_no_teacher(context: TrialContext) -> None:
    silent = without_answers(without_answers(context, 4), 2)
    report = finish(silent, 4, method="none")
    assert (report["epoch"], report.get("failure")) == (2, None)
