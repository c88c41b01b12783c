import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.distillation.data import DATASETS, DataError, describe, load
from study.distillation.image_data import Augmentation
from study.distillation.named_data import load_grey_digits

WriteImage = WriteFolder = Callable[..., Any]
TEN = tuple(f"class{number}" for number in range(10))


def test_digits_are_upsampled_to_rgb_in_three_stratified_splits() -> None:
    data = load("digits", None, cache_dir=None)
    assert data.name == "digits"
    assert data.source == "scikit-learn digits"
    assert data.classes == tuple("0123456789")
    assert data.shape == (32, 32, 3)
    assert (len(data.train), len(data.validation), len(data.test)) == (1222, 216, 359)
    assert data.augmentation == Augmentation(pad=2, flip=False)
    for split, share in ((data.train, 0.68), (data.validation, 0.12), (data.test, 0.2)):
        images = split.images
        assert np.array_equal(images[..., 0], images[..., 1])
        assert np.array_equal(images[..., 0], images[..., 2])
        counts = np.bincount(split.labels, minlength=10)
        assert abs(counts / (179.7 * share) - 1).max() < 0.1
    assert (data.train.images.min(), data.train.images.max()) == (0, 255)


def test_digits_are_scikit_learns_and_need_not_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys\n"
        "from study.distillation.named_data import load_grey_digits\n"
        "load_grey_digits(8)\n"
        "print('sklearn' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    images, labels = load_grey_digits(8)
    import sklearn.datasets  # noqa: F401

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    theirs, their_labels = load_grey_digits(8)
    assert np.array_equal(images, theirs)
    assert np.array_equal(labels, their_labels)
    assert (labels.dtype, images.dtype, images.shape) == (np.int64, np.uint8, (1797, 8, 8, 1))


def test_digits_keep_the_brightness_and_the_order_of_the_original() -> None:
    from sklearn.datasets import load_digits

    data = load("digits", None, cache_dir=None)
    original = load_digits()
    parts = (data.train, data.validation, data.test)
    level = np.mean(np.concatenate([part.images for part in parts]))
    assert level == pytest.approx(original.images.mean() * 255 / 16, rel=0.01)
    # Each test image, shrunk back, is nearest to an original of its label, in ascending order.
    small = data.test.images[:, :, :, 0].reshape(-1, 8, 4, 8, 4).mean((2, 4))
    scaled = original.images * (255 / 16)
    nearest = [
        int(((scaled - image) ** 2).sum((1, 2)).argmin()) for image in small.astype(np.float64)
    ]
    assert (np.diff(nearest) > 0).mean() > 0.95
    assert (original.target[nearest] == data.test.labels).mean() > 0.99


def test_digits_are_the_same_every_time() -> None:
    first, second = (load("digits", None, cache_dir=None) for _ in range(2))
    assert first.content_hash == second.content_hash


def test_without_augmentation_the_images_are_the_same_and_the_hash_is_another() -> None:
    seen, plain = (load("digits", None, cache_dir=None, augment=wish) for wish in (True, False))
    assert plain.augmentation == Augmentation(pad=0, flip=False)
    assert np.array_equal(plain.train.images, seen.train.images)
    assert plain.content_hash != seen.content_hash


def test_digits_take_another_size() -> None:
    data = load("digits", None, cache_dir=None, image_size=16)
    assert data.shape == (16, 16, 3)
    assert data.augmentation.pad == 1


def test_a_description_of_digits_says_what_loading_gives() -> None:
    summary, data = describe("digits", None), load("digits", None, cache_dir=None)
    assert summary.kind == "scikit-learn"
    assert summary.classes == data.classes
    assert (summary.train, summary.validation, summary.test) == (
        len(data.train),
        len(data.validation),
        len(data.test),
    )
    assert summary.smallest_class == np.bincount(data.train.labels).min()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("cifra10", "cifar10"), ("CIFAR-10", "cifar10"), ("MNIST", "mnist"), ("digit", "digits")],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_the_way_to_an_own_folder(
    name: str, nearest: str
) -> None:
    with pytest.raises(DataError) as caught:
        describe(name, None)
    assert str(caught.value) == (
        f"no data set {name!r}, did you mean {nearest!r}? Choose digits, cifar10, mnist, "
        "digits2x5, mnist2x5, mhist, or a path to an image folder with train/CLASS/* and "
        "test/CLASS/*"
    )


