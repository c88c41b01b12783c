import time
from typing import Any

import numpy as np
import pytest
import torch
from recorded_passes import Recorder
from torch import Tensor, nn

from study.distillation.estimate import forward_seconds, training_step_seconds
from study.distillation.measurement import (
    compare_latency,
    device_name,
    measure_alone,
    profile_model,
    random_images,
)
from study.distillation.ratio import Ratio
from study.distillation.stopwatch import Turns

CPU = torch.device("cpu")
SHAPE = (8, 8, 3)

LATENCY_KEYS = {
    "device",
    "threads",
    "precision",
    "idle",
    "repeats",
    "batch_1_ms",
    "batch_64_ms",
    "teacher_batch_1_ms",
    "teacher_batch_64_ms",
    "ratio_batch_1",
    "ratio_batch_64",
    "runtime",
    "folded",
    "clock",
    "settled",
    "paced_by",
}


def small_network(width: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )


def record(
    seconds: float = 0.0002, budget: float = 0.2, *, idle: bool = True
) -> tuple[Any, list[dict[str, Any]]]:
    log: list[dict[str, Any]] = []
    student, teacher = Recorder("student", log, seconds), Recorder("teacher", log, seconds)
    return compare_latency(student, teacher, SHAPE, CPU, idle=idle, seconds=budget), log


