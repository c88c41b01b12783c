import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.distillation.image_data import Augmentation
from study.distillation.teacher_outputs import (
    Outputs,
    ViewedImages,
    cached_teacher_outputs,
    outputs_path,
    teacher_outputs,
)
from study.distillation.teacher_recipe import TeacherError
from study.distillation.training import CachedTeacher, LiveTeacher
from study.distillation.views import apply_view, view_draws

CPU = torch.device("cpu")


class Teacher(nn.Module):
    """Eight numbers an image, with normalisation so that eval mode matters; counts its images."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3 * 8 * 8, 8)
        self.scale = scale
        self.images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        logits: Tensor = self.head(self.norm(images).flatten(1)) * self.scale
        return logits


def some_images(count: int = 37) -> ViewedImages:
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return ViewedImages(
        images=images,
        augmentation=Augmentation(pad=2, flip=True),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        views=3,
        seed=5,
    )


def test_every_image_is_answered_as_a_live_teacher_answers_it_under_that_view() -> None:
    asked, teacher = some_images(), Teacher()
    outputs = teacher_outputs(teacher, asked, CPU, batch_size=10)
    assert outputs.dtype == np.float16
    assert outputs.shape == (3, 37, 8)
    live = LiveTeacher(teacher, asked.mean, asked.std)
    cached = CachedTeacher(outputs)
    rows = torch.tensor([0, 36, 7, 7])
    for view in range(3):
        draws = view_draws(5, view, 37, asked.augmentation).take(rows)
        images = apply_view(torch.from_numpy(asked.images)[rows], draws)
        answers, _ = live.answers(view, rows, images)
        assert torch.allclose(cached.answers(view, rows, images)[0], answers, rtol=1e-3, atol=1e-3)
    assert not np.array_equal(outputs[0], outputs[1])
    assert not teacher.training


def test_the_batch_size_makes_no_difference() -> None:
    small, large = (teacher_outputs(Teacher(), some_images(), CPU, batch_size=n) for n in (4, 37))
    np.testing.assert_allclose(small.astype(float), large.astype(float), rtol=2e-3, atol=2e-3)


def test_views_that_are_all_alike_are_asked_for_once() -> None:
    asked = dataclasses.replace(some_images(), augmentation=Augmentation(pad=0, flip=False))
    teacher, calls = Teacher(), list[tuple[int, int]]()
    outputs = teacher_outputs(
        teacher, asked, CPU, progress=lambda done, total: calls.append((done, total))
    )
    assert teacher.images == 37
    assert outputs.shape == (3, 37, 8)
    assert np.array_equal(outputs[0], outputs[2])
    assert calls[-1] == (3 * 37, 3 * 37)


def test_progress_counts_images_of_all_views() -> None:
    calls: list[tuple[int, int]] = []
    teacher_outputs(
        Teacher(),
        some_images(),
        CPU,
        batch_size=20,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [done for done, _ in calls] == [20, 37, 57, 74, 94, 111]
    assert {total for _, total in calls} == {111}


@pytest.mark.parametrize(("scale", "word"), [(1e6, "float16 ends at 65504"), (np.nan, "reach nan")])
def test_logits_that_float16_cannot_hold_are_refused(
    scale: float, word: str, tmp_path: Path
) -> None:
    with pytest.raises(TeacherError, match=word):
        cached_teacher_outputs(tmp_path, Teacher(scale), some_images(), CPU)
    assert list(tmp_path.iterdir()) == []


def test_read_only_images_are_asked_about_without_a_warning() -> None:
    asked = some_images()
    asked.images.flags.writeable = False
    assert teacher_outputs(Teacher(), asked, CPU).shape == (3, 37, 8)


def test_nothing_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="0 views of 37 images"):
        dataclasses.replace(some_images(), views=0)


def test_answers_are_asked_for_once_and_then_mapped_from_their_file(tmp_path: Path) -> None:
    teacher, asked, calls = Teacher(), some_images(), list[tuple[int, int]]()
    first = cached_teacher_outputs(tmp_path / "new", teacher, asked, CPU)
    again = cached_teacher_outputs(
        tmp_path / "new", teacher, asked, CPU, progress=lambda *done: calls.append(done)
    )
    assert teacher.images == 3 * 37
    assert calls == [(111, 111)]
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert np.array_equal(first, again)
    assert np.array_equal(first, teacher_outputs(teacher, asked, CPU))
    path = outputs_path(tmp_path / "new", teacher, asked)
    assert list((tmp_path / "new").iterdir()) == [path]


def cut_off(path: Path, outputs: Outputs) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path, outputs: Outputs) -> None:
    path.write_bytes(b"")


def another_shape(path: Path, outputs: Outputs) -> None:
    np.save(path, outputs[:2])


def another_type(path: Path, outputs: Outputs) -> None:
    np.save(path, outputs.astype(np.float32))


def an_archive(path: Path, outputs: Outputs) -> None:
    with path.open("wb") as file:
        np.savez(file, outputs)


@pytest.mark.parametrize("damage", [cut_off, empty, another_shape, another_type, an_archive])
def test_a_damaged_file_is_computed_again(
    damage: Callable[[Path, Outputs], None], tmp_path: Path
) -> None:
    teacher, asked = Teacher(), some_images()
    outputs = np.array(cached_teacher_outputs(tmp_path, teacher, asked, CPU))
    damage(outputs_path(tmp_path, teacher, asked), outputs)
    again = cached_teacher_outputs(tmp_path, teacher, asked, CPU)
    assert np.array_equal(again, outputs)
    assert teacher.images == 2 * 3 * 37


def test_the_file_is_named_by_all_that_shapes_the_answers(tmp_path: Path) -> None:
    asked, teacher = some_images(), Teacher()
    other_images = asked.images.copy()
    other_images[0, 0, 0, 0] ^= 1
    other_teacher = Teacher()
    with torch.no_grad():
        other_teacher.head.bias.add_(1)
    changes: list[dict[str, object]] = [
        {"images": other_images},
        {"images": asked.images.reshape(37, 4, 16, 3)},
        {"augmentation": Augmentation(pad=1, flip=True)},
        {"augmentation": Augmentation(pad=2, flip=False)},
        {"mean": (0.4, 0.5, 0.7)},
        {"std": (0.2, 0.25, 0.4)},
        {"views": 4},
        {"seed": 6},
    ]
    paths = {outputs_path(tmp_path, teacher, asked), outputs_path(tmp_path, other_teacher, asked)}
    paths.add(outputs_path(tmp_path, teacher, asked, "bfloat16"))
    for change in changes:
        changed = dataclasses.replace(asked, **change)  # type: ignore[arg-type]
        paths.add(outputs_path(tmp_path, teacher, changed))
    assert len(paths) == 3 + len(changes)
    assert outputs_path(tmp_path, Teacher(), some_images()) in paths


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cached_teacher_outputs(tmp_path, Teacher(), some_images(), CPU)
    assert list(tmp_path.iterdir()) == []
