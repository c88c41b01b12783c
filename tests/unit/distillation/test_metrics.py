"""Scores from a confusion matrix, against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from study.distillation.metrics import SCORES, accuracy, confusion, score_named, weighted_f1

GENERATOR = np.random.default_rng(0)


def drawn(classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of unequal classes, and answers that are right about half the time."""
    labels = np.minimum(GENERATOR.geometric(0.4, count) - 1, classes - 1)
    wrong = GENERATOR.integers(0, classes, count)
    return labels, np.where(GENERATOR.random(count) < 0.5, labels, wrong)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores_are_scikit_learns(classes: int) -> None:
    labels, answers = drawn(classes, 500)
    matrix = confusion(torch.from_numpy(answers), torch.from_numpy(labels), classes)

    assert np.array_equal(matrix, confusion_matrix(labels, answers, labels=range(classes)))
    assert accuracy(matrix) == pytest.approx(100 * accuracy_score(labels, answers))
    f1 = f1_score(labels, answers, average="weighted", zero_division=0)
    assert weighted_f1(matrix) == pytest.approx(100 * f1)
    assert weighted_f1(matrix) != pytest.approx(accuracy(matrix), abs=0.1)


def test_matrices_of_batches_add_up_to_that_of_all() -> None:
    labels, answers = (torch.from_numpy(array) for array in drawn(4, 101))
    parts = zip(torch.split(answers, 7), torch.split(labels, 7), strict=True)

    assert torch.equal(sum(confusion(*part, 4) for part in parts), confusion(answers, labels, 4))


def test_always_naming_the_larger_class_of_mhists_test_split_scores_48_9() -> None:
    labels = torch.tensor([0] * 617 + [1] * 360)
    matrix = confusion(torch.zeros_like(labels), labels, 2)

    assert weighted_f1(matrix) == pytest.approx(48.9, abs=0.05)
    assert accuracy(matrix) == pytest.approx(63.15, abs=0.01)


@pytest.mark.parametrize("answers", [[2, 2, 2], [0, 0, 0]])
def test_a_class_that_is_not_there_or_never_found_weighs_nothing(answers: list[int]) -> None:
    labels = np.array([0, 0, 1])
    matrix = confusion(torch.tensor(answers), torch.from_numpy(labels), 3)

    expected = f1_score(labels, answers, average="weighted", zero_division=0)
    assert weighted_f1(matrix) == pytest.approx(100 * expected)


def test_scores_are_known_by_the_names_that_spaces_give_them() -> None:
    from search_spaces.space import ACCURACY, WEIGHTED_F1

    assert set(SCORES) == {ACCURACY.name, WEIGHTED_F1.name}
    with pytest.raises(ValueError, match="no score 'PSNR'; choose accuracy, weighted F1"):
        score_named("PSNR")
