import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.distillation.data import DataError, ImageData, describe, load
from study.distillation.image_data import Augmentation

WriteImage = WriteFolder = Callable[..., Any]


def load_folder(root: Path, **options: object) -> ImageData:
    return load(str(root), None, cache_dir=None, **options)  # type: ignore[arg-type]


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def refusal(root: Path) -> str:
    """Return the message of a folder that listing alone refuses, the same from both entries."""
    with pytest.raises(DataError) as described:
        describe(str(root), None)
    with pytest.raises(DataError) as loaded:
        load_folder(root)
    assert str(described.value) == str(loaded.value)
    assert "\n" not in str(described.value)
    return str(described.value)


def test_a_folder_becomes_three_splits_in_file_order(pets: Path) -> None:
    data = load_folder(pets)
    assert data.name == "pets"
    assert data.source == "image folder pets"
    assert data.classes == ("cat", "dog")
    assert data.shape == (16, 16, 3)
    assert data.augmentation == Augmentation(pad=2, flip=True)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 6)
    assert data.train.labels.tolist() == [0] * 9 + [1] * 9
    assert data.validation.labels.tolist() == [0, 1]
    for number, image in enumerate(data.test.images):
        name = data.classes[number // 3]
        assert np.array_equal(image, read(pets / "test" / name / f"{number % 3:03}.png"))
    files = {read(path).tobytes(): path.name for path in (pets / "train" / "cat").iterdir()}
    names = [files[image.tobytes()] for image in data.train.images[:9]]
    assert names == sorted(names)


def test_a_description_counts_what_loading_gives(pets: Path) -> None:
    summary, data = describe(str(pets), None), load_folder(pets)
    assert summary.kind == "image folder"
    assert summary.path == pets
    assert summary.classes == data.classes
    assert (summary.train, summary.validation, summary.test) == (18, 2, 6)
    assert summary.smallest_class == 9
    assert str(summary) == (
        f"pets: 2 classes, 18 train, 2 validation and 6 test images, from the image folder {pets}"
    )


def test_a_folder_inside_the_data_folder_goes_by_its_name(pets: Path) -> None:
    assert describe("pets", pets.parent).path == pets
    assert load("pets", pets.parent, cache_dir=None).name == "pets"


def test_a_relative_path_is_named_for_its_folder(
    pets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(pets)
    data = load(".", None, cache_dir=tmp_path / "cache")
    assert data.name == "pets"
    assert data.content_hash == load_folder(pets).content_hash


def test_folders_inside_a_class_and_stray_notes_are_accepted(pets: Path) -> None:
    before = load_folder(pets).content_hash
    inner = pets / "train" / "dog" / "more"
    inner.mkdir()
    for path in sorted((pets / "train" / "dog").glob("*.png")):
        path.rename(inner / path.name)
    for name in (".DS_Store", "README.txt", "LICENSE", "Thumbs.db", "._000.png"):
        (pets / "train" / "cat" / name).write_text("notes")
    (pets / "train" / ".cache").mkdir()
    (pets / "train" / "labels.csv").write_text("a,b")
    assert load_folder(pets).content_hash == before


def test_a_file_that_is_no_image_by_its_ending_is_refused_by_name(pets: Path) -> None:
    (pets / "train" / "cat" / "notes.csv").write_text("a,b")
    message = refusal(pets)
    assert message.startswith(
        f"{pets / 'train' / 'cat' / 'notes.csv'} is no image, by its ending '.csv'"
    )
    assert "remove it" in message


def test_an_image_outside_the_class_folders_is_refused_by_name(
    pets: Path, write_image: WriteImage
) -> None:
    write_image(pets / "train" / "stray.png")
    assert refusal(pets) == (
        f"{pets / 'train' / 'stray.png'} lies outside any class folder: move it into one (or, if "
        "it holds a pair of images side by side, choose a space that learns from pairs)"
    )


def test_a_link_to_nothing_is_refused_by_name(pets: Path) -> None:
    (pets / "test" / "cat" / "gone.png").symlink_to(pets / "nowhere.png")
    assert refusal(pets).startswith(f"{pets / 'test' / 'cat' / 'gone.png'} leads to no file")


def test_a_loop_of_links_is_refused_by_name(pets: Path) -> None:
    (pets / "train" / "cat" / "again").symlink_to(pets / "train" / "cat")
    assert f"{pets / 'train' / 'cat' / 'again'} is a link to a folder" in refusal(pets)


def test_an_empty_class_folder_is_refused_by_name(pets: Path) -> None:
    (pets / "train" / "cow").mkdir()
    (pets / "train" / "cow" / ".keep").touch()
    assert refusal(pets).startswith(f"class folder {pets / 'train' / 'cow'} holds no image: add")


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_a_class_in_one_split_alone_is_refused_with_the_nearest(
    pets: Path, here: str, there: str, write_image: WriteImage
) -> None:
    write_image(pets / here / "dogs" / "000.png")
    write_image(pets / here / "dogs" / "001.png")
    assert refusal(pets) == (
        f"class 'dogs' is in {pets / here} and not in {pets / there} (nearest there: 'dog'): "
        "both need the same class folders"
    )


def test_fewer_than_two_classes_are_refused(tmp_path: Path, write_folder: WriteFolder) -> None:
    one = write_folder(tmp_path / "one", classes=("cat",))
    assert f"{one / 'train'} has 1 class folder: a data set needs 2" in refusal(one)
    none = tmp_path / "none"
    (none / "train").mkdir(parents=True)
    (none / "test").mkdir()
    assert f"{none / 'train'} has 0 class folders" in refusal(none)


def test_a_class_with_one_training_image_is_refused(pets: Path, write_image: WriteImage) -> None:
    write_image(pets / "train" / "cow" / "000.png")
    write_image(pets / "test" / "cow" / "000.png")
    assert "class 'cow' has 1 training image, and a study needs 2" in refusal(pets)


@pytest.mark.parametrize(
    ("renames", "said"),
    [
        ({"test": "val"}, "has no test/ (found: train, val): rename 'val' to 'test'"),
        ({"test": "gone/x"}, "has no test/ (found: gone, train): lay it out as train/CLASS/*"),
        (
            {"train": "Training"},
            "has no train/ (found: Training, test): rename 'Training' to 'train'",
        ),
        (
            {"train": "pets/train", "test": "pets/test"},
            "has no train/ and no test/ (found: pets): give",
        ),
    ],
)
def test_a_wrong_layout_says_what_was_found_and_what_may_be_meant(
    pets: Path, renames: dict[str, str], said: str
) -> None:
    for old, new in renames.items():
        (pets / new).parent.mkdir(exist_ok=True)
        (pets / old).rename(pets / new)
    assert f"{pets} {said}" in refusal(pets)


def test_a_missing_folder_a_file_and_an_empty_folder_are_refused(pets: Path) -> None:
    missing = pets.parent / "pest"
    assert refusal(missing).startswith(f"there is no folder {missing} (nearest: {pets}): give")
    file = pets.parent / "pets.zip"
    file.touch()
    assert refusal(file).startswith(f"{file} is a file: give the path of a folder with train/CLASS")
    bare = pets.parent / "bare"
    bare.mkdir()
    assert "(found: nothing): lay it out as" in refusal(bare)


def test_an_unreadable_folder_is_refused_by_name(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def deny(path: object) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", deny)
    assert refusal(pets).startswith(
        f"cannot read {pets / 'train' / 'dog'} (Permission denied): make it readable"
    )


def test_a_folder_of_its_own_is_the_validation_split(pets: Path, write_image: WriteImage) -> None:
    held = [pets / "val" / name for name in ("cat/a.png", "cat/b.png", "dog/a.png")]
    for seed, path in enumerate(held):
        write_image(path, 100 + seed)
    data, summary = load_folder(pets), describe(str(pets), None)
    assert [len(data.train), len(data.validation), len(data.test)] == [20, 3, 6]
    assert data.train.labels.tolist() == [0] * 10 + [1] * 10
    assert data.validation.labels.tolist() == [0, 0, 1]
    for path, image in zip(held, data.validation.images, strict=True):
        assert np.array_equal(image, read(path))
    assert (summary.train, summary.validation, summary.test) == (20, 3, 6)
    assert summary.smallest_class == 10


def test_with_a_validation_split_one_training_image_a_class_is_enough(
    pets: Path, write_image: WriteImage
) -> None:
    for split in ("train", "val", "test"):
        write_image(pets / split / "cow" / "000.png")
    for name in ("cat", "dog"):
        write_image(pets / "val" / name / "000.png")
    assert describe(str(pets), None).smallest_class == 1
    assert len(load_folder(pets).train) == 21


def test_a_validation_split_that_lacks_a_class_is_refused(
    pets: Path, write_image: WriteImage
) -> None:
    write_image(pets / "val" / "cat" / "000.png")
    assert refusal(pets).startswith(f"class 'dog' is in {pets / 'train'} and not in {pets / 'val'}")
