"""Trials of mhist_mobilenet: what students and teachers begin with, and what they are scored by."""

import io
import urllib.error
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mhist_images import write_mhist
from sklearn.metrics import f1_score
from torchvision.models import mobilenet_v2

from search_spaces.mhist_mobilenet import SPACE
from search_spaces.networks.mobilenet import build
from search_spaces.space import SearchSpace
from study.arguments import parser
from study.distillation.data import ImageData, describe, load
from study.distillation.feasibility import InfeasibleError, Networks, check_methods
from study.distillation.pretrained import PretrainedError, take_over
from study.distillation.teacher import obtain_teacher
from study.distillation.teacher_recipe import TeacherRecipe
from study.distillation.transfer import Transfer
from study.distillation.views import normalise, to_nchw
from study.plan import PlanError, StudyPlan
from study.plan_view import plan_rows
from study.progress import make_progress
from study.resolving import resolve
from study.student import load_student
from study.student_weights import check_student_weights
from study.teacher_choice import teacher_recipe
from study.trial import StudentTrial
from study.trial_context import TrialContext, TrialTask
from study.trial_teacher import TeacherVariant

FILE = "mobilenet_v2-7ebf99e0.pth"
CPU = torch.device("cpu")
TINY = TeacherRecipe(depths=(1, 1, 1, 1), width_per_group=4, epochs=1, score="weighted F1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's folder of checkpoints, empty, and no network."""

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def published(hub: Path) -> dict[str, torch.Tensor]:
    """What stands for the ImageNet weights of MobileNetV2, in torch hub's folder."""
    torch.manual_seed(5)
    state: dict[str, torch.Tensor] = mobilenet_v2().state_dict()
    torch.save(state, hub / FILE)
    return state


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    root = write_mhist(tmp_path_factory.mktemp("mhist"), (24, 12), (8, 4))
    return load("mhist", root, cache_dir=None, augment=False)


def planned(*arguments: str) -> tuple[StudyPlan, SearchSpace]:
    asked: Namespace = parser().parse_args(["--space", "mhist_mobilenet", *arguments])
    return resolve(asked)


# What they begin with.


def check_weights(plan: StudyPlan, space: SearchSpace) -> None:
    check_student_weights(plan, space, make_progress(io.StringIO(), quiet=True))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_imagenet_weights_are_taken_over_but_for_the_head(
    channels: int, published: dict[str, torch.Tensor]
) -> None:
    student = build(4, channels=channels)
    take_over(student, "mobilenet_v2", "", channels)
    state, stem = student.state_dict(), "features.0.0.weight"
    for name, value in published.items():
        if not name.startswith("classifier.") and name != stem:
            assert torch.equal(state[name], value), name
    assert state["classifier.1.weight"].shape == (4, 1280)
    expected = {1: published[stem].sum(dim=1, keepdim=True), 3: published[stem]}
    assert channels == 4 or torch.equal(state[stem], expected[channels])
    assert state[stem].shape == (32, channels, 3, 3)


@pytest.mark.usefixtures("published")
def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(PretrainedError, match="of mobilenet_v2 do not fit a MobileNetV2"):
        take_over(build(2, width=0.5), "mobilenet_v2", "", 3)


@pytest.mark.usefixtures("hub")
def test_without_a_network_the_ways_out_are_named_before_training() -> None:
    with pytest.raises(PlanError) as refusal:
        check_weights(*planned())
    message = str(refusal.value)
    assert "--fix weights=none, the teacher with --teacher-weights none" in message
    assert FILE in message
    assert "\n" not in message
    with pytest.raises(PlanError, match=r"--fix weights=none$"):
        check_weights(*planned("--teacher-weights", "none"))


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("preset", [(), ("--preset", "paper")])
def test_students_of_random_weights_need_none(preset: tuple[str, ...]) -> None:
    check_weights(*planned("--fix", "weights=none", *preset))


def test_the_teacher_starts_as_the_space_declares_unless_told_otherwise() -> None:
    plan, space = planned()
    recipe = teacher_recipe(plan, space, "mhist")
    assert (plan.teacher_weights, recipe.weights, recipe.score) == (
        "imagenet",
        "imagenet",
        "weighted F1",
    )
    assert recipe.transfer == Transfer("layer4", 10 / 35, 0.1)
    plan, space = planned("--teacher-weights", "none")
    recipe = teacher_recipe(plan, space, "mhist")
    assert (recipe.weights, recipe.transfer) == (None, Transfer())
    assert planned("--teacher", "mine.pt")[0].teacher_weights == "none"


@pytest.mark.parametrize(
    ("weights", "transfer"), [("imagenet", Transfer("all", 10 / 35, 0.1)), ("none", Transfer())]
)
def test_all_of_a_teacher_without_layer4_learns_after_its_head(
    weights: str, transfer: Transfer
) -> None:
    plan, space = planned("--teacher-network", "inception", "--teacher-weights", weights)
    recipe = teacher_recipe(plan, space, "mhist")
    assert (recipe.network, recipe.transfer) == ("inception", transfer)


def test_the_plan_says_that_all_of_a_teacher_learns_for_want_of_layer4(tmp_path: Path) -> None:
    summary = describe("mhist", write_mhist(tmp_path, (24, 12), (8, 4)))

    def row(*arguments: str) -> str:
        plan, space = planned(*arguments)
        recipe = teacher_recipe(plan, space, "mhist")
        return dict(plan_rows(plan, space, summary, recipe))["teacher"]

    told = "from ImageNet weights, all of it unfrozen: it has no layer4"
    assert row("--teacher-network", "inception").endswith(f", 35 epochs, {told}")
    assert "unfrozen" not in row()
    assert "unfrozen" not in row("--teacher-network", "inception", "--teacher-weights", "none")


# Training and scores.


def make_context(data: ImageData, folder: Path, epochs: int) -> TrialContext:
    outputs = np.zeros((1, len(data.train), 4), dtype=np.float16)
    teacher = TeacherVariant(replace(TINY, subclasses=2), outputs)
    return TrialContext(
        space=SPACE,
        data=data,
        reduced_rows={},
        teacher=teacher,
        teacher_ms=10.0,
        folder=str(folder),
        epochs=epochs,
        views=1,
        seed=0,
        precision="float32",
        threads=1,
        on_gpu=False,
        variants={2: teacher},
    )


def finish(trial: StudentTrial) -> list[dict[str, Any]]:
    reports = [trial.advance()]
    while not reports[-1]["done"]:
        reports.append(trial.advance())
    return [report for report in reports if "latency" not in report]


def test_a_frozen_student_keeps_its_imagenet_weights_and_is_scored_by_weighted_f1(
    data: ImageData, tmp_path: Path, published: dict[str, torch.Tensor]
) -> None:
    context = make_context(data, tmp_path, 3)
    params = SPACE.complete({"unfreeze": "fc", "batch_size": 16, "head_share": 0.34})
    epochs = finish(StudentTrial(TrialTask(0, params, False), context))
    student = load_student(context, 0).eval()

    state = student.state_dict()
    frozen = [name for name in published if name.startswith("features.")]
    assert all(torch.equal(state[name], published[name]) for name in frozen)
    images = normalise(to_nchw(torch.from_numpy(data.validation.images)), data.mean, data.std)
    with torch.no_grad():
        answers = student(images).view(-1, 2, 2).logsumexp(dim=2).argmax(dim=1)
    expected = f1_score(data.validation.labels, answers, average="weighted", zero_division=0)
    assert epochs[-1]["val_score"] == pytest.approx(100 * expected)
    rates = [epoch["learning_rate"] for report in epochs for epoch in report["curve"]]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4])


