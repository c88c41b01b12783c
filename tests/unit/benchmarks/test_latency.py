import pytest
from recorded_passes import Recorder

from tests.benchmarks.latency import Cell, ways_of


def test_repeats_within_the_limit_are_counted_whichever_of_the_two_is_larger() -> None:
    pairs = [(1.00, 1.02), (1.02, 1.00), (1.00, 1.04), (2.0, 2.0)]
    cell = Cell("digits", "small", "quiet", "ours", pairs, 0.03, None, 0.5)
    assert cell.apart == pytest.approx([0.02, 0.02, 0.04, 0.0])
    assert cell.within == 3
    assert cell.to_json()["within"] == 3
    assert cell.from_alone == pytest.approx(1.04)


@pytest.mark.parametrize(("way", "ratio"), [("simple", 4.0), ("teacher", 4.0), ("ours", 12.0)])
def test_each_way_times_a_student_beside_its_teacher(
    way: str, ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is at a third of its pace; the metronome, of 1 ms, is as it was."""
    import torch

    from study.distillation import measurement
    from study.distillation.answering import torch_threads
    from study.distillation.serving import serve

    shape, cpu = (8, 8, 3), torch.device("cpu")
    metronome = Recorder("metronome", [], 0.001), [torch.zeros(1, 3, 8, 8)]
    monkeypatch.setattr(measurement, "metronome", lambda: metronome)
    student, teacher = Recorder("student", [], 0.001), Recorder("teacher", [], 0.004)
    expected = pytest.approx(ratio, rel=0.25)
    found: list[float] = []
    with torch_threads(1):
        # Other work moves the simple way's by more; what is timed wrongly is so every time.
        while len(found) < 10 and expected not in found:
            served = serve(teacher, shape, cpu)
            found.append(ways_of(12.0)[way](student, served, shape, 0.2, 0.4))
    assert expected in found