def test_a_name_like_no_other_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no data set 'xyzzy'\. Choose digits, cifar10, mnist"):
        describe("xyzzy", tmp_path)


def test_cifar10_as_an_image_folder_is_found_in_the_data_folder_and_below_it(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    below = write_folder(tmp_path / "data" / "cifar10", 3, 1, TEN, (32, 32))
    for data_dir in (tmp_path / "data", below):
        summary = describe("cifar10", data_dir)
        assert (summary.kind, summary.path) == ("image folder", below)
        data = load("cifar10", data_dir, cache_dir=None)
        assert data.name == "cifar10"
        assert data.source == "image folder cifar10"
        assert data.shape == (32, 32, 3)
        assert data.augmentation == Augmentation(pad=4, flip=True)
        assert (len(data.train), len(data.validation), len(data.test)) == (20, 10, 10)


def test_mnist_as_an_image_folder_is_grey_and_never_flipped(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    write_folder(tmp_path / "mnist", 3, 1, TEN, (28, 28), "RGB")
    data = load("mnist", tmp_path, cache_dir=None)
    assert data.shape == (28, 28, 1)
    assert data.augmentation == Augmentation(pad=2, flip=False)
    plain = load("mnist", tmp_path, cache_dir=None, augment=False)
    assert plain.augmentation == Augmentation(pad=0, flip=False)


def test_a_folder_with_other_classes_is_not_taken_for_cifar10(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    root = write_folder(tmp_path / "pets")
    with pytest.raises(DataError) as caught:
        describe("cifar10", root)
    assert str(caught.value) == (
        f"{root} has 2 classes and cifar10 has 10: for a data set of your own give its path, "
        f"--data {root}"
    )


def test_half_an_image_folder_is_refused_rather_than_downloaded_over(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "cifar10" / "train" / "cat" / "0.png")
    with pytest.raises(DataError, match=r"cifar10 has no test/ \(found: train\)"):
        describe("cifar10", tmp_path)
    write_image(tmp_path / "mnist" / "Training" / "0" / "0.png")
    with pytest.raises(DataError, match=r"rename 'Training' to 'train'"):
        describe("mnist", tmp_path)


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(DataError, match=r"data is a file: give a folder with --data-dir DIR"):
        describe("cifar10", tmp_path / "data")


def test_a_missing_or_empty_data_folder_is_described_as_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, counts in (("cifar10", (45_000, 5_000)), ("mnist", (54_000, 6_000))):
        summary = describe(name, None)
        assert (summary.kind, summary.path) == ("download", Path("data"))
        assert (summary.train, summary.validation, summary.test) == (*counts, 10_000)
        assert "to be downloaded into data" in str(summary)
    assert list(tmp_path.iterdir()) == []


def test_describing_imports_nothing_heavy_and_answers_at_once(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    root = write_folder(tmp_path / "pets")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from study.distillation.data import DataError, describe\n"
        f"for name in ('digits', 'cifar10', 'mnist', {str(root)!r}):\n"
        f"    describe(name, Path({str(tmp_path)!r}))\n"
        "try:\n"
        "    describe('cifra10', None)\n"
        "except DataError:\n"
        "    pass\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'PIL', 'ray', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    repository = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=repository, check=True
    )
    assert done.stdout.strip() == "[]"


def test_thousands_of_files_are_described_in_a_moment(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in TEN:
            folder = tmp_path / "big" / split / name
            folder.mkdir(parents=True)
            for number in range(500):
                (folder / f"{number}.jpg").touch()
    seconds = []
    for _ in range(5):
        started = time.process_time()
        summary = describe(str(tmp_path / "big"), None)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.3
    assert (summary.train, summary.validation, summary.test) == (4500, 500, 5000)


def test_the_known_names_are_these() -> None:
    assert DATASETS == ("digits", "cifar10", "mnist")