def test_a_student_without_pretrained_weights_learns_with_all_it_has(
    data: ImageData, tmp_path: Path
) -> None:
    context = make_context(data, tmp_path, 1)
    asked = {"weights": "none", "width": 0.35, "method": "none"}
    epochs = finish(StudentTrial(TrialTask(1, SPACE.complete(asked), False), context))
    torch.manual_seed(context.seed)
    before = SPACE.build_student(SPACE.complete(asked), 2, data.shape).state_dict()
    after = load_student(context, 1).state_dict()

    assert not any(torch.equal(before[name], after[name]) for name in before if "0.weight" in name)
    assert epochs[0]["curve"][0]["learning_rate"] == pytest.approx(1e-3)


def test_a_teacher_is_scored_by_its_recipes_score_and_kept_apart(
    data: ImageData, tmp_path: Path
) -> None:
    scores, keys = {}, set()
    for name in ("weighted F1", "accuracy"):
        recipe = replace(TINY, score=name)
        teacher, _ = obtain_teacher(tmp_path, recipe, data, CPU, 0, lambda epoch: None)
        scores[name] = teacher.val_score
        keys.add(teacher.key)
    images = normalise(to_nchw(torch.from_numpy(data.validation.images)), data.mean, data.std)
    with torch.no_grad():
        answers = teacher.model(images).argmax(dim=1)
    labels = data.validation.labels
    f1 = f1_score(labels, answers, average="weighted", zero_division=0)
    assert scores["weighted F1"] == pytest.approx(100 * f1)
    assert scores["accuracy"] == pytest.approx(100 * (labels == answers.numpy()).mean())
    assert len(keys) == 2


# What can never work.


def test_a_network_without_the_part_to_unfreeze_is_refused_before_training() -> None:
    def plain(params: Any, classes: int, shape: tuple[int, int, int]) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, classes))

    networks = Networks(plain, TINY, 2, (2, 2, 3), teacher_asked_live=False)
    asked = {"method": "none", "unfreeze": "fc"}
    with pytest.raises(InfeasibleError, match="students: a Sequential has no part 'fc'"):
        check_methods([("plain", asked)], networks)
    check_methods([("plain", {"method": "none", "unfreeze": "all"})], networks)
