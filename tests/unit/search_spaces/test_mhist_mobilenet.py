"""The space of MobileNetV2 students: what is a parameter when, and how large students are."""

import pytest
import torch
from torchvision.models import mobilenet_v2

from search_spaces.mhist_mobilenet import SPACE
from search_spaces.networks.mobilenet import build
from search_spaces.space import WEIGHTED_F1, SpaceError, replace


def size_m(model: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def test_students_are_torchvisions_mobilenet_v2() -> None:
    with torch.device("meta"):
        ours, theirs = build(1000), mobilenet_v2()
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    assert size_m(ours) == pytest.approx(3.504872)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 50, 224])
def test_they_see_images_of_the_size_that_the_data_has(channels: int, side: int) -> None:
    params = SPACE.complete({"method": "response"})
    student = SPACE.build_student(params, 2, (side, side, channels)).eval()
    assert student(torch.zeros(1, channels, side, side)).shape == (1, 2)


def test_a_student_answers_its_subclasses() -> None:
    params = SPACE.complete({"subclasses": 5})
    with torch.device("meta"):
        student = SPACE.build_student(params, 2, (32, 32, 3))
    assert student.classifier[1].out_features == 10
    assert SPACE.describe(params) == "MobileNetV2, 5 subclasses a class"


def test_the_papers_recipe_is_the_default() -> None:
    params = SPACE.complete({})
    assert params["weights"] == "imagenet"
    assert params["unfreeze"] == "layer4"
    assert params["head_share"] * 35 == pytest.approx(10)
    recipe = (params["learning_rate"], params["rate_after_head"], params["batch_size"])
    assert recipe == pytest.approx((1e-3, 0.1, 32))
    assert (params["temperature"], params["alpha"], params["optimizer"]) == (4.0, 0.5, "adam")
    teacher = SPACE.teacher_for("mhist")
    assert (teacher.weights, teacher.unfreeze, teacher.learning_rate) == (
        "imagenet",
        "layer4",
        1e-4,
    )
    assert teacher.epochs * teacher.head_share == pytest.approx(10)
    assert SPACE.defaults_for("mhist").max_epochs == teacher.epochs == 35
    assert SPACE.score == WEIGHTED_F1


def test_random_weights_are_never_frozen() -> None:
    scratch = SPACE.with_fixed({"weights": "none"})
    for params in (*scratch.samples(), scratch.control_of({"weights": "none"})):
        assert not {"unfreeze", "head_share", "rate_after_head"} & set(params)
        assert "width" in params
    assert all("width" not in params for params in SPACE.samples())


def test_the_published_figures_are_percent() -> None:
    rows = {row.label: row.published["score"] for row in SPACE.presets["paper"]}
    assert list(rows.values()) == [71.6311, 72.8454, 72.0571]
    assert "48.9 %" in (SPACE.published["paper"].note or "")


def test_pretrained_students_need_the_parameter_that_asks_for_it() -> None:
    parameters = tuple(p for p in SPACE.parameters if p.when is None and p.name != "weights")
    with pytest.raises(SpaceError, match="pretrained 'mobilenet_v2', and no parameter weights"):
        replace(SPACE, parameters=parameters, presets={}, published={}, teacher_varies_with=None)
