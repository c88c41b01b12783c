"""Students of several exits: how they are taught, scored and stripped."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.networks.multi_exit import ENSEMBLE, EXITS, Exit, MultiExit
from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import methods
from study.distillation.deployment import Exits, deployed
from study.distillation.estimate import training_step_seconds
from study.distillation.evaluation import evaluate
from study.distillation.image_data import Augmentation, Split
from study.distillation.lesson import Batch
from study.distillation.measurement import profile_model
from study.distillation.methods import exits
from study.distillation.taps import Taps
from study.distillation.training import (
    CachedTeacher,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)

CLASSES, SIDE, COUNT = 4, 9, 70
MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.25, 0.2)
CPU = torch.device("cpu")
GENERATOR = np.random.default_rng(0)
SPLIT = Split(
    GENERATOR.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8),
    GENERATOR.integers(0, CLASSES, COUNT),
)
DATA = TrainingData(SPLIT, SPLIT, MEAN, STD, Augmentation(pad=1, flip=True))
SETTINGS = TrainingSettings(4, 16, 0.05, "onecycle", views=2, view_seed=11)
SELF: dict[str, Any] = {
    "method": "self",
    "exit": 4,
    "temperature": 3.0,
    "alpha": 0.3,
    "feature_weight": 0.5,
}
SPEC = ResidualSpec((1, 2, 1, 1), "cifar", 1, width=8)


def network(leave_at: Exit = 4, seed: int = 0, spec: ResidualSpec = SPEC) -> MultiExit:
    torch.manual_seed(seed)
    return MultiExit(spec, CLASSES, leave_at=leave_at)


def outputs() -> np.ndarray[Any, np.dtype[np.float16]]:
    return np.random.default_rng(3).standard_normal((2, COUNT, CLASSES)).astype(np.float16)


def trainer(params: dict[str, Any], student: nn.Module | None = None) -> StudentTrainer:
    method = methods.build(params)
    source = CachedTeacher(outputs()) if method.needs_teacher else None
    return StudentTrainer(student or network(params["exit"]), method, DATA, source, SETTINGS, CPU)


def answers(*, weight: bool = True) -> methods.Answers:
    """Four logits and four maps of leaves, as a lesson would hand them over."""
    torch.manual_seed(2)
    logits = [torch.randn(6, CLASSES, requires_grad=True) for _ in range(4)]
    maps = [torch.randn(6, 5, 2, 2, requires_grad=True) for _ in range(4 if weight else 0)]
    labels = torch.arange(6) % CLASSES
    return methods.Answers(logits[-1], labels, features=(*logits, *maps))


def loss_of(params: dict[str, Any], given: methods.Answers, epoch: int = 0) -> Tensor:
    return methods.build(params).at(epoch, 4).loss(given)["loss"]


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    return -functional.log_softmax(logits, 1)[torch.arange(len(labels)), labels].mean()


# The loss


def test_self_distillation_is_the_published_sum() -> None:
    given = answers()
    *shallow, deepest = given.features[:4]
    *maps, target = given.features[4:]
    expected = ce(deepest, given.labels)
    goal = functional.softmax(deepest / 3, 1)
    for logits, feature in zip(shallow, maps, strict=True):
        log_ratio = goal.log() - functional.log_softmax(logits / 3, 1)
        divergence = (goal * log_ratio).sum(1).mean()
        expected = expected + 0.7 * ce(logits, given.labels) + 0.3 * 9 * divergence
        expected = expected + 0.5 * ((feature - target) ** 2).mean()

    assert loss_of(SELF, given).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_deepest_exit_learns_from_the_labels_alone() -> None:
    given = answers()
    loss_of(SELF, given).backward()
    deepest, target = given.features[3], given.features[7]

    alone = deepest.detach().clone().requires_grad_()
    ce(alone, given.labels).backward()
    assert alone.grad is not None
    assert deepest.grad is not None
    torch.testing.assert_close(deepest.grad, alone.grad)
    assert target.grad is None
    assert all(other.grad is not None for other in (*given.features[:3], *given.features[4:7]))


def test_what_the_deepest_stage_of_a_network_learns_is_what_it_learns_without_teaching() -> None:
    gradients = []
    for alpha, weight in ((0.9, 5.0), (0.0, 0.0)):
        run = trainer({**SELF, "alpha": alpha, "feature_weight": weight})
        student = run.student
        images = torch.from_numpy(SPLIT.images[:16]).permute(0, 3, 1, 2)
        rows = torch.arange(16)
        batch = Batch(images, torch.from_numpy(SPLIT.labels[:16]), rows, 0, 0, 4)
        run._lesson(batch)["loss"].backward()
        deepest = [*student.get_submodule("layer4").parameters()]
        deepest += student.get_submodule("head4").parameters()
        gradients.append([p.grad.clone() for p in deepest if p.grad is not None])
        assert len(gradients[-1]) == len(deepest)
    for with_teaching, without in zip(*gradients, strict=True):
        torch.testing.assert_close(with_teaching, without)


def test_without_teaching_it_is_the_control() -> None:
    none, taught = (
        trainer({"method": "none", "exit": 4}),
        trainer({**SELF, "alpha": 0.0, "feature_weight": 0.0}),
    )
    one, other = none.run_epoch(), taught.run_epoch()

    # Summed in another order, shallowest or deepest first.
    assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)


def test_another_method_is_applied_to_every_exit() -> None:
    given = replace(answers(weight=False), teacher_logits=torch.randn(6, CLASSES))
    params = {"method": "response", "temperature": 2.0, "alpha": 0.6}
    single = methods.build(params)
    expected = sum(
        single.loss(replace(given, logits=logits))["loss"].item() for logits in given.features
    )

    assert loss_of({**params, "exit": 1}, given).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"method": "self", "alpha": 0.5, "feature_weight": 1.0}, "a student of several exits"),
        ({**SELF, "feature_weight": -1.0}, "feature_weight must be 0 or more"),
        ({**SELF, "feature_weight": math.inf}, "must be finite"),
        (
            {"method": "hybrid", "alpha": 0.5, "feature_weight": 1.0, "exit": 1},
            "hybrid does not teach a student of several exits",
        ),
        ({"method": "patient", "exit": 1}, "patient.* does not teach a student of several exits"),
    ],
)
def test_what_cannot_teach_exits_is_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(methods.MethodError, match=words):
        methods.build(params)


def test_a_student_without_the_exits_is_refused_by_name() -> None:
    student = build(SPEC, CLASSES)
    with pytest.raises(ValueError, match="the student has no module 'head1' to tap"):
        trainer(SELF, student).run_epoch()


# The network


def test_names_are_those_that_the_methods_tap() -> None:
    modules = dict(network().named_modules())
    assert set(exits.HEADS + exits.MAPS) <= set(modules)
    assert isinstance(network(), Exits)
    assert (
        deployed(build(SPEC, CLASSES)).state_dict().keys()
        == build(SPEC, CLASSES).state_dict().keys()
    )


@pytest.mark.parametrize("side", [8, 9, 28, 32])
def test_adapters_bring_every_map_to_the_shape_of_the_last(side: int) -> None:
    for stem in ("cifar", "imagenet"):
        spec = ResidualSpec((1, 1, 1, 1), stem, 2, width=8)  # type: ignore[arg-type]
        student = network(spec=spec).eval()
        with Taps(student, exits.MAPS) as taps:
            student(torch.zeros(2, 3, side, side))
            shapes = {tuple(feature.shape) for feature in taps.features()}
        assert len(shapes) == 1


@pytest.mark.parametrize("leave_at", EXITS)
def test_a_stripped_exit_answers_as_the_whole_network_does(leave_at: Exit) -> None:
    student = network(leave_at)
    trainer({**SELF, "exit": leave_at}, student).run_epoch()
    student.eval()
    images = torch.randn(5, 3, SIDE, SIDE)

    with torch.no_grad():
        shipped = deployed(student)(images)
        assert torch.equal(shipped, student(images))
        assert torch.equal(shipped, student.answers(images)[EXITS.index(leave_at)])
        for other in EXITS:
            assert torch.equal(
                deployed(student, other)(images), student.answers(images)[EXITS.index(other)]
            )


def test_the_deepest_exit_is_the_plain_residual_network() -> None:
    plain, last = build(SPEC, CLASSES), deployed(network(4))
    sizes = [profile_model(each, (SIDE, SIDE, 3)) for each in (plain, last)]
    assert sizes[0].params_m == sizes[1].params_m
    assert sizes[0].flops_m == sizes[1].flops_m


def test_an_exit_has_the_parameters_and_flops_of_its_own_path_alone() -> None:
    student = network()
    size = {
        leave_at: profile_model(student.deployed(leave_at), (SIDE, SIDE, 3)) for leave_at in EXITS
    }

    def parameters(*names: str) -> float:
        modules = [student.get_submodule(name) for name in names]
        return sum(p.numel() for module in modules for p in module.parameters()) / 1e6

    assert size[1].params_m == pytest.approx(parameters("stem", "layer1", "adapter1", "head1"))
    assert size[2].params_m == pytest.approx(
        parameters("stem", "layer1", "layer2", "adapter2", "head2")
    )
    assert size[ENSEMBLE].params_m == pytest.approx(
        sum(p.numel() for p in student.parameters()) / 1e6
    )
    assert size[1].flops_m < size[2].flops_m < size[3].flops_m < size[ENSEMBLE].flops_m
    branches = sum(size[i].flops_m - _trunk_flops(student, i) for i in (1, 2, 3))
    assert size[ENSEMBLE].flops_m == pytest.approx(size[4].flops_m + branches)


def _trunk_flops(student: MultiExit, last: int) -> float:
    names = ["stem", *(f"layer{stage}" for stage in range(1, last + 1))]
    trunk = nn.Sequential(*(student.get_submodule(name) for name in names))
    return profile_model(trunk, (SIDE, SIDE, 3)).flops_m


def test_weights_do_not_depend_on_the_exit_it_is_judged_by() -> None:
    ours, theirs = network(1).state_dict(), network(ENSEMBLE).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("spec", "leave_at", "words"),
    [
        (replace(SPEC, blocks=(1, 0, 1, 1)), 4, "every stage needs a block"),
        (SPEC, 5, "no exit 5; choose 1, 2, 3, 4, ensemble"),
    ],
)
def test_a_network_that_cannot_be_left_so_is_refused(
    spec: ResidualSpec, leave_at: Exit, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        MultiExit(spec, CLASSES, leave_at=leave_at)


# Training


@pytest.mark.parametrize(
    "params", [SELF, {**SELF, "method": "none"}, {**SELF, "method": "response"}]
)
def test_every_exit_is_trained(params: dict[str, Any]) -> None:
    student = network()
    before = {name: value.clone() for name, value in student.named_parameters()}
    trainer(params, student).run_epoch()

    assert [n for n, value in student.named_parameters() if torch.equal(value, before[n])] == []


def test_training_does_not_depend_on_the_exit_it_is_judged_by() -> None:
    one, other = trainer({**SELF, "exit": 1}), trainer({**SELF, "exit": ENSEMBLE})
    one.run_epoch()
    other.run_epoch()

    assert one.exit_scores == other.exit_scores
    ours, theirs = one.student.state_dict(), other.student.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("leave_at", EXITS)
def test_an_epoch_is_scored_by_the_deployed_exit_and_all_others_beside_it(leave_at: Exit) -> None:
    run = trainer({**SELF, "exit": leave_at})
    metrics = run.run_epoch()

    scores = {each: evaluate(deployed(run.student, each), SPLIT, MEAN, STD, CPU) for each in EXITS}
    assert (metrics.val_loss, metrics.val_score) == pytest.approx(scores[leave_at])
    for each, found in zip(EXITS, run.exit_scores, strict=True):
        assert found == pytest.approx(scores[each])


def test_a_resumed_training_takes_the_very_same_steps() -> None:
    whole = trainer(SELF)
    curve = [whole.run_epoch() for _ in range(3)]
    first = trainer(SELF)
    first.run_epoch()
    resumed = trainer(SELF, network(seed=5))
    resumed.load_state(first.state())
    again = [resumed.run_epoch() for _ in range(2)]

    assert [replace(e, seconds=0) for e in again] == [replace(e, seconds=0) for e in curve[1:]]
    assert resumed.exit_scores == whole.exit_scores
    ours, theirs = whole.student.state_dict(), resumed.student.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_submodule_called_deployed_is_no_exit() -> None:
    student = nn.Sequential()
    student.add_module("deployed", nn.Identity())

    assert deployed(student) is student


def test_a_step_is_timed_with_every_exit_taught() -> None:
    student, reached = network(leave_at=1), []
    student.head4.register_full_backward_hook(lambda *heard: reached.append("head4"))
    training_step_seconds(student, (SIDE, SIDE, 3), CLASSES, 4, CPU, steps=1)

    assert reached == ["head4"] * 2
