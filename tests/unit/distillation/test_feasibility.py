"""What cannot work is refused before a teacher is trained, by name."""

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.cifar_hybrid import SPACE
from study.distillation.feasibility import InfeasibleError, Networks, check_methods, check_students
from study.distillation.teacher_recipe import TeacherRecipe

NETWORKS = Networks(SPACE.build_student, TeacherRecipe(), 10, (32, 32, 3), True)


def check(networks: Networks = NETWORKS, **change: Any) -> None:
    check_methods([("[1,1,1,1]", {**SPACE.complete({}), **change})], networks)


class NeedsNumbers(nn.Module):
    """A network that cannot be asked without numbers, as those of users may be."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Conv2d(3, 8, 3)
        self.scale = self.layer4.weight.abs().max().item()

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layer4(images).mean(dim=(2, 3))
        return out / self.scale


class Vectors(NeedsNumbers):
    """Its layer4 puts out vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential(self.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten())  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layer4(images) / self.scale
        return out


def test_every_value_of_the_built_in_space_works_under_its_teacher() -> None:
    configurations = [(SPACE.describe(params), params) for params in SPACE.samples()]
    begun = time.monotonic()
    check_methods(configurations, NETWORKS)
    assert time.monotonic() - begun < 60  # three seconds on an idle machine


def test_a_check_draws_no_random_numbers_and_leaves_no_default_device() -> None:
    before = torch.get_rng_state()
    check()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        (
            "layer3+layer5",
            r"the teacher ResNet-50 \[3,4,6,3\] has no module 'layer5' to tap; did you mean layer",
        ),
        ("layer4.2", r"the student \[1,1,1,1\] has no module 'layer4.2' to tap; did you mean"),
    ],
)
def test_a_tap_that_is_not_there_is_named_with_the_nearest(taps: str, words: str) -> None:
    with pytest.raises(InfeasibleError, match=words):
        check(taps=taps)


def test_a_map_and_a_vector_are_not_compared() -> None:
    networks = replace(NETWORKS, build_student=lambda *_: Vectors())
    with pytest.raises(InfeasibleError, match=r"layer4 of the student .* cannot be compared"):
        check(networks, taps="layer4")


def test_a_method_that_cannot_be_built_is_named() -> None:
    with pytest.raises(InfeasibleError, match="no method 'hybird'; did you mean hybrid"):
        check(method="hybird")
    with pytest.raises(InfeasibleError, match=r"alpha: decay 1\.5 leads"):
        check(alpha_schedule="exponential", alpha_end_factor=0.5, alpha_decay=1.5)


def test_a_method_that_asks_the_network_needs_a_space_that_lets_it() -> None:
    answers_alone = replace(NETWORKS, teacher_asked_live=False)
    with pytest.raises(InfeasibleError, match='declare teacher_asked="both"'):
        check(answers_alone)
    check(answers_alone, method="response")
    check(answers_alone, method="none")


def test_a_student_that_must_see_numbers_is_checked_all_the_same() -> None:
    networks = replace(NETWORKS, build_student=lambda *_: NeedsNumbers())
    check(networks, taps="layer4")
    with pytest.raises(InfeasibleError, match=r"the student \[1,1,1,1\] has no module 'layer3'"):
        check(networks, taps="layer3")


def test_a_student_that_cannot_be_built_is_left_to_its_trials_which_say_why() -> None:
    def broken(*_: Any) -> nn.Module:
        raise RuntimeError("no such layer")

    check(replace(NETWORKS, build_student=broken))


def test_a_space_of_which_no_student_can_be_built_is_refused_with_file_and_line() -> None:
    def broken(params: Any, *_: Any) -> nn.Module:
        return nn.Linear(params["widht"], 10)

    def linear(outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32 * 3, outputs))

    tried: Any = [("wide", {"width": 8}), ("narrow", {"width": 4})]
    line = broken.__code__.co_firstlineno + 1
    words = rf"no student can be built, test_feasibility.py, line {line}: KeyError: 'widht'"
    with pytest.raises(InfeasibleError, match=words):
        check_students(tried, replace(NETWORKS, build_student=broken))
    seven = replace(NETWORKS, build_student=lambda *_: linear(7))
    with pytest.raises(InfeasibleError, match=r"wide answers 7 numbers .* data has 10 classes"):
        check_students(tried, seven)
    of_subclasses = replace(NETWORKS, build_student=lambda *_: linear(30))
    check_students(tried, of_subclasses)

    def broken_once(params: Any, *_: Any) -> nn.Module:
        return broken(params) if params["width"] == 8 else linear(10)

    check_students(tried, replace(NETWORKS, build_student=broken_once))
