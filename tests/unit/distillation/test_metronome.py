"""Students that are timed by the pace of a small network of the measurement's own."""

from typing import Any

import pytest
import torch
from recorded_passes import Recorder
from torch import Tensor, nn

from study.distillation import measurement
from study.distillation.measurement import (
    compare_latency,
    compare_small_batch,
    measure_alone,
)
from study.distillation.metronome import MOST_BYTES, keeps_pace, metronome
from study.distillation.serving import serve
from study.distillation.stopwatch import Turns
from study.timing import time_alone

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SHAPE = (8, 8, 3)
# The teacher's 8 ms on the idle device over the 1 ms of the metronome below.
OVER = 8.0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a metronome of 1 ms, and others, write down."""
    log: list[dict[str, Any]] = []
    beat = Recorder("metronome", log, 0.001), [torch.zeros(1, 3, 8, 8)]
    monkeypatch.setattr(measurement, "metronome", lambda: beat)
    return log


class Uneven(Recorder):
    """Waits for memory in most of its passes, which take 12 ms, and 8 ms in the others."""

    passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        self.seconds = 0.012 if self.passes % 3 else 0.008
        return super().forward(images)


def heavy() -> nn.Module:
    """A network of more weights than the metronome tells the pace of."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, MOST_BYTES // (4 * 192) + 1))


def test_a_small_student_has_the_same_ratio_whatever_its_teacher_waits_for(
    log: list[dict[str, Any]],
) -> None:
    for seconds in (0.008, 0.02):  # the teacher as on the idle device, and held up
        student, teacher = Recorder("student", log, 0.002), Recorder("teacher", log, seconds)
        found = compare_latency(
            *(student, teacher, SHAPE, CPU),
            idle=False,
            seconds=0.4,
            teacher_over_metronome=OVER,
        )
        ratio = found.ratio_batch_1
        assert found.paced_by == "metronome"
        assert ratio.median == pytest.approx(4.0, rel=0.05)
        assert ratio.low <= ratio.median <= ratio.high
        assert found.settled == ratio.settled
        # What they take by themselves is told as it was.
        assert found.teacher_batch_1_ms.median == pytest.approx(1000 * seconds, rel=0.2)
        assert found.ratio_batch_64.median == pytest.approx(500 * seconds, rel=0.2)


def test_a_copy_of_a_student_is_timed_by_the_same_pace(log: list[dict[str, Any]]) -> None:
    served = (serve(Recorder(*who), SHAPE, CPU) for who in (("s", log, 0.002), ("t", log, 0.02)))
    ratio = compare_small_batch(*served, SHAPE, CPU, seconds=0.2, teacher_over_metronome=OVER)
    assert ratio.median == pytest.approx(4.0, rel=0.05)


def test_the_metronome_has_all_its_passes_in_each_turn_and_none_at_batch_64(
    log: list[dict[str, Any]],
) -> None:
    student, teacher = Recorder("student", log, 0.002), Recorder("teacher", log, 0.002)
    compare_latency(
        student, teacher, SHAPE, CPU, idle=False, seconds=0.1, teacher_over_metronome=OVER
    )
    names = [entry["name"][0] for entry in log if entry["batch"] == 1]
    turns = "".join(names)[-2 * (2 + 2 + 7) :]
    assert turns == "sstt" + 7 * "m" + 7 * "m" + "ttss"
    beats = [entry for entry in log if entry["name"] == "metronome"]
    assert all(entry["inference"] for entry in beats)
    last = max(place for place, entry in enumerate(log) if entry["name"] == "metronome")
    assert {entry["name"] for entry in log[last + 1 :] if entry["batch"] == 64} == {
        "student",
        "teacher",
    }


