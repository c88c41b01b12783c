import pytest

from tests.benchmarks.latency import Cell, as_before, as_now


def test_repeats_within_the_limit_are_counted_whichever_of_the_two_is_larger() -> None:
    pairs = [(1.00, 1.02), (1.02, 1.00), (1.00, 1.04), (2.0, 2.0)]
    cell = Cell("digits", "small", "quiet", "now", pairs, 0.03, None)
    assert cell.apart == pytest.approx([0.02, 0.02, 0.04, 0.0])
    assert cell.within == 3
    assert cell.to_json()["within"] == 3


@pytest.mark.parametrize("way", [as_before, as_now])
def test_both_ways_measure_a_student_beside_its_teacher(way: object) -> None:
    import torch
    from torch import nn

    from study.distillation.serving import serve

    assert callable(way)
    shape, cpu = (8, 8, 3), torch.device("cpu")
    student, teacher = nn.Conv2d(3, 4, 3), nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(3)))
    assert 0 < way(student, serve(teacher, shape, cpu), shape, 0.1) < 100
