"""How many views a study asks its teacher about: refused where too many, told before it begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.mnist_dense import SPACE as MNIST_DENSE
from study import preparation
from study.arguments import parser
from study.distillation.data import augmentation_of
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_recipe import TeacherRecipe
from study.distillation.teacher_source import WholeTable
from study.distillation.views import distinct_views
from study.estimate import _views
from study.plan import PlanError, StudyPlan
from study.resolving import resolve
from study.teacher_worker import TeacherRequest, prepare_teacher

DIGITS = ("--space", "cifar_blocks", "--data", "digits")


def plan_of(*arguments: str) -> StudyPlan:
    return resolve(parser().parse_args([*DIGITS, *arguments]))[0]


@pytest.fixture
def data() -> ImageData:
    def split(count: int) -> Split:
        images = np.zeros((count, 8, 8, 3), dtype=np.uint8)
        return Split(images, np.arange(count, dtype=np.int64) % 2)

    return assemble(
        "made", ("a", "b"), split(40), split(10),
        validation_fraction=0.25, augmentation=Augmentation(4, True), source="made here",
    )  # fmt: skip


def test_all_views_are_refused_where_memory_cannot_hold_the_answers(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 162 crops and flips of 30 images, of 2 classes in float16.
    needed = 162 * 30 * 2 * 2
    recipe = TeacherRecipe(epochs=1)
    monkeypatch.setattr(preparation, "free_memory", lambda: 2 * needed)
    preparation.check_views(plan_of("--views", "all"), recipe, data)
    monkeypatch.setattr(preparation, "free_memory", lambda: 2 * needed - 2)
    with pytest.raises(PlanError, match=r"162 crops and flips of 30 images .* --views 32"):
        preparation.check_views(plan_of("--views", "all"), recipe, data)
    preparation.check_views(plan_of("--views", "32"), recipe, data)
    few = plan_of("--views", "all", "--train-per-class", "4")
    preparation.check_views(few, recipe, data)
    monkeypatch.setattr(preparation, "free_memory", lambda: 2)
    with pytest.raises(PlanError, match="162 crops and flips of 8 images"):
        preparation.check_views(few, recipe, data)


class Named:
    """A summary of a data set, as far as views depend on it."""

    name = "digits"


def test_the_estimate_counts_the_views_that_the_teacher_will_answer() -> None:
    summary: Any = Named()
    plan = plan_of("--views", "all")
    assert _views(plan, summary, (32, 32), augment=True) == 25  # 2 pixels of padding, no flips
    assert _views(plan, summary, (32, 32), augment=False) == 1
    assert _views(replace(plan, views=8), summary, (32, 32), augment=True) == 8
    assert _views(replace(plan, views=8), summary, (32, 32), augment=False) == 1
    assert _views(replace(plan, teacher_outputs="live"), summary, (32, 32), augment=True) == 0


@pytest.mark.parametrize(
    ("name", "side", "views"),
    [("cifar10", 32, 162), ("mnist", 28, 25), ("mnist2x5", 28, 25), ("some_folder", 32, 162)],
)
def test_how_views_of_a_data_set_differ_is_known_before_it_is_read(
    name: str, side: int, views: int
) -> None:
    assert distinct_views(augmentation_of(name, side, augment=True)) == views


def test_the_worker_that_prepares_a_teacher_answers_all_views_and_finds_them_again(
    data: ImageData, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    request = TeacherRequest(
        recipe=TeacherRecipe(network="dense", hidden=(8,), epochs=1, batch_size=16),
        checkpoint=None,
        teachers=str(tmp_path),
        seed=0,
        views=None,
        outputs=True,
        network=False,
        space=MNIST_DENSE,
        precision="float32",
        asked_precision="float32",
        threads=threads,
        trial_threads=threads,
        on_gpu=False,
        described=False,
    )
    first = list(prepare_teacher(request, data, data.train.images))
    again = list(prepare_teacher(request, data, data.train.images))
    (kind, answers), (_, same) = first[-1], again[-1]
    assert kind == "answers"
    assert answers.shape == (162, 30, 2)
    assert np.array_equal(answers, same)
    assert [value for kind, value in again if kind == "images"] == [(162 * 30, 162 * 30)]
    assert ("images", (30, 162 * 30)) in first
    WholeTable(answers, data.augmentation, request.seed).answers(
        12_345, torch.arange(30), torch.from_numpy(data.train.images)
    )
