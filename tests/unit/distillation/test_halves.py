"""Ten digits as two classes: the same images, other labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.distillation.data import DataError, describe, load

WriteFolder = Callable[..., Any]
TEN = tuple("0123456789")


def test_digits2x5_has_the_images_and_splits_of_digits_with_two_labels() -> None:
    whole, halves = (load(name, None, cache_dir=None) for name in ("digits", "digits2x5"))

    assert halves.name == "digits2x5"
    assert halves.classes == ("0-4", "5-9")
    assert halves.content_hash != whole.content_hash
    assert (halves.mean, halves.std) == (whole.mean, whole.std)
    assert halves.augmentation == whole.augmentation
    for ours, theirs in (
        (halves.train, whole.train),
        (halves.validation, whole.validation),
        (halves.test, whole.test),
    ):
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels >= 5)


def test_halves_are_augmented_only_where_the_space_has_it() -> None:
    plain = load("digits2x5", None, cache_dir=None, augment=False)
    assert plain.augmentation == load("digits", None, cache_dir=None, augment=False).augmentation
    assert plain.augmentation.pad == 0
    assert plain.content_hash != load("digits2x5", None, cache_dir=None).content_hash


def test_a_description_of_digits2x5_says_what_loading_gives() -> None:
    summary, data = describe("digits2x5", None), load("digits2x5", None, cache_dir=None)

    assert (summary.name, summary.classes) == (data.name, data.classes)
    assert summary.train == len(data.train)
    assert summary.smallest_class == np.bincount(data.train.labels).min()


def test_mnist2x5_comes_from_the_files_of_mnist(tmp_path: Path, write_folder: WriteFolder) -> None:
    write_folder(tmp_path / "mnist", 4, 1, TEN, (28, 28), "RGB")

    summary = describe("mnist2x5", tmp_path)
    data = load("mnist2x5", tmp_path, cache_dir=None)

    assert data.shape == (28, 28, 1)
    assert np.bincount(data.train.labels).tolist() == [15, 15]
    assert (summary.kind, summary.smallest_class) == ("image folder", 15)
    assert data.source == "image folder mnist, two classes of five digits"


def test_mnist2x5_that_is_nowhere_is_described_as_a_download(tmp_path: Path) -> None:
    summary = describe("mnist2x5", tmp_path)

    # Of 54,000 images the published training files have 26,463 of 5 to 9.
    assert (summary.kind, summary.train, summary.smallest_class) == ("download", 54_000, 26_463)


def test_classes_that_are_not_the_digits_in_order_are_refused(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    write_folder(tmp_path / "mnist", 3, 1, tuple(f"kind{i}" for i in range(10)), (28, 28))

    for look in (
        lambda: describe("mnist2x5", tmp_path),
        lambda: load("mnist2x5", tmp_path, cache_dir=None),
    ):
        with pytest.raises(
            DataError, match=r"its classes are kind0, kind1.*name their folders 0 to 9"
        ):
            look()
