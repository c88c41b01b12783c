import dataclasses
import errno
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torchvision.models import ResNet50_Weights

from study.distillation import checkpoint
from study.distillation.image_data import Augmentation, ImageData, Split
from study.distillation.teacher import (
    TeacherError,
    TeacherRecipe,
    TrainedTeacher,
    load_teacher,
    obtain_teacher,
    save_teacher,
    teacher_key,
    train_teacher,
)
from study.distillation.teacher_recipe import FORMAT
from study.distillation.teacher_store import alone_in
from study.distillation.training import EpochMetrics

Result = TypeVar("Result")
CPU = torch.device("cpu")
SMALL = TeacherRecipe(
    depths=(1, 1, 1, 1), width_per_group=4, epochs=3, batch_size=16, learning_rate=0.02
)


def a_split(count: int, seed: int) -> Split:
    """Bright and dark images, told apart by their level."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    images = draws.integers(0, 100, (count, 8, 8, 1)) + 150 * labels[:, None, None, None]
    return Split(images.astype(np.uint8), labels)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData(
        name="levels",
        classes=("dark", "bright"),
        train=a_split(48, 0),
        validation=a_split(16, 1),
        test=a_split(16, 2),
        mean=(0.5,),
        std=(0.3,),
        augmentation=Augmentation(pad=1, flip=True),
        content_hash="ab" * 32,
        source="made up",
    )


@pytest.fixture(scope="module")
def trained(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> TrainedTeacher:
    path = tmp_path_factory.mktemp("training") / "training.pt"
    return train_teacher(SMALL, data, CPU, 0, lambda metrics: None, path)


class Interrupted(Exception):
    pass


def stop_after(epoch: int) -> "list[EpochMetrics]":
    class Stopping(list[EpochMetrics]):
        def append(self, metrics: EpochMetrics) -> None:
            super().append(metrics)
            if metrics.epoch == epoch:
                raise Interrupted

    return Stopping()


def ignore(metrics: EpochMetrics) -> None:
    pass


# What is asked.


@pytest.mark.parametrize(
    ("recipe", "title"),
    [
        (TeacherRecipe(), "ResNet-50 [3,4,6,3]"),
        (TeacherRecipe(depths=(1, 1, 1, 1)), "ResNet-14 [1,1,1,1]"),
        (TeacherRecipe(depths=(2, 2, 2, 2), block="basic"), "ResNet-18 [2,2,2,2]"),
        (TeacherRecipe(stem="cifar"), "ResNet-50 [3,4,6,3] CIFAR stem"),
        (TeacherRecipe(width_per_group=8), "ResNet-50 [3,4,6,3] width 8"),
    ],
)
def test_titles_count_layers_as_the_papers_do(recipe: TeacherRecipe, title: str) -> None:
    assert recipe.title == title


def test_a_recipe_goes_to_json_and_back() -> None:
    recipe = TeacherRecipe(weights="imagenet", epochs=3, views=4)
    assert TeacherRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depths": (1, 1, 1)}, r"\[1, 1, 1\] are not four stages"),
        ({"depths": (2, 2, 0, 0)}, r"\[2, 2, 0, 0\] are not four stages"),
        ({"block": "wide"}, "'wide' is unknown; choose bottleneck, basic"),
        ({"stem": "none"}, "'none' is unknown; choose imagenet, cifar"),
        ({"epochs": -1}, "epochs -1 is not a whole number from 0"),
        ({"batch_size": 1}, "batch size 1 is not a whole number from 2"),
        ({"views": 0}, "views 0"),
        ({"learning_rate": float("nan")}, "learning rate nan"),
        ({"weight_decay": -1.0}, "weight decay"),
        ({"block": "basic", "width_per_group": 8}, "basic blocks have 64"),
        ({"statistics": "places"}, "'places' is unknown; choose data, imagenet"),
        ({"weights": "places"}, "'places' are unknown; choose none or imagenet"),
        ({"weights": "imagenet", "depths": (1, 1, 1, 1)}, r"not ResNet-14 \[1,1,1,1\]; use --t"),
        ({"weights": "imagenet", "stem": "cifar"}, "fit ResNet-50"),
        ({"weights": "imagenet", "unfreeze": "layer3"}, "teacher unfreeze 'layer3' is unknown"),
        ({"unfreeze": "fc"}, "would hold random weights as they are"),
        ({"head_share": 0.3}, "would hold random weights as they are"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_name(
    fields: dict[str, object], words: str
) -> None:
    with pytest.raises(TeacherError, match=words):
        dataclasses.replace(TeacherRecipe(), **fields)  # type: ignore[arg-type]


def test_a_recipe_of_another_version_is_refused() -> None:
    body = TeacherRecipe().to_json()
    with pytest.raises(TeacherError, match="colour"):
        TeacherRecipe.from_json({**body, "colour": "red"})


def test_a_recipe_says_what_its_images_are_normalised_by() -> None:
    own = TeacherRecipe()
    assert own.normalization([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    imagenet = dataclasses.replace(own, statistics="imagenet")
    transforms = ResNet50_Weights.IMAGENET1K_V2.transforms()
    theirs = tuple(transforms.mean), tuple(transforms.std)
    assert imagenet.normalization([0.1] * 3, [0.2] * 3) == theirs
    grey = imagenet.normalization([0.1], [0.2])
    assert grey == tuple((pytest.approx(sum(values) / 3),) for values in theirs)
    with pytest.raises(TeacherError, match="4 channels have none; use data"):
        imagenet.normalization([0.1] * 4, [0.2] * 4)


def test_what_a_recipe_was_before_it_said_so_is_the_same_teacher() -> None:
    own = TeacherRecipe()
    assert "statistics" not in own.to_json()
    imagenet = dataclasses.replace(own, statistics="imagenet")
    assert TeacherRecipe.from_json(imagenet.to_json()) == imagenet


def test_a_teacher_learns_from_images_normalised_by_what_its_recipe_says(
    trained: TrainedTeacher, data: ImageData, tmp_path: Path
) -> None:
    once = dataclasses.replace(SMALL, epochs=1)
    imagenet = dataclasses.replace(once, statistics="imagenet")
    theirs = imagenet.normalization(data.mean, data.std)
    taught = train_teacher(imagenet, data, CPU, 0, ignore, tmp_path / "theirs.pt")
    assert (taught.mean, taught.std) == theirs
    same = dataclasses.replace(data, mean=theirs[0], std=theirs[1])
    expected = train_teacher(once, same, CPU, 0, ignore, tmp_path / "same.pt")
    assert taught.weights_sha256 == expected.weights_sha256
    own = train_teacher(once, data, CPU, 0, ignore, tmp_path / "own.pt")
    assert taught.weights_sha256 != own.weights_sha256


def test_the_key_changes_with_everything_that_shapes_a_teacher() -> None:
    recipe = TeacherRecipe()
    changes = {
        "depths": (1, 1, 1, 1),
        "block": "basic",
        "stem": "cifar",
        "width_per_group": 32,
        "weights": "imagenet",
        "statistics": "imagenet",
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "views": 3,
        "network": "dense",
        "hidden": (10,),
        "input_size": 96,
        "optimizer": "adam",
        "schedule": "cosine",
        "subclasses": 2,
        "subclass_weight": 0.5,
        "subclass_temperature": 2.0,
        "unfreeze": "layer4",
        "head_share": 0.25,
        "rate_after_head": 0.1,
        "score": "weighted F1",
    }
    assert set(changes) == {field.name for field in dataclasses.fields(recipe)}
    keys = {
        teacher_key(recipe, "aa", 0),
        teacher_key(recipe, "bb", 0),
        teacher_key(recipe, "aa", 1),
    }
    for name, value in changes.items():
        # Only what was learned elsewhere can be held as it is, and one network enlarges its images.
        start: dict[str, Any] = (
            {"weights": "imagenet"} if name in ("unfreeze", "head_share") else {}
        )
        start |= {"network": "inception"} if name == "input_size" else {}
        changed = dataclasses.replace(recipe, **{**start, name: value})
        keys.add(teacher_key(changed, "aa", 0))
    assert len(keys) == 3 + len(changes)
    assert all(len(key) == 16 for key in keys)
    assert teacher_key(TeacherRecipe(), "aa", 0) in keys


# Training.


def test_a_teacher_learns_and_says_how(trained: TrainedTeacher, data: ImageData) -> None:
    assert trained.val_score > 90
    assert [metrics.epoch for metrics in trained.curve] == [1, 2, 3]
    assert trained.train_seconds == sum(metrics.seconds for metrics in trained.curve) > 0
    assert trained.key == teacher_key(SMALL, data.content_hash, 0)
    assert not trained.model.training
    assert trained.model(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
    assert 0 < trained.params_m < 10


def test_training_disturbs_no_random_numbers(data: ImageData, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    once = dataclasses.replace(SMALL, epochs=1)
    train_teacher(once, data, CPU, 0, ignore, tmp_path / "training.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_an_interrupted_training_goes_on_and_ends_in_the_same_teacher(
    trained: TrainedTeacher, data: ImageData, tmp_path: Path
) -> None:
    path = tmp_path / "training.pt"
    first, second = stop_after(2), list[EpochMetrics]()
    with pytest.raises(Interrupted):
        train_teacher(SMALL, data, CPU, 0, first.append, path)
    half = path.with_name("training.pt.0af1.partial")
    half.write_bytes(b"of a writer that was killed")
    resumed = train_teacher(SMALL, data, CPU, 0, second.append, path)
    assert [metrics.epoch for metrics in first] == [1, 2]
    assert not half.exists()
    assert [metrics.epoch for metrics in second] == [3]
    assert resumed.weights_sha256 == trained.weights_sha256
    assert [m.train_loss for m in resumed.curve] == [m.train_loss for m in trained.curve]


def test_seeds_lead_to_different_teachers(
    trained: TrainedTeacher, data: ImageData, tmp_path: Path
) -> None:
    other = train_teacher(SMALL, data, CPU, 1, ignore, tmp_path / "training.pt")
    assert other.weights_sha256 != trained.weights_sha256


@pytest.mark.parametrize("damage", ["other teacher", "cut off"])
def test_a_checkpoint_of_no_use_is_ignored(
    damage: str,
    trained: TrainedTeacher,
    data: ImageData,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "training.pt"
    if damage == "cut off":
        path.write_bytes(b"PK\x03\x04 and no more")
    else:
        checkpoint.save(path, {"key": "0" * 16})
    again = train_teacher(SMALL, data, CPU, 0, ignore, path)
    assert again.weights_sha256 == trained.weights_sha256
    assert "from its start" in caplog.text


def hiccup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no file be handed out."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for name in ("open", "read_bytes", "read_text"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)


def test_a_training_whose_checkpoint_is_not_handed_out_does_not_begin_again(
    trained: TrainedTeacher, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.pt"
    first, second = stop_after(2), list[EpochMetrics]()
    with pytest.raises(Interrupted):
        train_teacher(SMALL, data, CPU, 0, first.append, path)
    with monkeypatch.context() as patch:
        hiccup(patch)
        with pytest.raises(checkpoint.UnreadableError):
            train_teacher(SMALL, data, CPU, 0, second.append, path)
    assert second == []
    resumed = train_teacher(SMALL, data, CPU, 0, second.append, path)
    assert [metrics.epoch for metrics in second] == [3]
    assert resumed.weights_sha256 == trained.weights_sha256


def test_a_training_that_is_begun_says_nothing_of_an_earlier_one(
    data: ImageData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    once = dataclasses.replace(SMALL, epochs=1)
    train_teacher(once, data, CPU, 0, ignore, tmp_path / "training.pt")
    assert "from its start" not in caplog.text


def test_a_training_that_diverges_is_named(data: ImageData, tmp_path: Path) -> None:
    wild = dataclasses.replace(SMALL, learning_rate=1e30)
    with pytest.raises(TeacherError, match=r"ResNet-14 .* diverged: .* lower learning rate"):
        train_teacher(wild, data, CPU, 0, ignore, tmp_path / "training.pt")


# Keeping.


def test_a_teacher_is_trained_once_and_then_found(data: ImageData, tmp_path: Path) -> None:
    epochs: list[EpochMetrics] = []
    teacher, source = obtain_teacher(tmp_path, SMALL, data, CPU, 0, epochs.append)
    assert (source, len(epochs)) == ("trained", 3)
    again, source = obtain_teacher(tmp_path, SMALL, data, CPU, 0, epochs.append)
    assert (source, len(epochs)) == ("cache", 3)
    assert again.describe() == teacher.describe()
    assert not again.model.training
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, teacher.model.state_dict()[name]), name
    assert [path.name for path in tmp_path.iterdir()] == [teacher.key]
    assert {path.name for path in (tmp_path / teacher.key).iterdir()} == {
        "weights.pt",
        "teacher.json",
    }


def test_an_interrupted_teacher_is_not_found_but_gone_on_with(
    data: ImageData, tmp_path: Path
) -> None:
    first, second = stop_after(1), list[EpochMetrics]()
    with pytest.raises(Interrupted):
        obtain_teacher(tmp_path, SMALL, data, CPU, 0, first.append)
    assert not (tmp_path / teacher_key(SMALL, data.content_hash, 0)).exists()
    obtain_teacher(tmp_path, SMALL, data, CPU, 0, second.append)
    assert [metrics.epoch for metrics in second] == [2, 3]


def test_the_description_tells_people_what_the_teacher_is(
    trained: TrainedTeacher, tmp_path: Path
) -> None:
    save_teacher(trained, tmp_path / "kept")
    body = json.loads((tmp_path / "kept" / "teacher.json").read_text())
    assert body["title"] == "ResNet-14 [1,1,1,1] width 4"
    assert body["classes"] == ["dark", "bright"]
    assert body["shape"] == [8, 8, 1]
    assert body["val_score"] == trained.val_score
    assert body["params_m"] == pytest.approx(trained.params_m)
    assert len(body["curve"]) == 3
    assert body["weights_sha256"] == trained.weights_sha256


def flip_a_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def forget_a_field(path: Path) -> None:
    body = json.loads(path.read_text())
    del body["mean"]
    path.write_text(json.dumps(body))


def age(path: Path) -> None:
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 0'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("weights.pt", flip_a_byte),
        ("weights.pt", truncate),
        ("weights.pt", Path.unlink),
        ("teacher.json", truncate),
        ("teacher.json", Path.unlink),
        ("teacher.json", forget_a_field),
        ("teacher.json", age),
    ],
)
def test_a_damaged_teacher_is_refused_with_its_file_and_the_mend(
    name: str, damage: Callable[[Path], None], trained: TrainedTeacher, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    save_teacher(trained, folder)
    damage(folder / name)
    with pytest.raises(TeacherError) as caught:
        load_teacher(folder)
    message = str(caught.value)
    assert str(folder / name) in message
    assert f"delete the folder {folder} to train it again" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["read_text", "load"])
def test_a_teacher_that_is_not_handed_out_is_not_called_damaged(
    name: str, trained: TrainedTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    save_teacher(trained, tmp_path / "kept")
    monkeypatch.setattr(torch if name == "load" else Path, name, refuse)
    with pytest.raises(OSError, match="Stale file handle"):
        load_teacher(tmp_path / "kept")


def test_a_damaged_teacher_is_replaced_when_it_is_saved_again(
    trained: TrainedTeacher, tmp_path: Path
) -> None:
    save_teacher(trained, tmp_path / "kept")
    truncate(tmp_path / "kept" / "weights.pt")
    save_teacher(trained, tmp_path / "kept")
    assert load_teacher(tmp_path / "kept").weights_sha256 == trained.weights_sha256
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_while_saving_leaves_nothing_behind(
    trained: TrainedTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_teacher(trained, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def in_threads(count: int, work: Callable[[], Result]) -> list[Result]:
    """What `count` calls of `work` at once return; raises what one of them raises."""
    with ThreadPoolExecutor(count) as pool:
        started = threading.Barrier(count)
        futures = [pool.submit(lambda: (started.wait(), work())[1]) for _ in range(count)]
    return [future.result() for future in futures]


def test_two_that_finish_the_same_teacher_at_once_both_succeed(
    trained: TrainedTeacher, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    assert in_threads(6, lambda: save_teacher(trained, folder)) == [None] * 6
    assert load_teacher(folder).weights_sha256 == trained.weights_sha256
    assert len(list(tmp_path.iterdir())) == 1


def test_of_two_that_want_one_teacher_one_trains_and_the_other_waits(
    data: ImageData, tmp_path: Path
) -> None:
    epochs: list[EpochMetrics] = []
    teachers = in_threads(2, lambda: obtain_teacher(tmp_path, SMALL, data, CPU, 0, epochs.append))
    assert sorted(source for _, source in teachers) == ["cache", "trained"]
    assert len(epochs) == 3


def test_who_waits_may_give_up(tmp_path: Path) -> None:
    def give_up() -> None:
        raise Interrupted

    folder = tmp_path / "training"
    with pytest.raises(Interrupted), alone_in(folder), alone_in(folder, give_up):
        pytest.fail("two were alone at once")
