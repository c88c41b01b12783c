"""Means, deviations and intervals of a study under several seeds."""

import re

import pytest
from scipy.stats import ttest_rel

from tests.benchmarks.seeds import Row, gain, show, spread

OURS, THEIRS = (98.9, 98.7, 99.0, 98.8, 98.6), (98.4, 98.5, 98.6, 98.6, 98.1)


def test_a_gain_is_paired_and_has_the_interval_of_a_paired_t_test() -> None:
    expected = ttest_rel(OURS, THEIRS).confidence_interval(0.95)

    mean, low, high = map(float, re.findall(r"[-+]\d+\.\d+", gain(OURS, THEIRS)))

    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.005)
    assert mean == pytest.approx(0.36, abs=0.005)


def test_one_seed_has_neither_deviation_nor_interval() -> None:
    assert spread((98.5,)) == "98.50"
    assert gain((98.5,), (98.0,)) == "+0.50"


def test_rows_are_set_beside_the_row_they_are_compared_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        Row("teacher, CNN", None, {"validation": THEIRS, "test": OURS}),
        Row("Scratch", 98.53, {"validation": OURS, "test": THEIRS}),
        Row("Taught", 99.01, {"validation": OURS, "test": OURS}),
    ]

    show(rows, "Scratch", "%")

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "|  | published, % | validation | test | gain in test over Scratch |"
    assert lines[2].startswith("| teacher, CNN |  | 98.44 ± 0.21 | 98.80 ± 0.16 |  |")
    assert lines[3] == "| Scratch | 98.53 | 98.80 ± 0.16 | 98.44 ± 0.21 |  |"
    assert lines[4] == f"| Taught | 99.01 | 98.80 ± 0.16 | 98.80 ± 0.16 | {gain(OURS, THEIRS)} |"
