"""An Inception-v3 as a teacher: trained with its auxiliary head, kept and asked without."""

import socket
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import inception_v3

from search_spaces.networks.inception import Inception
from study.distillation import checkpoint, methods
from study.distillation.estimate import training_step_seconds
from study.distillation.evaluation import evaluate
from study.distillation.image_data import Augmentation, ImageData, Split
from study.distillation.losses import cross_entropy
from study.distillation.methods.auxiliary import WithAuxiliary
from study.distillation.methods.base import Answers
from study.distillation.teacher import teacher_method, train_teacher
from study.distillation.teacher_checkpoint import load_checkpoint
from study.distillation.teacher_network import (
    build_network,
    build_teacher,
    drop_auxiliary_head,
    parameters_m,
)
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe, check_images
from study.distillation.teacher_store import TrainedTeacher, load_teacher, save_teacher
from study.distillation.training import (
    EpochMetrics,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)
from study.distillation.transfer import Transfer

CPU = torch.device("cpu")
SHAPE = (16, 16, 3)
RECIPE = TeacherRecipe(
    network="inception", input_size=75, epochs=2, batch_size=4, learning_rate=0.005
)
PRETRAINED = replace(RECIPE, weights="imagenet")
FILE = "inception_v3_google-0cc3c7bd.pth"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So many small layers leave more threads than there are idle CPUs waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> ImageData:
    labels = np.arange(8, dtype=np.int64) % 2
    images = np.random.default_rng(0).integers(0, 100, (8, *SHAPE))
    split = Split((images + 150 * labels[:, None, None, None]).astype(np.uint8), labels)
    return ImageData(
        name="levels",
        classes=("dark", "bright"),
        train=split,
        validation=split,
        test=split,
        mean=(0.5, 0.5, 0.5),
        std=(0.3, 0.3, 0.3),
        augmentation=Augmentation(pad=1, flip=True),
        content_hash="ab" * 32,
        source="made up",
    )


@dataclass(frozen=True)
class Training:
    """A teacher, and the weights of its auxiliary head after each epoch."""

    teacher: TrainedTeacher
    heads: list[Tensor]


