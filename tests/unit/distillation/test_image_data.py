import dataclasses
import time

import numpy as np
import pytest

from study.distillation.image_data import (
    Augmentation,
    DataError,
    ImageData,
    Split,
    assemble,
    channel_statistics,
    first_per_class,
    first_rows_per_class,
    hold_out,
)

CLASSES = ("cat", "dog")
STANDARD = Augmentation(pad=4, flip=True)


def random_split(count: int, classes: int = 2, side: int = 8, seed: int = 0) -> Split:
    generator = np.random.default_rng(seed)
    return Split(
        generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
        np.arange(count, dtype=np.int64) % classes,
    )


def small_data(**changes: object) -> ImageData:
    settings: dict[str, object] = {
        "train": random_split(40),
        "test": random_split(10, seed=1),
        "classes": CLASSES,
        "augmentation": STANDARD,
    }
    settings.update(changes)
    return assemble("small", validation_fraction=0.1, source="test", **settings)  # type: ignore[arg-type]


def test_the_hold_out_is_stratified_disjoint_ordered_and_always_the_same() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 1000)
    kept, held = hold_out(labels, 0.1, ("a", "b", "c"))
    again, _ = hold_out(labels.copy(), 0.1, ("a", "b", "c"))
    assert np.array_equal(kept, again)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(1000))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    for label in range(3):
        size = int((labels == label).sum())
        assert (labels[held] == label).sum() == int(size * 0.1 + 0.5)
    # Spread over the data set, not its head or tail.
    assert abs(held.mean() - 500) < 100


def test_the_held_out_rows_never_change() -> None:
    _, held = hold_out(np.arange(40, dtype=np.int64) % 2, 0.1, CLASSES)
    assert held.tolist() == [8, 9, 14, 29]


def test_a_class_of_two_gives_one_to_validation_and_a_class_of_one_is_refused() -> None:
    kept, held = hold_out(np.array([0, 0, 1, 1]), 0.1, CLASSES)
    assert (len(kept), len(held)) == (2, 2)
    with pytest.raises(DataError, match=r"class 'dog' has 1 training image, .* add images"):
        hold_out(np.array([0, 0, 1]), 0.1, CLASSES)


def test_the_three_splits_hold_every_image_once() -> None:
    train, test = random_split(40), random_split(10, seed=1)
    data = small_data(train=train, test=test)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 10)
    stored = {image.tobytes() for image in train.images}
    found = [image.tobytes() for part in (data.train, data.validation) for image in part.images]
    assert set(found) == stored
    assert len(found) == len(stored)
    assert data.shape == (8, 8, 3)
    assert data.num_classes == 2


def test_statistics_are_those_of_the_train_split_alone() -> None:
    data = small_data()
    pixels = data.train.images.astype(np.float64).reshape(-1, 3) / 255
    assert data.mean == pytest.approx(pixels.mean(0).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std(0).tolist(), abs=1e-12)


def test_a_constant_channel_has_a_deviation_that_can_be_divided_by() -> None:
    mean, std = channel_statistics(np.full((3, 8, 8, 1), 51, dtype=np.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1 / 255,)


def test_the_content_hash_follows_pixels_labels_classes_and_augmentation_alone() -> None:
    data = small_data()
    assert len(data.content_hash) == 64
    assert small_data().content_hash == data.content_hash
    renamed = assemble(
        "other",
        CLASSES,
        random_split(40),
        random_split(10, seed=1),
        validation_fraction=0.1,
        augmentation=STANDARD,
        source="elsewhere",
    )
    assert renamed.content_hash == data.content_hash
    pixel = random_split(10, seed=1)
    pixel.images[0, 0, 0, 0] ^= 1
    relabelled = random_split(10, seed=1)
    relabelled.labels[0] ^= 1
    others = {
        small_data(test=pixel).content_hash,
        small_data(test=relabelled).content_hash,
        small_data(classes=("cat", "cow")).content_hash,
        small_data(augmentation=Augmentation(2, True)).content_hash,
        small_data(augmentation=Augmentation(4, False)).content_hash,
    }
    assert len(others | {data.content_hash}) == 6


def test_the_content_hash_never_changes() -> None:
    pixels = (np.arange(44 * 8 * 8 * 3) * 7919 % 251).astype(np.uint8).reshape(44, 8, 8, 3)
    labels = np.arange(44, dtype=np.int64) % 2
    data = small_data(train=Split(pixels[:40], labels[:40]), test=Split(pixels[40:], labels[40:]))
    assert data.content_hash[:16] == "02cecce5646e8dc7"


def test_data_as_large_as_cifar_is_assembled_in_seconds() -> None:
    train = Split(np.zeros((50_000, 32, 32, 3), np.uint8), np.arange(50_000) % 10)
    test = Split(np.zeros((10_000, 32, 32, 3), np.uint8), np.arange(10_000) % 10)
    started = time.monotonic()
    data = small_data(train=train, test=test, classes=tuple("0123456789"))
    assert time.monotonic() - started < 10
    assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5_000, 10_000)


def test_the_first_of_each_class_are_kept_in_data_set_order() -> None:
    split = dataclasses.replace(
        random_split(12, classes=3), labels=np.array([2, 0, 0, 1, 2, 1, 0, 0, 1, 2, 2, 1])
    )
    rows = first_rows_per_class(split, 2)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert first_rows_per_class(split, 3).tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    chosen = first_per_class(split, 3, ("a", "b", "c"))
    assert chosen.labels.tolist() == [2, 0, 0, 1, 2, 1, 0, 1, 2]
    assert np.array_equal(chosen.images, split.images[[0, 1, 2, 3, 4, 5, 6, 8, 9]])


def test_more_of_each_class_than_there_are_is_refused_by_class_with_the_most_that_works() -> None:
    split = dataclasses.replace(random_split(5), labels=np.array([0, 0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"^3 images .* class 'dog' has 2: ask for 2 or fewer$"):
        first_per_class(split, 3, CLASSES)
    with pytest.raises(DataError, match=r"class number 1 has 2"):
        first_per_class(split, 3)
    with pytest.raises(DataError, match=r"class 'cow' has 0"):
        first_per_class(split, 1, ("cat", "dog", "cow"))
    with pytest.raises(DataError, match=r"^0 images .* ask for 1 or more"):
        first_per_class(split, 0, CLASSES)


def test_arrays_of_another_type_shape_or_memory_order_are_no_split() -> None:
    images, labels = random_split(4).images, random_split(4).labels
    for wrong, tags in (
        (images.astype(np.float32), labels),
        (images[:, :, :, 0], labels),
        (images.transpose(0, 2, 1, 3), labels),
        (images, labels[:3]),
        (images, labels.astype(np.int32)),
    ):
        with pytest.raises(ValueError, match=r"images are|labels are"):
            Split(wrong, tags)
