import pytest

from tests.benchmarks.latency import Cell, ways_of


def test_repeats_within_the_limit_are_counted_whichever_of_the_two_is_larger() -> None:
    pairs = [(1.00, 1.02), (1.02, 1.00), (1.00, 1.04), (2.0, 2.0)]
    cell = Cell("digits", "small", "quiet", "ours", pairs, 0.03, None, 0.5)
    assert cell.apart == pytest.approx([0.02, 0.02, 0.04, 0.0])
    assert cell.within == 3
    assert cell.to_json()["within"] == 3
    assert cell.from_alone == pytest.approx(1.04)


@pytest.mark.parametrize("way", ["simple", "teacher", "ours"])
def test_each_way_measure_a_student_beside_its_teacher(way: str) -> None:
    import torch
    from torch import nn

    from study.distillation.serving import serve

    shape, cpu = (8, 8, 3), torch.device("cpu")
    student, teacher = nn.Conv2d(3, 4, 3), nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(3)))
    ratio = ways_of(2.0)[way](student, serve(teacher, shape, cpu), shape, 0.1, 0.2)
    assert 0 < ratio < 100
