"""The user's choice of the teacher's network: what it changes, what it makes another study."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.results import PLAN_FORMAT, SoloLatency, TeacherResult, Timing
from search_spaces.space import ACCURACY, SearchSpace
from study.arguments import parser
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe
from study.plan import PlanError, StudyPlan, differences, identity_hash
from study.plan_view import plan_rows
from study.preparation import find_teacher
from study.resolving import resolve
from study.teacher_choice import poor_teacher, teacher_recipe
from study.trial_teacher import TeacherVariant, teacher_network

INCEPTION = ("--teacher-network", "inception", "--teacher-size", "75")


def planned(*arguments: str, data: str = "digits") -> tuple[StudyPlan, SearchSpace]:
    line = ["--space", "cifar_cnn", "--data", data, *arguments]
    return resolve(parser().parse_args(line))


def identity(plan: StudyPlan) -> str:
    return identity_hash(plan.identity(space_hash="s", data_hash="d", teacher_key="t"))


def small_images(side: int) -> ImageData:
    labels = np.arange(40, dtype=np.int64) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, side, side, 3), dtype=np.uint8)
    split = Split(images, labels)
    return assemble(
        "made",
        ["a", "b"],
        split,
        split,
        validation_fraction=0.25,
        augmentation=Augmentation(0, False),
        source="made here",
    )


def test_the_network_and_its_size_are_the_recipe_s_and_the_rest_stays_the_space_s() -> None:
    plan, space = planned(*INCEPTION, data="cifar10")
    declared = teacher_recipe(*planned(data="cifar10"), "cifar10")

    recipe = teacher_recipe(plan, space, "cifar10")

    assert (recipe.network, recipe.input_size) == ("inception", 75)
    assert recipe.title == "Inception-v3 at 75 px"
    assert (recipe.epochs, recipe.learning_rate) == (declared.epochs, declared.learning_rate)
    assert declared.title == "ResNet-50 [3,4,6,3]"


def test_a_network_named_as_the_space_declares_it_changes_nothing_of_the_teacher() -> None:
    asked = teacher_recipe(*planned("--teacher-network", "resnet"), "digits")
    assert asked == teacher_recipe(*planned(), "digits")


@pytest.mark.parametrize("network", ["resnet", "dense", "mnist_cnn"])
def test_every_space_can_have_another_network(network: str) -> None:
    line = ["--space", "mnist_dense", "--data", "digits", "--teacher-network", network]
    plan, space = resolve(parser().parse_args(line))
    assert teacher_recipe(plan, space, "digits").network == network


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--teacher-network", "inceptoin"), "did you mean inception?"),
        (("--teacher-network", "vgg"), "choose from resnet, dense, mnist_cnn, inception"),
        ((*INCEPTION[:3], "32"), "--teacher-size 32 is less than 75; give 75 or more"),
        (INCEPTION[:2], "cannot see images of 32 px; .*--teacher-size 75 or more"),
        ((*INCEPTION[:2], "--image-size", "64"), "cannot see images of 64 px"),
        (("--teacher-size", "75"), "add --teacher-network inception"),
        (("--teacher-statistics", "imagenett"), "--teacher-statistics .* did you mean imagenet"),
        (("--teacher-network", "dense", "--teacher-weights", "imagenet"), "--teacher-weights none"),
    ],
)
def test_what_cannot_teach_is_refused_on_the_command_line(
    arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises((PlanError, TeacherError), match=words):
        planned(*arguments)


def test_images_that_are_large_enough_need_no_size() -> None:
    plan, space = planned(*INCEPTION[:2], "--image-size", "96")
    assert teacher_recipe(plan, space, "digits").title == "Inception-v3"


def test_of_a_folder_it_is_found_on_reading_it_before_anything_is_trained() -> None:
    plan, space = planned(*INCEPTION[:2], data="pets")
    recipe = teacher_recipe(plan, space, "pets")

    with pytest.raises(TeacherError, match=r"images of 32 px; .*--teacher-size 75 or more"):
        find_teacher(plan, space, recipe, small_images(32), Path("studies"))
    assert find_teacher(plan, space, recipe, small_images(80), Path("studies"))


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ((), ("--teacher-network", "resnet"), "teacher_network"),
        (INCEPTION, (*INCEPTION[:3], "96"), "teacher_size"),
        ((), ("--teacher-statistics", "imagenet"), "teacher_statistics"),
    ],
)
def test_another_choice_makes_another_study_and_is_named(
    before: tuple[str, ...], after: tuple[str, ...], name: str
) -> None:
    first, second = planned(*before)[0], planned(*after)[0]

    assert identity(first) != identity(second)
    known = {"space_hash": "s", "data_hash": "d", "teacher_key": "t"}
    (difference,) = differences(first.identity(**known), second.identity(**known))
    assert difference.startswith(f"{name} ")


def test_a_plan_stored_before_there_was_a_choice_reads_and_is_the_same_study() -> None:
    plan, _ = planned()
    stored = plan.to_json()
    later = {"teacher_network", "teacher_size", "teacher_statistics"}
    stored = {name: value for name, value in stored.items() if name not in later}

    assert StudyPlan.from_json(stored) == plan
    known = {"space_hash": "s", "data_hash": "d", "teacher_key": "t"}
    assert not later & set(plan.identity(**known))


@pytest.mark.parametrize(
    ("arguments", "statistics"),
    [
        ((), "data"),
        (("--teacher-weights", "imagenet"), "imagenet"),
        (("--teacher-weights", "imagenet", "--teacher-statistics", "data"), "data"),
        (("--teacher", "own.pt"), "data"),
        (("--teacher", "own.pt", "--teacher-statistics", "imagenet"), "imagenet"),
    ],
)
def test_images_are_normalised_by_what_the_teacher_was_trained_with(
    arguments: tuple[str, ...], statistics: str
) -> None:
    plan, space = planned(*arguments, data="cifar10")
    assert teacher_recipe(plan, space, "cifar10").statistics == statistics


def test_the_same_command_goes_on_with_a_study_of_before_there_was_a_choice(
    tmp_path: Path,
) -> None:
    """Its teacher began with ImageNet's weights and saw images normalised by the data's own."""
    line = ["--teacher-weights", "imagenet", "--studies", str(tmp_path), "--name", "before"]
    stored = planned(*line, data="cifar10")[0].to_json()
    assert stored.pop("teacher_statistics") == "imagenet"
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "plan.json").write_text(
        json.dumps({"format": PLAN_FORMAT, "plan": stored})
    )
    assert planned(*line, data="cifar10")[0].teacher_statistics == "data"


def test_a_chosen_teacher_comes_back_from_json() -> None:
    plan, _ = planned(*INCEPTION)
    assert StudyPlan.from_json(plan.to_json()) == plan


def test_the_reason_for_the_space_s_own_teacher_is_not_given_for_another() -> None:
    from study.distillation.data import describe

    summary = describe("digits", None)

    def row(*arguments: str) -> str:
        plan, space = planned(*arguments)
        recipe = teacher_recipe(plan, space, "digits")
        return dict(plan_rows(plan, space, summary, recipe))["teacher"]

    assert "do not carry a ResNet-50" in row()
    assert row(*INCEPTION) == "Inception-v3 at 75 px, 12 epochs"
    # What cannot be read off a file is shown.
    own = ("--teacher", "own.pt")
    assert row(*own) == "own.pt, its images normalised by the data's own statistics"
    theirs = row(*own, "--teacher-statistics", "imagenet")
    assert theirs == "own.pt, its images normalised by ImageNet's statistics"


def test_a_worker_builds_a_teacher_of_imagenet_weights_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    teacher = TeacherVariant(TeacherRecipe(weights="imagenet"))

    network = teacher_network(teacher, small_images(16), str(tmp_path))

    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    ("reached", "own", "mend"),
    [
        (9.7, True, "that --teacher-statistics are those that it was trained with"),
        (14.2, False, "train it longer (--teacher-epochs)"),
        (15.0, True, None),
        (97.0, False, None),
    ],
)
def test_a_teacher_hardly_better_than_chance_is_told_of(
    reached: float, own: bool, mend: str | None
) -> None:
    times = SoloLatency(Timing(1.0, 1.0), Timing(1.0, 1.0), "cpu", 1)
    teacher = TeacherResult("key", "ResNet", 1.0, 1.0, reached, None, 1.0, 1, times, "trained")
    told = poor_teacher(teacher, 10.0, ACCURACY, own=own)
    if mend is None:
        assert told is None
    else:
        assert told is not None
        assert told.replace("\u00a0", " ").startswith(
            f"the teacher's validation accuracy is {reached} %, hardly more than the 10.0 %"
        )
        assert told.endswith(mend)
