import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.distillation.image_data import Augmentation
from study.distillation.teacher_outputs import (
    ViewedImages,
    cached_teacher_outputs,
    outputs_path,
    teacher_outputs,
)
from study.distillation.teacher_recipe import TeacherError
from study.distillation.training import CachedTeacher, LiveTeacher, WholeTable
from study.distillation.views import apply_view, view_draws

CPU = torch.device("cpu")


class Count:
    """Counts for a network and its copies."""

    def __init__(self) -> None:
        self.images = 0

    def __deepcopy__(self, memo: object) -> "Count":
        return self


class Teacher(nn.Module):
    """Eight numbers an image, with normalisation so that eval mode matters; counts its images."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3 * 8 * 8, 8)
        self.scale = scale
        self.count = Count()

    @property
    def images(self) -> int:
        """How many it was asked about, beside those that tell how it is put together."""
        return self.count.images

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            self.count.images += len(images)
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
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]


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
    assert (path / "answers.f16").stat().st_size == 3 * 37 * 8 * 2


def flip_a_bit(path: Path) -> None:
    data = bytearray((path / "answers.f16").read_bytes())
    data[37 * 8 * 2 + 100] ^= 1  # in view 1
    (path / "answers.f16").write_bytes(data)


def cut_off(path: Path) -> None:
    data = (path / "answers.f16").read_bytes()
    (path / "answers.f16").write_bytes(data[:-100])


def tear_the_last_line(path: Path) -> None:
    text = (path / "checksums.jsonl").read_text()
    (path / "checksums.jsonl").write_text(text[:-20])


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off, tear_the_last_line])
def test_a_damaged_view_alone_is_asked_about_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    teacher, asked = Teacher(), some_images()
    outputs = np.array(cached_teacher_outputs(tmp_path, teacher, asked, CPU))
    damage(outputs_path(tmp_path, teacher, asked))
    again = cached_teacher_outputs(tmp_path, teacher, asked, CPU)
    assert np.array_equal(again, outputs)
    assert teacher.images == (3 + 1) * 37
    cached_teacher_outputs(tmp_path, teacher, asked, CPU)
    assert teacher.images == (3 + 1) * 37


def without_answers(path: Path) -> None:
    (path / "answers.f16").unlink()


def without_checksums(path: Path) -> None:
    (path / "checksums.jsonl").unlink()


def of_other_images(path: Path) -> None:
    text = (path / "checksums.jsonl").read_text()
    (path / "checksums.jsonl").write_text(text.replace('"images": 37', '"images": 36'))


@pytest.mark.parametrize("damage", [without_answers, without_checksums, of_other_images])
def test_answers_of_which_nothing_is_known_are_asked_for_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    teacher, asked = Teacher(), some_images()
    outputs = np.array(cached_teacher_outputs(tmp_path, teacher, asked, CPU))
    damage(outputs_path(tmp_path, teacher, asked))
    assert np.array_equal(cached_teacher_outputs(tmp_path, teacher, asked, CPU), outputs)
    assert teacher.images == 2 * 3 * 37


class Killed(BaseException):
    """As a signal: nothing between here and the process's end catches it."""


def test_one_who_was_killed_goes_on_at_the_view_it_was_asking_about(tmp_path: Path) -> None:
    teacher, asked = Teacher(), some_images()

    def kill(done: int, total: int) -> None:
        if done > 2 * 37:
            raise Killed

    with pytest.raises(Killed):
        cached_teacher_outputs(tmp_path, teacher, asked, CPU, batch_size=20, progress=kill)
    calls: list[int] = []
    outputs = cached_teacher_outputs(
        tmp_path, teacher, asked, CPU, batch_size=20, progress=lambda done, _: calls.append(done)
    )
    assert calls == [74, 94, 111]
    # Of the view that it was at, the second batch may have been asked about beside the first.
    assert teacher.images in (3 * 37 + 20, 3 * 37 + 37)
    assert np.array_equal(outputs, teacher_outputs(Teacher(), asked, CPU, batch_size=20))


def test_more_views_are_those_that_are_kept_and_new_ones(tmp_path: Path) -> None:
    teacher, asked = Teacher(), some_images()
    three = np.array(cached_teacher_outputs(tmp_path, teacher, asked, CPU))
    five = cached_teacher_outputs(tmp_path, teacher, dataclasses.replace(asked, views=5), CPU)
    assert teacher.images == 5 * 37
    assert np.array_equal(five[:3], three)
    two = cached_teacher_outputs(tmp_path, teacher, dataclasses.replace(asked, views=2), CPU)
    assert teacher.images == 5 * 37
    assert np.array_equal(two, three[:2])


def test_the_whole_table_answers_every_view_of_any_seed(tmp_path: Path) -> None:
    asked = dataclasses.replace(some_images(), views=None)
    teacher = Teacher()
    outputs = cached_teacher_outputs(tmp_path, teacher, asked, CPU)
    assert outputs.shape == (2 * 5 * 5, 37, 8)
    live = LiveTeacher(teacher, asked.mean, asked.std)
    rows = torch.tensor([0, 36, 7, 7])
    for seed in (5, 6):
        table = WholeTable(outputs, asked.augmentation, seed)
        for view in (0, 1, 1000):
            draws = view_draws(seed, view, 37, asked.augmentation).take(rows)
            images = apply_view(torch.from_numpy(asked.images)[rows], draws)
            answers, _ = live.answers(view, rows, images)
            kept, _ = table.answers(view, rows, images)
            assert torch.allclose(kept, answers, rtol=1e-3, atol=1e-3)


def test_a_part_of_the_table_is_not_taken_for_the_whole() -> None:
    outputs = teacher_outputs(Teacher(), some_images(), CPU)
    with pytest.raises(ValueError, match="3 views are no whole table: there are 50"):
        WholeTable(outputs, some_images().augmentation, 5)


class Narrow(Teacher):
    """Fits no more than 9 images into its memory."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 9:
            raise torch.OutOfMemoryError("no room")
        return super().forward(images)


def test_batches_are_halved_until_they_fit() -> None:
    narrow = Narrow()
    outputs = teacher_outputs(narrow, some_images(), CPU, batch_size=37)
    np.testing.assert_array_equal(
        outputs, teacher_outputs(Teacher(), some_images(), CPU, batch_size=9)
    )
    # Beside the two batches of 18 that do not fit, one image is left, which does.
    assert narrow.images in (3 * 37, 3 * 37 + 1)


def test_one_image_that_does_not_fit_is_not_halved() -> None:
    class Full(Teacher):
        def forward(self, images: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        teacher_outputs(Full(), some_images(), CPU)


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
        {"views": None},
        {"seed": 6},
    ]
    paths = {outputs_path(tmp_path, teacher, asked), outputs_path(tmp_path, other_teacher, asked)}
    paths.add(outputs_path(tmp_path, teacher, asked, "bfloat16"))
    for change in changes:
        changed = dataclasses.replace(asked, **change)  # type: ignore[arg-type]
        paths.add(outputs_path(tmp_path, teacher, changed))
    assert len(paths) == 3 + len(changes)
    assert outputs_path(tmp_path, Teacher(), some_images()) in paths
    assert outputs_path(tmp_path, Teacher(), dataclasses.replace(asked, views=4)) in paths


def test_a_full_disk_keeps_what_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    left = 3  # of the calls that a view takes two of

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")

    teacher = Teacher()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            cached_teacher_outputs(tmp_path, teacher, some_images(), CPU)
    cached_teacher_outputs(tmp_path, teacher, some_images(), CPU)
    assert teacher.images <= (3 + 1) * 37
