from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from search_spaces.cifar_blocks import SPACE
from search_spaces.space import PSNR, WEIGHTED_F1, SearchSpace, SpaceError
from study.distillation.image_data import ImageData, Split
from study.distillation.views import Augmentation
from study.task import task_of


def data_of(labels: list[int]) -> ImageData:
    images = np.zeros((len(labels), 8, 8, 1), dtype=np.uint8)
    split = Split(images, np.array(labels, dtype=np.int64))
    return ImageData(
        name="made up",
        train=split,
        validation=split,
        test=split,
        classes=("a", "b", "c", "d"),
        mean=(0.5,),
        std=(0.5,),
        augmentation=Augmentation(pad=0, flip=False),
        content_hash="0" * 16,
        source="made up",
    )


def floor_score(space: SearchSpace, data: ImageData) -> float:
    return task_of(space).floor_score(space, data)


def test_the_floor_of_accuracy_is_chance_however_large_the_classes_are() -> None:
    assert floor_score(SPACE, data_of([0, 0, 0, 1])) == 25.0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_the_floor_of_weighted_f1_is_that_of_always_naming_the_largest_class(
    labels: list[int],
) -> None:
    largest = int(np.bincount(labels).argmax())
    expected = f1_score(labels, [largest] * len(labels), average="weighted", zero_division=0)

    found = floor_score(replace(SPACE, score=WEIGHTED_F1), data_of(labels))

    assert found == pytest.approx(100 * expected)


def test_a_score_without_a_known_floor_is_refused_by_name() -> None:
    with pytest.raises(SpaceError, match="no floor is known of the score PSNR; use accuracy or"):
        floor_score(replace(SPACE, score=PSNR), data_of([0, 1]))