@pytest.fixture(scope="module")
def training(
    data: ImageData, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Training:
    path = tmp_path_factory.mktemp("training") / "training.pt"
    heads: list[Tensor] = []

    def keep(metrics: EpochMetrics) -> None:
        heads.append(checkpoint.load(path)["trainer"]["model"]["AuxLogits.fc.weight"])

    return Training(train_teacher(RECIPE, data, CPU, 0, keep, path), heads)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's folder of checkpoints, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


# What it may see.


@pytest.mark.parametrize("size", [1, 32, 74])
def test_a_size_it_cannot_see_is_refused_with_the_least_it_can(size: int) -> None:
    with pytest.raises(TeacherError, match=f"images of {size} px; .*--teacher-size 75 or more"):
        replace(RECIPE, input_size=size)


def test_images_as_they_are_must_be_large_enough() -> None:
    as_they_are = replace(RECIPE, input_size=None)
    check_images(as_they_are, (75, 80, 3))
    check_images(RECIPE, (8, 8, 3))
    with pytest.raises(TeacherError, match="images of 32 px"):
        check_images(as_they_are, (96, 32, 3))
    with pytest.raises(TeacherError, match="images of 32 px"):
        build_network(as_they_are, 10, (32, 32, 3))


def test_no_other_network_enlarges_its_images() -> None:
    with pytest.raises(TeacherError, match="add --teacher-network inception"):
        TeacherRecipe(input_size=75)


def test_its_size_is_in_its_title() -> None:
    assert RECIPE.title == "Inception-v3 at 75 px"
    assert replace(RECIPE, input_size=None).title == "Inception-v3"


# How it is trained.


def test_the_auxiliary_head_weighs_two_fifths_of_the_network() -> None:
    logits, head = torch.randn(2, 6, 3)
    labels = torch.arange(6) % 3

    method = teacher_method(RECIPE, 3)
    terms = method.loss(Answers(logits, labels, auxiliary=head))

    own, other = cross_entropy(logits, labels), cross_entropy(head, labels)
    assert terms["loss"] == pytest.approx(float(own + 0.4 * other))
    assert terms["auxiliary"] == pytest.approx(float(other))


def test_a_head_of_subclasses_is_taught_by_the_loss_of_subclasses() -> None:
    logits, head = torch.randn(2, 6, 4)
    labels = torch.arange(6) % 2
    split = teacher_method(replace(RECIPE, subclasses=2), 2)
    assert isinstance(split, WithAuxiliary)

    loss = split.loss(Answers(logits, labels, auxiliary=head))["loss"]

    parts = [split.method.loss(Answers(each, labels))["loss"] for each in (logits, head)]
    assert loss == pytest.approx(float(parts[0] + 0.4 * parts[1]))


def test_a_network_that_does_not_ask_the_head_is_taught_by_the_method_alone() -> None:
    answers = Answers(torch.randn(2, 2), torch.tensor([0, 1]))
    method = methods.build({"method": "none"})
    assert WithAuxiliary(method).loss(answers) == method.loss(answers)


def test_the_auxiliary_head_is_held_while_the_last_layer_learns_alone(data: ImageData) -> None:
    torch.manual_seed(0)
    network = build_network(RECIPE, 2, SHAPE, auxiliary=True)
    two = Split(data.train.images[:2], data.train.labels[:2])
    trainer = StudentTrainer(
        network,
        teacher_method(RECIPE, 2),
        TrainingData(two, two, data.mean, data.std, data.augmentation),
        None,
        TrainingSettings(2, 2, 0.005, "constant", transfer=Transfer("all", 0.5, 0.1)),
        CPU,
    )

    def weights() -> list[Tensor]:
        return [network.state_dict()[f"{name}fc.weight"].clone() for name in ("", "AuxLogits.")]

    last, head = weights()
    trainer.run_epoch()
    taught, held = weights()
    assert not torch.equal(taught, last)
    assert torch.equal(held, head)
    trainer.run_epoch()
    assert not torch.equal(weights()[1], head)


def test_a_training_moves_the_head_and_drops_it_at_the_end(
    training: Training, data: ImageData, tmp_path: Path
) -> None:
    teacher = training.teacher

    first, last = training.heads
    assert not torch.equal(first, last)
    assert not [name for name in teacher.model.state_dict() if name.startswith("AuxLogits")]
    assert teacher.params_m == parameters_m(build_network(RECIPE, 2, SHAPE))
    assert len(teacher.curve) == 2

    save_teacher(teacher, tmp_path / "kept")
    kept = load_teacher(tmp_path / "kept")
    score = evaluate(teacher.model, data.test, data.mean, data.std, CPU)
    again = evaluate(kept.model, data.test, data.mean, data.std, CPU)
    assert again == pytest.approx(score, rel=1e-4)  # the layout in memory is another


def test_an_interrupted_training_goes_on_with_the_head_it_had(
    training: Training, data: ImageData, tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def stop(metrics: EpochMetrics) -> None:
        raise Interrupted

    path = tmp_path / "training.pt"
    with pytest.raises(Interrupted):
        train_teacher(RECIPE, data, CPU, 0, stop, path)
    resumed = train_teacher(RECIPE, data, CPU, 0, lambda metrics: None, path)

    assert len(resumed.curve) == 2
    assert resumed.weights_sha256 == training.teacher.weights_sha256


def test_its_step_is_timed_with_the_head_and_leaves_it_as_it_was() -> None:
    network = build_network(RECIPE, 2, SHAPE, auxiliary=True)
    before = network.state_dict()["AuxLogits.fc.weight"].clone()

    assert training_step_seconds(network, SHAPE, 2, 2, CPU, steps=1) > 0
    assert torch.equal(network.state_dict()["AuxLogits.fc.weight"], before)


# ImageNet weights.


def refuse_connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Leave torch and urllib alone, down to the socket, which nobody answers."""
    asked: list[tuple[str, int]] = []

    def unreachable(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        asked.append(address)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    for scheme in ("http", "https"):
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    return asked


def test_without_a_network_the_ways_out_are_named(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = refuse_connections(monkeypatch)

    with pytest.raises(TeacherError) as caught:
        build_teacher(PRETRAINED, 10, (32, 32, 3))

    assert asked == [("download.pytorch.org", 443)]
    message = str(caught.value)
    assert f"https://download.pytorch.org/models/{FILE}" in message
    assert "Network is unreachable" in message
    assert str(hub / FILE) in message
    assert "--teacher-weights none" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("channels", [1, 3])
def test_imagenet_weights_are_taken_over_but_for_both_heads(channels: int, hub: Path) -> None:
    published = inception_v3(init_weights=False).state_dict()
    torch.save(published, hub / FILE)

    teacher = build_teacher(PRETRAINED, 10, (32, 32, channels), auxiliary=True)

    state = teacher.state_dict()
    assert state["fc.weight"].shape == (10, 2048)
    assert state["AuxLogits.fc.weight"].shape == (10, 768)
    for name in published:
        if not name.startswith(("fc.", "AuxLogits.fc.")):
            assert torch.equal(state[name], published[name]), name
    scratch = build_network(RECIPE, 10, SHAPE)
    assert isinstance(teacher, Inception)
    assert isinstance(scratch, Inception)
    assert (teacher.transform_input, scratch.transform_input) == (True, False)


# One trained elsewhere.


def test_a_state_dict_of_torchvision_is_loaded_with_or_without_its_auxiliary_head(
    tmp_path: Path,
) -> None:
    network = build_network(RECIPE, 10, SHAPE, auxiliary=True)
    torch.save(network.state_dict(), tmp_path / "with.pt")
    drop_auxiliary_head(network)
    torch.save(network.state_dict(), tmp_path / "without.pt")

    found = [load_checkpoint(tmp_path / f"{n}.pt", 10, SHAPE, RECIPE) for n in ("with", "without")]

    assert found[0].key == found[1].key
    assert found[0].recipe == replace(RECIPE, epochs=0)
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(found[0].model(images), network.eval()(images))


def a_resnet() -> dict[str, Tensor]:
    return build_network(TeacherRecipe(depths=(1, 1, 1, 1)), 10, SHAPE).state_dict()


def an_inception() -> dict[str, Tensor]:
    return build_network(RECIPE, 7, SHAPE).state_dict()


@pytest.mark.parametrize(
    ("state", "recipe", "words"),
    [
        (a_resnet, RECIPE, "does not fit Inception-v3 at 75 px"),
        (an_inception, RECIPE, "answers 7 classes, the data has 10"),
        (an_inception, TeacherRecipe(), "for an Inception-v3, add --teacher-network inception"),
    ],
)
def test_another_network_is_refused_in_one_line(
    state: Callable[[], dict[str, Tensor]], recipe: TeacherRecipe, words: str, tmp_path: Path
) -> None:
    torch.save(state(), tmp_path / "teacher.pt")
    with pytest.raises(TeacherError) as caught:
        load_checkpoint(tmp_path / "teacher.pt", 10, SHAPE, recipe)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
