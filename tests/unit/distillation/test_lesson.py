"""Hybrid lessons: projectors are trained and resumed beside the student, and are no part of it."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import checkpoint, methods
from study.distillation.image_data import Augmentation, Split
from study.distillation.lesson import Batch, Lesson
from study.distillation.losses import feature_distance
from study.distillation.measurement import profile_model
from study.distillation.projectors import Projector
from study.distillation.taps import TapError
from study.distillation.training import (
    CachedTeacher,
    EpochMetrics,
    LiveTeacher,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)
from study.distillation.views import Normalizer

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, SIDE, COUNT = 4, 8, 70
MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.25, 0.2)
CPU = torch.device("cpu")
GENERATOR = np.random.default_rng(0)
SPLIT = Split(
    GENERATOR.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8),
    GENERATOR.integers(0, CLASSES, COUNT),
)
DATA = TrainingData(SPLIT, SPLIT, MEAN, STD, Augmentation(pad=1, flip=True))
SETTINGS = TrainingSettings(4, 16, 0.05, "onecycle", views=2, view_seed=11)
HYBRID: dict[str, Any] = {
    "method": "hybrid",
    "temperature": 3.0,
    "alpha": 0.7,
    "feature_weight": 0.1,
    "taps": "layer1+layer2",
}
SCHEDULED = {
    **HYBRID,
    "temperature_schedule": "exponential",
    "temperature_end_factor": 0.6,
    "temperature_decay": 0.7,
    "alpha_schedule": "cosine",
    "alpha_end_factor": 0.1,
}


def network(width: int, seed: int, stride: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build(ResidualSpec((1, 1, 0, 0), "cifar", stride, width=width), CLASSES)


def living(width: int = 12) -> LiveTeacher:
    return LiveTeacher(network(width, seed=9), MEAN, STD)


def trainer(
    params: dict[str, Any],
    teacher: Any = None,
    settings: TrainingSettings = SETTINGS,
    student: nn.Module | None = None,
) -> StudentTrainer:
    student = student or network(8, seed=0)
    method = methods.build(params)
    return StudentTrainer(student, method, DATA, teacher or living(), settings, CPU)


def train(run: StudentTrainer, epochs: int) -> list[EpochMetrics]:
    return [replace(run.run_epoch(), seconds=0) for _ in range(epochs)]


def projectors_of(run: StudentTrainer) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in run._lesson.parameters()]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lesson_of(params: dict[str, Any], student: nn.Module, teacher: Any) -> Lesson:
    torch.manual_seed(1)
    sample = torch.from_numpy(SPLIT.images[:2]).permute(0, 3, 1, 2)
    normalize = Normalizer(MEAN, STD, CPU)
    return Lesson(methods.build(params), student, teacher, normalize, "float32", sample)


def batch(epoch: int = 0) -> Batch:
    images = torch.from_numpy(SPLIT.images[:16]).permute(0, 3, 1, 2)
    labels, rows = torch.from_numpy(SPLIT.labels[:16]), torch.arange(16)
    return Batch(images, labels, rows, 0, epoch, SETTINGS.epochs)


def outputs() -> np.ndarray[Any, np.dtype[np.float16]]:
    return np.random.default_rng(3).standard_normal((2, COUNT, CLASSES)).astype(np.float16)


# The loss


@pytest.mark.parametrize("direction", ["student-to-teacher", "teacher-to-student"])
def test_the_loss_is_the_published_sum(direction: str) -> None:
    student, teacher = network(8, seed=0).eval(), network(12, seed=9).eval()
    lesson = lesson_of({**HYBRID, "projector": direction}, student, LiveTeacher(teacher, MEAN, STD))

    terms = lesson(batch())

    inputs = Normalizer(MEAN, STD, CPU)(batch().images)
    with torch.no_grad():
        s, t = student(inputs), teacher(inputs)
        kl = functional.kl_div(
            functional.log_softmax(s / 3, 1),
            functional.log_softmax(t / 3, 1),
            reduction="batchmean",
            log_target=True,
        )
        distance = torch.zeros(())
        for depth, projector in zip((4, 5), lesson.projectors, strict=True):
            own, goal = student[:depth](inputs), teacher[:depth](inputs)  # type: ignore[index]
            if direction == "student-to-teacher":
                own = projector(own)
            else:
                goal = projector(goal)
            distance += (own - goal).square().mean()
        expected = 0.7 * 9 * kl + 0.3 * functional.cross_entropy(s, batch().labels) + 0.1 * distance
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["features"].item() == pytest.approx(distance.item(), rel=1e-5)
    assert set(terms) == {"loss", "ce", "kl", "features"}


def test_features_that_agree_are_at_distance_0_and_add_nothing_to_the_loss() -> None:
    maps = (torch.randn(2, 3, 4, 4), torch.randn(2, 5))
    assert feature_distance(maps, maps).item() == 0

    twin = network(8, seed=0)
    lesson = lesson_of(HYBRID, network(8, seed=0).eval(), LiveTeacher(twin, MEAN, STD))
    terms = lesson(batch())
    assert terms["features"].item() == 0
    assert terms["loss"].item() == pytest.approx(0.3 * terms["ce"].item())
    assert not list(lesson.parameters())  # equal shapes need no projector


def test_the_loss_is_differentiated_rightly() -> None:
    torch.manual_seed(0)
    double: Any = {"dtype": torch.float64, "requires_grad": True}
    labels, t = torch.tensor([0, 3, 1]), torch.randn(3, CLASSES, dtype=torch.float64)
    targets = (torch.randn(3, 2, 2, 2, dtype=torch.float64), torch.randn(3, 4).double())
    method = methods.build(SCHEDULED).at(1, 4)

    def loss(s: Tensor, first: Tensor, second: Tensor) -> Tensor:
        answers = methods.Answers(s, labels, t, (first, second), targets)
        return method.loss(answers)["loss"]

    inputs = (torch.randn(3, CLASSES, **double), torch.randn(3, 2, 2, 2, **double))
    assert torch.autograd.gradcheck(loss, (*inputs, torch.randn(3, 4, **double)))


def test_without_weight_features_are_not_looked_at_and_it_is_the_response_method() -> None:
    for params in (HYBRID, SCHEDULED):
        unweighted = methods.build({**params, "feature_weight": 0.0})
        assert unweighted == methods.build({**params, "method": "response"})
        assert unweighted.taps is None
        assert not unweighted.needs_network
    table = CachedTeacher(outputs())
    hybrid = trainer({**SCHEDULED, "feature_weight": 0}, table)
    response = trainer({**SCHEDULED, "method": "response"}, table)
    assert train(hybrid, 2) == train(response, 2)
    assert same(hybrid.student.state_dict(), response.student.state_dict())


def test_features_alone_teach_beside_the_labels_at_alpha_0() -> None:
    run = trainer({**HYBRID, "alpha": 0.0})
    terms = run._lesson(batch())
    assert set(terms) == {"loss", "features"}
    before = projectors_of(run)
    train(run, 1)
    assert not any(map(torch.equal, before, projectors_of(run)))


def test_a_response_trial_asks_the_table_and_a_hybrid_one_cannot() -> None:
    with pytest.raises(ValueError, match="holds no feature maps"):
        trainer(HYBRID, CachedTeacher(outputs()))


# Who learns


@pytest.mark.parametrize("direction", ["student-to-teacher", "teacher-to-student"])
def test_projectors_and_student_get_gradients_and_are_trained_and_the_teacher_is_not(
    direction: str,
) -> None:
    teacher = network(12, seed=9)
    original = {name: value.clone() for name, value in teacher.state_dict().items()}
    run = trainer({**HYBRID, "projector": direction}, LiveTeacher(teacher, MEAN, STD))
    before = projectors_of(run)
    shapes = [tuple(parameter.shape[:2]) for parameter in before]
    if direction == "student-to-teacher":
        assert shapes == [(12, 8), (24, 16)]
    else:
        assert shapes == [(8, 12), (16, 24)]

    run._lesson(batch())["loss"].backward()
    own = [*run.student.parameters(), *run._lesson.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in own)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())

    train(run, 2)
    assert not any(map(torch.equal, before, projectors_of(run)))
    assert same(original, teacher.state_dict())


def test_projecting_the_teacher_still_moves_the_student_toward_it() -> None:
    run = trainer({**HYBRID, "projector": "teacher-to-student", "alpha": 0.0, "feature_weight": 5})
    before = run._lesson(batch())["features"].item()
    train(run, 4)
    assert run._lesson(batch())["features"].item() < 0.7 * before


@pytest.mark.parametrize(("teacher_stride", "student_stride"), [(1, 2), (2, 1)])
def test_maps_of_other_sizes_are_compared_in_both_directions(
    teacher_stride: int, student_stride: int
) -> None:
    teacher = LiveTeacher(network(12, 9, teacher_stride), MEAN, STD)
    for direction in ("student-to-teacher", "teacher-to-student"):
        params = {**HYBRID, "projector": direction}
        run = trainer(params, teacher, student=network(8, 0, student_stride))
        assert train(run, 1)[0].train_loss > 0


def test_it_trains_in_bfloat16_much_as_in_float32() -> None:
    full = train(trainer(HYBRID), 1)[0]
    half = train(trainer(HYBRID, settings=replace(SETTINGS, precision="bfloat16")), 1)[0]
    assert half.train_loss == pytest.approx(full.train_loss, rel=0.1)


# What is the student's, and what is kept


def test_projectors_are_in_the_state_and_in_nothing_of_the_students(tmp_path: Path) -> None:
    plain = network(8, seed=0)
    size = profile_model(plain, (SIDE, SIDE, 3))
    run = trainer(HYBRID)
    train(run, 1)
    state = run.state()

    assert set(state["lesson"]) == {f"projectors.{i}.channels.weight" for i in (0, 1)}
    assert set(state["model"]) == set(plain.state_dict()) == set(run.student.state_dict())
    assert profile_model(run.student, (SIDE, SIDE, 3)) == size
    decayed, spared = run._optimizer.param_groups
    trained = len(decayed["params"]) + len(spared["params"])
    assert trained == len(list(plain.parameters())) + 2


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("direction", ["student-to-teacher", "teacher-to-student"])
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_last_bit(
    stop: int, direction: str, tmp_path: Path
) -> None:
    params = {**SCHEDULED, "projector": direction}
    whole = trainer(params)
    metrics = train(whole, 4)

    begun = trainer(params)
    train(begun, stop)
    checkpoint.save(tmp_path / "last.pt", begun.state())
    torch.manual_seed(1234)  # a new process is in another random state
    method = methods.build(params)
    resumed = StudentTrainer(network(8, seed=5), method, DATA, living(), SETTINGS, CPU)
    resumed.load_state(checkpoint.load(tmp_path / "last.pt"))

    assert train(resumed, 4 - stop) == metrics[stop:]
    ours, theirs = resumed.state(), whole.state()
    assert same(ours["model"], theirs["model"])
    assert same(ours["lesson"], theirs["lesson"])
    momenta = zip(ours["optimizer"]["state"].values(), theirs["optimizer"]["state"].values(),
                  strict=True)  # fmt: skip
    assert all(torch.equal(a["momentum_buffer"], b["momentum_buffer"]) for a, b in momenta)


def test_the_schedule_goes_by_the_epoch_of_the_training() -> None:
    lesson = lesson_of(SCHEDULED, network(8, seed=0).eval(), living())
    for epoch, temperature, alpha in ((0, 3.0, 0.7), (1, 2.1, 0.5425), (3, 1.8, 0.07)):
        terms = lesson(batch(epoch))
        fixed = {**HYBRID, "temperature": temperature, "alpha": alpha}
        expected = lesson_of(fixed, network(8, seed=0).eval(), living())(batch())
        assert terms["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-5)


def test_projectors_depend_on_the_seed_alone_and_not_on_what_was_drawn_before() -> None:
    torch.manual_seed(1)
    one = trainer(HYBRID)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other = trainer({**HYBRID, "alpha": 0.2}, living(), student=one.student)
    third = trainer(HYBRID, settings=replace(SETTINGS, seed=1))
    assert all(map(torch.equal, projectors_of(one), projectors_of(other)))
    assert not any(map(torch.equal, projectors_of(one), projectors_of(third)))

    student, teacher = network(8, seed=0), living()
    torch.set_rng_state(state)
    trainer(HYBRID, teacher, student=student)
    assert torch.equal(torch.get_rng_state(), state)


# Taps leave nothing behind


def hooks(module: nn.Module) -> int:
    return sum(len(inner._forward_hooks) for inner in module.modules())


def test_neither_network_keeps_a_hook_or_a_feature_map_after_a_lesson() -> None:
    heard: list[weakref.ref[Tensor]] = []
    student, teacher = network(8, seed=0), network(12, seed=9)
    run = trainer(HYBRID, LiveTeacher(teacher, MEAN, STD), student=student)
    spies = [
        module.layer2.register_forward_hook(lambda *call: heard.append(weakref.ref(call[2])))  # type: ignore[union-attr, operator]
        for module in (student, teacher)
    ]
    run.run_epoch()  # trains, and scores the student
    for spy in spies:
        spy.remove()
    gc.collect()

    assert len(heard) == 11  # five batches of two networks, and the validation's
    assert not [reference for reference in heard if reference() is not None]
    assert hooks(student) == hooks(teacher) == 0


def test_trials_that_share_a_teacher_do_not_hear_each_other() -> None:
    teacher = network(12, seed=9)
    alone = train(trainer(HYBRID), 2)
    for taps in ("layer1", "layer2"):
        train(trainer({**HYBRID, "taps": taps}, LiveTeacher(teacher, MEAN, STD)), 1)
    assert train(trainer(HYBRID, LiveTeacher(teacher, MEAN, STD)), 2) == alone


def test_joining_leaves_the_modes_and_statistics_of_the_student_alone() -> None:
    student = network(8, seed=0)
    student.bn1.eval()  # a frozen normalisation stays so
    before = {name: value.clone() for name, value in student.state_dict().items()}
    modes = [module.training for module in student.modules()]
    lesson_of(HYBRID, student, living())
    assert [module.training for module in student.modules()] == modes
    assert same(before, student.state_dict())


# What cannot work


@pytest.mark.parametrize(
    ("student_layers", "teacher_layers", "words"),
    [
        (("layer5",), ("layer1",), r"the student has no module 'layer5' .* did you mean layer"),
        (
            ("layer1",),
            ("layer1.0.conv7",),
            r"the teacher has no module 'layer1.0.conv7' to tap; did you",
        ),
    ],
)
def test_taps_that_do_not_exist_are_named_with_their_network(
    student_layers: tuple[str, ...], teacher_layers: tuple[str, ...], words: str
) -> None:
    taps = methods.FeatureTaps(student_layers, teacher_layers)
    method: Any = replace(methods.build(HYBRID), taps=taps)  # type: ignore[type-var]
    with pytest.raises(TapError, match=words):
        StudentTrainer(network(8, seed=0), method, DATA, living(), SETTINGS, CPU)


def test_a_map_and_a_vector_are_not_comparable() -> None:
    taps = methods.FeatureTaps(("fc",), ("layer1",))
    method: Any = replace(methods.build(HYBRID), taps=taps)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="cannot be brought to"):
        StudentTrainer(network(8, seed=0), method, DATA, living(), SETTINGS, CPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"feature_weight": -0.1}, "feature_weight must be a number from 0 up"),
        ({"feature_weight": float("nan")}, "feature_weight must be a number from 0 up"),
        ({"feature_weight": None}, "needs a value for feature_weight"),
        ({"projector": "both"}, "no projector 'both'; choose student-to-teacher"),
        ({"alpha": None}, "no value for alpha"),
    ],
)
def test_parameters_outside_their_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(methods.MethodError, match=words):
        methods.build({**HYBRID, **change})


def test_projectors_are_those_of_the_shapes_that_the_networks_have() -> None:
    lesson = lesson_of(HYBRID, network(8, seed=0), living())
    assert all(isinstance(projector, Projector) for projector in lesson.projectors)
    assert len(lesson.projectors) == 2
