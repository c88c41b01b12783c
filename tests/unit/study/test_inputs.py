from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from search_spaces.catalogue import file_hash, load_space
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import PSNR, WEIGHTED_F1, SearchSpace, SpaceError
from study.arguments import parser
from study.distillation.image_data import ImageData, Split
from study.distillation.views import Augmentation
from study.inputs import (
    DifferentPlanError,
    StudyInputs,
    check_asked_as_before,
    check_same_plan,
    plan_document,
    store_plan,
)
from study.record import read_plan_file
from study.resolving import resolve
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


def document_of(spec: str, studies: Path) -> dict[str, Any]:
    plan, _ = resolve(parser().parse_args(["--space", spec, "--data", "digits", "--name", "own"]))
    return plan_document(
        StudyInputs(plan, load_space(spec), data_of([0, 1, 2, 3]), "none", studies)
    )


def test_a_plan_keeps_the_hash_of_the_file_that_its_space_was_declared_in(tmp_path: Path) -> None:
    own = tmp_path / "my_space.py"
    own.write_text("from search_spaces.cifar_blocks import SPACE\n")
    first = file_hash(str(own))
    (tmp_path / "own").mkdir()

    store_plan(tmp_path / "own", document_of(str(own), tmp_path))
    own.write_text("from search_spaces.cifar_blocks import SPACE  # edited\n")
    store_plan(tmp_path / "own", document_of(str(own), tmp_path))  # as a study that is continued

    kept = read_plan_file(tmp_path / "own")
    assert kept is not None
    assert first is not None
    assert kept["space"]["file_hash"] == first != file_hash(str(own))


def test_a_space_that_is_no_file_has_no_hash_of_one(tmp_path: Path) -> None:
    document = document_of("cifar_blocks", tmp_path)

    assert document["space"]["file_hash"] is None
    assert file_hash(str(tmp_path / "gone.py")) is None


def test_another_plan_under_a_name_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    line = ["--space", "cifar_blocks", "--data", "digits", "--name", "own"]
    folder = tmp_path / "own"
    folder.mkdir()
    store_plan(folder, document_of("cifar_blocks", tmp_path))

    same, space = resolve(parser().parse_args([*line, "--trials", "99", "--replicates", "3"]))
    check_asked_as_before(folder, same, space)
    other, space = resolve(parser().parse_args([*line, "--seed", "1", "--fix", "alpha=0.5"]))
    with pytest.raises(DifferentPlanError) as early:
        check_asked_as_before(folder, other, space)
    inputs = StudyInputs(other, space, data_of([0, 1, 2, 3]), "none", tmp_path)
    with pytest.raises(DifferentPlanError) as late:
        check_same_plan(folder, plan_document(inputs))

    assert "seed 0, now 1" in str(early.value)
    assert "give this one a --name of its own" in str(early.value)
    assert str(early.value) == str(late.value)


def test_where_there_is_no_study_yet_any_plan_will_do(tmp_path: Path) -> None:
    plan, space = resolve(parser().parse_args(["--space", "cifar_blocks", "--data", "digits"]))
    check_asked_as_before(tmp_path / plan.name, plan, space)
