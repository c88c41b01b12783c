"""The default student of a space decides in which number format the space is trained."""

from dataclasses import replace

import pytest
import torch

from search_spaces.cifar_blocks import SPACE as CIFAR_BLOCKS
from search_spaces.cifar_quantized import SPACE as CIFAR_QUANTIZED
from search_spaces.mnist_dense import SPACE as MNIST_DENSE
from search_spaces.pairs_autoencoder import SPACE as PAIRS
from search_spaces.space import Params, SearchSpace
from study.distillation import precision
from study.distillation.teacher_recipe import TeacherRecipe
from study.precision import precision_of_students, precision_of_teacher
from study.task import task_of

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fast_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision, "bfloat16_speedup", lambda: 1.7)


@pytest.mark.parametrize(
    ("space", "shape", "expected"),
    [
        (CIFAR_BLOCKS, (32, 32, 3), "bfloat16"),
        (PAIRS, (64, 64, 3), "bfloat16"),
        (CIFAR_QUANTIZED, (32, 32, 3), "bfloat16"),
        (MNIST_DENSE, (28, 28, 1), "float32"),
    ],
    ids=lambda value: value.name if isinstance(value, SearchSpace) else None,
)
def test_convolutions_take_it_and_a_small_dense_network_does_not(
    space: SearchSpace, shape: tuple[int, int, int], expected: str
) -> None:
    state = torch.get_rng_state()
    assert precision_of_students(space, "auto", 10, shape, CPU) == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_a_narrower_student_stays_with_float32() -> None:
    """A fixed width makes the default student another one."""
    narrow = CIFAR_BLOCKS.with_fixed({"width": 16})
    assert precision_of_students(narrow, "auto", 10, (32, 32, 3), CPU) == "float32"


def test_what_is_asked_for_by_name_builds_no_student() -> None:
    assert precision_of_students(MNIST_DENSE, "bfloat16", 10, (28, 28, 1), CPU) == "bfloat16"
    assert precision_of_students(MNIST_DENSE, "float32", 0, (0, 0, 0), CPU) == "float32"


def test_work_is_that_of_the_matrices_for_all_images_of_a_step() -> None:
    student = MNIST_DENSE.build_student(MNIST_DENSE.complete({"hidden": 300}), 10, (28, 28, 1))
    work = task_of(MNIST_DENSE).work_a_layer(student, (28, 28, 1), 32)
    assert work == pytest.approx(32 * 2 * (784 * 300 + 300 * 10) / 2 / 1e6)


def test_a_teacher_is_looked_at_by_itself() -> None:
    """The dense teacher of small dense students has enough to do, and they have not."""
    recipe = TeacherRecipe(network="dense")
    state = torch.get_rng_state()
    assert precision_of_teacher(recipe, "auto", 10, (28, 28, 1), CPU) == "bfloat16"
    small = TeacherRecipe(network="dense", hidden=(32,), batch_size=32)
    assert precision_of_teacher(small, "auto", 10, (28, 28, 1), CPU) == "float32"
    assert precision_of_teacher(recipe, "float32", 10, (28, 28, 1), CPU) == "float32"
    assert torch.equal(torch.get_rng_state(), state)


def test_a_default_student_that_cannot_be_built_leaves_the_others_in_float32() -> None:
    def build(params: Params, classes: int, shape: tuple[int, int, int]) -> torch.nn.Module:
        raise ValueError("too deep for these images")

    unfit = replace(CIFAR_BLOCKS, build_student=build)
    assert precision_of_students(unfit, "auto", 10, (8, 8, 1), CPU) == "float32"