@pytest.mark.parametrize(
    ("student", "over", "threads"),
    [(heavy, OVER, 1), (nn.Flatten, None, 1), (nn.Flatten, OVER, 2)],
    ids=["large student", "study without one", "two threads"],
)
def test_others_are_timed_against_their_teacher(
    student: Any, over: float | None, threads: int, log: list[dict[str, Any]]
) -> None:
    torch.set_num_threads(threads)
    teacher = Recorder("teacher", log, 0.002)
    found = compare_latency(
        student(), teacher, SHAPE, CPU, idle=False, seconds=0.05, teacher_over_metronome=over
    )
    assert found.paced_by == "teacher"
    assert "metronome" not in {entry["name"] for entry in log}


def test_what_a_teacher_takes_of_the_metronomes_time_is_known_once_it_is_timed_alone(
    log: list[dict[str, Any]],
) -> None:
    teacher = Uneven("teacher", log)
    alone = measure_alone(teacher, SHAPE, CPU, 0.6)
    assert alone.batch_1_ms.median == pytest.approx(12.0, rel=0.1)
    assert alone.over_metronome == pytest.approx(OVER, rel=0.1)
    torch.set_num_threads(2)
    assert measure_alone(teacher, SHAPE, CPU, 0.1).over_metronome is None


def test_students_of_one_latency_have_the_same_by_either_pace(
    log: list[dict[str, Any]],
) -> None:
    """Of a teacher whose median and lower quartile lie far apart, too."""
    alone = time_alone(Uneven("teacher", log), SHAPE, CPU, 1)
    found = {}
    for pace in ("metronome", "teacher"):
        paced = alone.over_metronome if pace == "metronome" else None
        told = compare_latency(
            *(Recorder("student", log, 0.002), Uneven("teacher", log), SHAPE, CPU),
            idle=False,
            seconds=0.6,
            teacher_over_metronome=paced,
        )
        assert told.paced_by == pace
        found[pace] = alone.latency_ms / told.ratio_batch_1.median
    assert found["metronome"] == pytest.approx(2.0, rel=0.1)
    assert found["teacher"] == pytest.approx(2.0, rel=0.1)


def test_a_teacher_is_timed_with_the_threads_that_students_have(
    log: list[dict[str, Any]],
) -> None:
    teacher = Recorder("teacher", log, 0.002)
    assert time_alone(teacher, SHAPE, CPU, 1, at_most=0.1).over_metronome is not None
    assert time_alone(teacher, SHAPE, CPU, 2, at_most=0.1).over_metronome is None


def test_the_metronome_is_the_same_in_every_process_and_draws_no_random_number() -> None:
    forward, inputs = metronome.__wrapped__()
    before = torch.get_rng_state()
    again, others = metronome.__wrapped__()
    assert torch.equal(torch.get_rng_state(), before)
    with torch.inference_mode():
        assert torch.equal(forward(inputs[0]), again(others[0]))
    assert isinstance(forward, nn.Module)
    assert not forward.training
    assert keeps_pace(forward, "cpu")
    assert len({float(images.sum()) for images in inputs}) == len(inputs)


def test_a_network_keeps_pace_up_to_a_size_and_on_one_thread_alone() -> None:
    assert keeps_pace(nn.Linear(1000, 1000), "cpu")
    assert not keeps_pace(nn.Linear(2000, 1000).double(), "cpu")
    assert not keeps_pace(nn.Linear(10, 10), "wall")
    assert not keeps_pace(nn.Linear(10, 10), "events")


def test_only_who_keeps_time_has_more_passes_than_fit_into_the_slowest() -> None:
    log: list[dict[str, Any]] = []
    networks = [
        (Recorder(name, log, seconds), [torch.zeros(1, 3, 8, 8)])
        for name, seconds in (("a", 0.001), ("b", 0.004), ("c", 0.004))
    ]
    turns = Turns(networks, 1, CPU, "cpu", keeps_time=True)
    turns.take(0.0, 2)
    a, b, c = (times.shape for times in turns.times)
    assert b == (2, 1)
    assert c == (2, 5)
    assert 3 <= a[1] <= 4