def timed_passes(result: Any, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The passes of the turns at batch 1: of each network two on end, of which one is timed."""
    return [entry for entry in log if entry["batch"] == 1][-4 * result.repeats :]


def test_student_and_teacher_are_timed_in_strict_alternation_and_take_turns_at_going_first() -> (
    None
):
    result, log = record()
    passes = [entry["name"] for entry in timed_passes(result, log)]
    turns = list(zip(passes[::4], passes[1::4], passes[2::4], passes[3::4], strict=True))
    assert turns[::2] == [("student", "student", "teacher", "teacher")] * len(turns[::2])
    assert turns[1::2] == [("teacher", "teacher", "student", "student")] * len(turns[1::2])


def test_a_timed_pass_at_batch_1_comes_right_after_one_of_its_own_network() -> None:
    log: list[dict[str, Any]] = []
    first = {"student": True, "teacher": True}

    class Cold(Recorder):
        """Takes ten times as long whenever another network ran before it."""

        def forward(self, images: Tensor) -> Tensor:
            cold = bool(self.log) and self.log[-1]["name"] != self.name
            self.seconds = 0.005 if cold else 0.0005
            first[self.name] = first[self.name] and not cold
            return super().forward(images)

    result = compare_latency(
        Cold("student", log), Cold("teacher", log), SHAPE, CPU, idle=True, seconds=0.4
    )
    assert not any(first.values())
    # By the lower quartile, as ratios are taken: on a busy machine any pass may take longer.
    assert result.batch_1_ms.p25 < 2 > result.teacher_batch_1_ms.p25


def test_a_quick_network_has_more_passes_in_its_turn_once_it_has_found_its_weights(
    one_thread: None,
) -> None:
    log: list[dict[str, Any]] = []

    class Cools(Recorder):
        """Takes ten times as long in its first two passes after another network's."""

        def forward(self, images: Tensor) -> Tensor:
            own = [entry["name"] == self.name for entry in self.log[-2:]]
            self.seconds = 0.0005 if len(own) == 2 and all(own) else 0.005
            return super().forward(images)

    student, teacher = Cools("student", log), Recorder("teacher", log, 0.05)
    result = compare_latency(student, teacher, SHAPE, CPU, idle=True, seconds=0.4)
    passes = "".join(entry["name"][0] for entry in log if entry["batch"] == 1)
    turns = passes[-24 * 9 :]
    assert turns == ("sssssss" + "tt" + "tt" + "sssssss") * 12
    assert result.repeats == 24
    assert result.batch_1_ms.p99 < 2
    assert result.ratio_batch_1.median == pytest.approx(100, rel=0.2)


def test_both_networks_of_a_pair_see_the_same_fresh_images() -> None:
    result, log = record()
    timed = [entry["images"] for entry in timed_passes(result, log)]
    assert all(a is b for a, b in zip(timed[::4], timed[3::4], strict=True))
    assert len({id(images) for images in timed}) > 1
    assert not torch.equal(timed[0], timed[4])
    assert timed[0].is_contiguous(memory_format=torch.channels_last)
    assert 0.5 < timed[0].std() < 2


def test_forward_passes_run_in_eval_and_inference_mode() -> None:
    _, log = record()
    assert not any(entry["training"] for entry in log)
    assert all(entry["inference"] for entry in log)


def test_warm_ups_come_before_the_repeats() -> None:
    result, log = record(budget=2.0)
    passes = sum(entry["batch"] == 1 for entry in log)
    assert passes == 2 * (50 + 3 + 2 * result.repeats)


@pytest.mark.parametrize(("idle", "large"), [(True, 8), (False, 4)])
def test_a_network_too_slow_for_the_time_given_is_still_timed_a_few_times(
    idle: bool, large: int
) -> None:
    result, log = record(seconds=0.01, budget=0.001, idle=idle)
    assert result.repeats == 24
    assert sum(entry["batch"] == 64 for entry in log) == 2 * (2 + 1 + large)
    assert result.batch_1_ms.median >= 10


def test_at_batch_64_a_quick_network_has_two_passes_in_its_turn(one_thread: None) -> None:
    log: list[dict[str, Any]] = []
    student, teacher = Recorder("student", log, 0.0005), Recorder("teacher", log, 0.02)
    compare_latency(student, teacher, SHAPE, CPU, idle=True, seconds=0.1)
    passes = "".join(entry["name"][0] for entry in log if entry["batch"] == 64)
    assert passes[-8 * 3 :] == "ssttss" * 4


def test_turns_are_taken_until_the_ratio_has_settled_or_the_time_is_up(one_thread: None) -> None:
    log: list[dict[str, Any]] = []

    class Uneven(Recorder):
        """Takes from 0.2 to 3 ms, at random: no few passes say what its quartile is."""

        def forward(self, images: Tensor) -> Tensor:
            self.seconds = draws.uniform(0.0002, 0.003)
            return super().forward(images)

    draws = np.random.default_rng(0)
    steady = Recorder("teacher", log, 0.002)
    result = compare_latency(
        Uneven("student", log), steady, SHAPE, CPU, idle=True, seconds=0.1, at_most=3.0
    )
    few = compare_latency(Uneven("student", log), steady, SHAPE, CPU, idle=True, seconds=0.1)
    assert not few.settled
    assert few.repeats == 24
    assert not result.settled
    assert few.repeats < result.repeats


def test_no_more_time_is_taken_than_there_is(
    one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    take = Turns.take

    def note(turns: Turns, seconds: float, fewest: int | None = None) -> bool:
        given.append(seconds)
        take(turns, 0.0)
        return True

    monkeypatch.setattr(Turns, "take", note)
    monkeypatch.setattr(Ratio, "settled", False)
    networks = nn.Flatten(), nn.Flatten()
    compare_latency(*networks, SHAPE, CPU, idle=True, seconds=1.0, at_most=1.6)
    assert given == pytest.approx([0.5, 0.25, 0.25, 0.1, 0.5])


def test_a_steady_network_settles_at_once(one_thread: None) -> None:
    log: list[dict[str, Any]] = []
    student, teacher = Recorder("student", log, 0.002), Recorder("teacher", log, 0.004)
    result = compare_latency(student, teacher, SHAPE, CPU, idle=True, seconds=0.1, at_most=60.0)
    assert result.settled
    assert result.ratio_batch_1.median == pytest.approx(2.0, rel=0.03)


def test_one_thread_is_timed_by_its_own_processor_time(one_thread: None) -> None:
    class Asleep(Recorder):
        """Loses the processor for 5 ms in each pass, as beside a busy program."""

        def forward(self, images: Tensor) -> Tensor:
            time.sleep(0.005)
            return super().forward(images)

    log: list[dict[str, Any]] = []
    student, teacher = Recorder("student", log, 0.001), Asleep("teacher", log, 0.002)
    result = compare_latency(student, teacher, SHAPE, CPU, idle=False, seconds=0.2)
    assert result.clock == "cpu"
    assert result.ratio_batch_1.median == pytest.approx(2.0, rel=0.2)
    torch.set_num_threads(2)
    result = compare_latency(student, teacher, SHAPE, CPU, idle=False, seconds=0.2)
    assert result.clock == "wall"
    assert result.ratio_batch_1.median > 4


def test_the_time_given_is_kept() -> None:
    start = time.perf_counter()
    record(seconds=0.001, budget=0.6)
    assert time.perf_counter() - start < 3


def test_networks_return_to_the_mode_they_were_in_module_by_module() -> None:
    student, teacher = small_network(), small_network().eval()
    student[1].eval()  # type: ignore[index]
    compare_latency(student, teacher, SHAPE, CPU, idle=False, seconds=0.05)
    assert [module.training for module in student.children()] == [True, False, *[True] * 5]
    assert student.training
    assert not any(module.training for module in teacher.modules())


def test_networks_return_to_their_mode_when_a_pass_fails() -> None:
    student = small_network()
    with pytest.raises(RuntimeError):
        compare_latency(student, student, (8, 8, 1), CPU, idle=False, seconds=0.05)
    assert all(module.training for module in student.modules())


def test_measuring_changes_neither_weights_nor_statistics_nor_the_random_state() -> None:
    student, teacher = small_network(), small_network(64)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    random_before = torch.get_rng_state()
    compare_latency(student, teacher, SHAPE, CPU, idle=False, seconds=0.05)
    measure_alone(teacher, SHAPE, CPU, 0.05)
    profile_model(student, SHAPE)
    assert torch.equal(torch.get_rng_state(), random_before)
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_same_network_twice_has_a_ratio_near_1(one_thread: None) -> None:
    network = small_network(32)
    attempts = []
    for _ in range(4):  # other work on the machine may spoil one
        result = compare_latency(network, network, SHAPE, CPU, idle=False, seconds=1.0)
        ratios = result.ratio_batch_1, result.ratio_batch_64
        assert all(ratio.low <= ratio.median <= ratio.high for ratio in ratios)
        attempts.append([ratio.median for ratio in ratios])
        if all(0.7 < median < 1.4 for median in attempts[-1]):
            return
    pytest.fail(f"ratios of a network to itself: {attempts}")


def test_a_faster_student_has_a_ratio_above_1() -> None:
    log: list[dict[str, Any]] = []
    result = compare_latency(
        Recorder("student", log, 0.001),
        Recorder("teacher", log, 0.01),
        SHAPE,
        CPU,
        idle=False,
        seconds=0.1,
    )
    assert result.ratio_batch_1.low > 2
    assert result.teacher_batch_1_ms.median > result.batch_1_ms.median


def test_the_result_is_the_latency_of_the_record() -> None:
    result, _ = record()
    body = result.to_json()
    assert set(body) == LATENCY_KEYS
    assert set(body["batch_64_ms"]) == {"median", "p25", "p90", "p95", "p99"}
    assert set(body["ratio_batch_1"]) == {"median", "low", "high"}
    assert body["device"] == device_name(CPU)
    assert body["threads"] == torch.get_num_threads()
    assert body["precision"] == "float32"
    assert body["idle"] is True
    assert (body["runtime"], body["folded"]) == ("eager", True)
    assert body["settled"] == result.ratio_batch_1.settled
    assert body["batch_1_ms"]["p95"] >= body["batch_1_ms"]["median"] > 0


def test_networks_of_another_number_format_get_images_of_theirs() -> None:
    student, teacher = small_network().bfloat16(), small_network()
    result = compare_latency(student, teacher, SHAPE, CPU, idle=False, seconds=0.05)
    assert result.precision == "bfloat16"


def test_a_teacher_is_timed_alone() -> None:
    alone = measure_alone(small_network(), SHAPE, CPU, 0.1)
    assert alone.batch_64_ms.median > alone.batch_1_ms.median > 0


def test_parameters_flops_and_bytes_equal_those_computed_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )
    profile = profile_model(network, SHAPE)
    multiply_accumulates = 16 * (4 * 4) * (3 * 3 * 3) + 16 * 4 * 4 * 10
    assert profile.flops_m == pytest.approx(2 * multiply_accumulates / 1e6)
    parameters = 16 * 27 + 2 * 16 + 256 * 10 + 10
    assert profile.params_m == pytest.approx(parameters / 1e6)
    values = 4 * (parameters + 2 * 16) + 8  # running statistics, and a count of int64
    assert values < profile.bytes < values + 8192
    assert profile.to_json() == {
        "params_m": profile.params_m,
        "flops_m": profile.flops_m,
        "bytes": profile.bytes,
    }


def test_flops_of_resnet_50_are_the_published_ones() -> None:
    from torchvision.models import resnet50

    profile = profile_model(resnet50(), (224, 224, 3))
    assert profile.params_m == pytest.approx(25.557, abs=0.001)
    assert profile.flops_m / 2 == pytest.approx(
        4089, rel=0.01
    )  # He et al. 2016: 3.8e9, stride moved


def test_random_images_repeat_by_seed() -> None:
    first, again = (random_images(SHAPE, 2, 1, CPU)[0] for _ in range(2))
    assert first.shape == (2, 3, 8, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, random_images(SHAPE, 2, 1, CPU, seed=1)[0])


def test_estimates_are_seconds_an_image_and_leave_the_network_alone(one_thread: None) -> None:
    network = small_network(64)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    step = training_step_seconds(network, (16, 16, 3), 10, 64, CPU)
    forward = forward_seconds(network, (16, 16, 3), 64, CPU)
    assert 0 < forward < step < 1
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_estimates_count_no_warm_up(one_thread: None) -> None:
    log: list[dict[str, Any]] = []
    recorder = Recorder("teacher", log, 0.01)
    assert forward_seconds(recorder, SHAPE, 4, CPU, steps=3) >= 0.01 / 4
    assert len(log) == 1 + 3


def test_the_device_has_a_name_for_people() -> None:
    kind, _, model = device_name(CPU).partition(" (")
    assert kind == "cpu"
    assert len(model) > 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_latency_on_a_gpu_is_taken_after_the_device_has_finished() -> None:
    device = torch.device("cuda")
    network = small_network(256)
    result = compare_latency(network, network, (64, 64, 3), device, idle=True, seconds=1.0)
    assert 0.7 < result.ratio_batch_64.median < 1.4
    assert result.batch_64_ms.median > 0
    assert result.device.startswith("cuda (")
