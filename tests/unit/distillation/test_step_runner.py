"""Captured steps: taken from the same memory, anew for another moment, given up where no gain.

What is captured here is a tape of the tensors' operations, which as a CUDA graph knows addresses
and no Python; on a GPU, marked tests hold real graphs against steps taken one by one.
"""

import gc
import logging
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.cuda._utils import _get_device_index
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from search_spaces.networks import dense
from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import methods
from study.distillation.image_data import Augmentation, Split
from study.distillation.step_runner import (
    TIMED,
    WARM_UP,
    CudaCapture,
    Replay,
    StepRunner,
    no_capture_because,
)
from study.distillation.stepping import ready_for_capture
from study.distillation.training import (
    CachedTeacher,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)
from study.distillation.transfer import Transfer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CLASSES, SIDE, VIEWS, COUNT = 4, 8, 3, 16 * 14 + 6
BEFORE = WARM_UP + TIMED  # steps that are taken before one is captured
GENERATOR = np.random.default_rng(0)
SPLIT = Split(
    GENERATOR.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8),
    GENERATOR.integers(0, CLASSES, COUNT),
)
DATA = TrainingData(SPLIT, SPLIT, (0.4, 0.5, 0.6), (0.25, 0.25, 0.2), Augmentation(1, True))
SETTINGS = TrainingSettings(
    epochs=3, batch_size=16, learning_rate=0.05, schedule="onecycle", views=VIEWS, view_seed=11
)
KD = methods.build({"terms": "weighted", "temperature": 3.0, "alpha": 0.7})
SCHEDULED = methods.build(
    {"terms": "weighted", "temperature": 5.0, "alpha": 0.9, "temperature_schedule": "exponential",
     "temperature_end": 1.0, "temperature_decay": 0.5}
)  # fmt: skip


@pytest.fixture(autouse=True)
def _rates_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rates as tensors, as `ready_for_capture` has them on a GPU alone."""

    def as_tensors(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        if device.type == "cuda":
            ready_for_capture(optimizer, device)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)

    monkeypatch.setattr("study.distillation.trainer.ready_for_capture", as_tensors)


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation of a step with the very tensors it read and wrote."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        answer = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, answer))
        return answer

    def play(self) -> None:
        with torch.no_grad():
            for operation, args, kwargs, answer in self.operations:
                anew = operation(*args, **kwargs)
                for old, new in zip(tree_leaves(answer), tree_leaves(anew), strict=True):
                    if isinstance(old, Tensor) and old is not new:
                        old.copy_(new)


class ByTape:
    """Captures on a CPU."""

    def __init__(self) -> None:
        self.captured = 0
        self.replayed = 0

    def warm_up(self, step: Callable[[Tensor], Tensor], picks: Tensor) -> Tensor:
        return step(picks)

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        self.captured += 1
        with Tape() as tape:
            loss = step()
        taken = True  # unlike a GPU's graph, by being put on the tape

        def replay() -> Tensor:
            nonlocal taken
            self.replayed += 1
            if not taken:
                tape.play()
            taken = False
            return loss

        return replay


def residual() -> nn.Module:
    torch.manual_seed(0)
    # With four channels, oneDNN (torch 2.15) writes past a weight's gradient on AVX2 processors.
    return build(ResidualSpec((1, 1, 0, 0), "cifar", 1, width=8), CLASSES)


def with_dropout() -> nn.Module:
    torch.manual_seed(0)
    return dense.build((SIDE, SIDE, 3), (24,), CLASSES, dropout=0.4)


def answers() -> np.ndarray[Any, np.dtype[np.float16]]:
    shape = (VIEWS, COUNT, CLASSES)
    return np.random.default_rng(9).standard_normal(shape).astype(np.float16)


def trainer(
    make: Callable[[], nn.Module],
    method: methods.Method = KD,
    settings: TrainingSettings = SETTINGS,
    device: torch.device = CPU,
) -> StudentTrainer:
    teacher = CachedTeacher(answers(), device)
    return StudentTrainer(make(), method, DATA, teacher, settings, device)


def captured(monkeypatch: pytest.MonkeyPatch, run: StudentTrainer, *, pays: bool = True) -> ByTape:
    """Have a training's steps captured by tape, and found faster so, or slower."""
    tapes = ByTape()
    runner = StepRunner(run._step, CPU, None, tapes, 1e9 if pays else 0.0)
    monkeypatch.setattr(run, "_runner", runner)
    return tapes


ADAM = replace(SETTINGS, optimizer="adam", learning_rate=2e-3)


@pytest.mark.parametrize(
    ("make", "method", "settings"),
    [
        (residual, KD, SETTINGS),
        (with_dropout, KD, ADAM),
        (residual, methods.build({"terms": "ce"}), SETTINGS),
    ],
)
def test_captured_steps_are_those_taken_one_by_one(
    make: Callable[[], nn.Module],
    method: methods.Method,
    settings: TrainingSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual, run = trainer(make, method, settings), trainer(make, method, settings)
    tapes = captured(monkeypatch, run)
    for _ in range(3):
        one, other = usual.run_epoch(), run.run_epoch()
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-6)
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-6)
    for name, tensor in usual.student.state_dict().items():
        torch.testing.assert_close(run.student.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    assert tapes.captured == 1
    # All steps of 16 images but those before; the smaller last one of each epoch stays as it is.
    assert tapes.replayed == 3 * 14 - BEFORE
    assert run.steps_taken == "graph"


def test_another_temperature_is_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, run = trainer(residual, SCHEDULED), trainer(residual, SCHEDULED)
    tapes = captured(monkeypatch, run)
    for _ in range(3):
        one, other = usual.run_epoch(), run.run_epoch()
        run._runner._eager._spent = float(TIMED)  # so that each capture is repaid
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-6)
    assert tapes.captured == 3


def test_a_resumed_training_captures_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, run = trainer(residual), trainer(residual)
    tapes = captured(monkeypatch, run)
    run.run_epoch()
    state = run.state()
    run.load_state(state)
    assert run.steps_taken == "eager (not measured yet)"
    for _ in range(3):
        expected = usual.run_epoch()
    run.run_epoch()
    assert run.run_epoch().train_loss == pytest.approx(expected.train_loss, rel=1e-6)
    assert tapes.captured == 2
    assert run.steps_taken == "graph"


def test_what_is_no_faster_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual, run = trainer(residual, settings=replace(SETTINGS, epochs=3)), trainer(residual)
    tapes = captured(monkeypatch, run, pays=False)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            expected, epoch = usual.run_epoch(), run.run_epoch()
    assert epoch.train_loss == pytest.approx(expected.train_loss, rel=1e-6)
    assert tapes.replayed == WARM_UP + TIMED
    assert run.steps_taken.startswith("eager (a graph takes ")
    assert "steps are taken one by one: a graph takes" in caplog.text


class Refusing(ByTape):
    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_a_step_that_cannot_be_captured_is_taken_as_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual, run = trainer(residual), trainer(residual)
    monkeypatch.setattr(run, "_runner", StepRunner(run._step, CPU, None, Refusing()))
    with caplog.at_level(logging.WARNING):
        expected, epoch = usual.run_epoch(), run.run_epoch()
    assert epoch.train_loss == pytest.approx(expected.train_loss, rel=1e-6)
    why = "a step cannot be captured: operation not permitted when stream is capturing"
    assert run.steps_taken == f"eager ({why})"
    assert why in caplog.text


class Slow(ByTape):
    """Takes longer to capture than an epoch saves."""

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        time.sleep(0.2)
        return super().__call__(step)


def test_captures_that_no_epoch_repays_are_given_up() -> None:
    tapes = Slow()
    losses: list[Tensor] = []

    def step(picks: Tensor) -> Tensor:
        losses.append(picks.sum())
        return losses[-1].float()

    runner = StepRunner(step, CPU, None, tapes, worthwhile=1e9)
    for moment in range(3):
        for _ in range(30):
            assert runner.run(torch.ones(4, dtype=torch.int64), moment) == 4
    assert tapes.captured == 1
    assert runner.way == "eager (every epoch needs a graph of its own, and does not repay it)"


def test_no_step_is_timed_together_with_what_lies_between_two_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("study.distillation.step_runner.time.perf_counter", lambda: clock[0])

    def step(picks: Tensor) -> Tensor:
        clock[0] += 1.0
        return picks.sum().float()

    runner = StepRunner(step, CPU, None, ByTape(), worthwhile=1e9)
    picks = torch.ones(4, dtype=torch.int64)
    # Epochs of four steps, each too short to be timed by itself, add up.
    for taken in range(WARM_UP + TIMED):
        assert not runner._eager.known
        runner.run(picks, 0)
        if taken % 4 == 3:
            runner.end_epoch()
            clock[0] += 100.0
    assert runner._eager.known
    assert runner._eager.seconds == 1.0


@pytest.mark.parametrize("settings", [SETTINGS, ADAM], ids=["sgd", "adam"])
def test_the_first_step_of_a_new_optimiser_is_never_captured(
    settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    phased = replace(settings, epochs=4, transfer=Transfer("all", 0.5, 1.0))
    usual, run = trainer(residual, settings=phased), trainer(residual, settings=phased)
    tapes = captured(monkeypatch, run)
    for _ in range(4):
        one, other = usual.run_epoch(), run.run_epoch()
        if run.steps_taken == "graph":
            run._runner._eager._spent = 1e6 * TIMED  # so that each capture is repaid
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-6)
    assert tapes.captured == 2


def test_a_training_that_is_dropped_leaves_nothing_behind() -> None:
    run = trainer(residual)
    run.run_epoch()
    held = weakref.ref(run), weakref.ref(run.student)
    gc.collect()
    gc.disable()
    try:
        del run
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


def test_a_graph_is_refused_where_memory_may_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fraction(device: Any) -> float:
        index: int = _get_device_index(device)  # as torch itself: "cuda" alone is no device to it
        return 0.25 if index == 0 else 1.0

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 11e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 80e9))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", fraction)
    for device in ("cuda", "cuda:0"):
        with pytest.raises(RuntimeError, match=r"may need 22\.0 of 20\.0 GB"):
            CudaCapture(torch.device(device))(lambda: torch.zeros(()))


class Foreign(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


class Own:
    name = "response"

    def loss(self, answers: Any) -> dict[str, Tensor]:
        return {}


def test_what_may_compute_by_python_anew_in_each_step_is_not_captured() -> None:
    gpu = torch.device("cuda")
    own: Any = Own()
    self_method = methods.build(
        {"method": "self", "alpha": 0.5, "feature_weight": 0.1, "exit": "all"}
    )
    assert no_capture_because(residual(), KD, 0.0, gpu) is None
    assert no_capture_because(residual(), methods.build({"terms": "ce"}), 0.0, gpu) is None
    assert no_capture_because(residual(), self_method, 0.0, gpu) is None
    assert no_capture_because(residual(), KD, 0.0, CPU) == "not on a GPU"
    assert "mixed" in str(no_capture_because(residual(), KD, 0.2, gpu))
    assert "the space's own" in str(no_capture_because(residual(), own, 0.0, gpu))
    foreign = nn.Sequential(residual(), Foreign())
    assert str(no_capture_because(foreign, KD, 0.0, gpu)).startswith("the network has modules of")
    assert no_capture_because(residual(), KD, 0.0, gpu, residual()) is None
    asked = no_capture_because(residual(), KD, 0.0, gpu, foreign)
    assert str(asked).startswith("the teacher has modules of")


def are_alike_on_a_gpu(
    make: Callable[[], nn.Module], settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train step by step and by graphs, and hold each epoch of the one against the other's."""
    cuda = torch.device("cuda")
    usual, run = trainer(make, KD, settings, cuda), trainer(make, KD, settings, cuda)
    monkeypatch.setattr(usual, "_runner", StepRunner(usual._step, cuda, "to be compared with"))
    monkeypatch.setattr(run, "_runner", StepRunner(run._step, cuda, worthwhile=1e9))
    for _ in range(settings.epochs):
        # Kernels that add up in any order part two trainings by a little more each epoch.
        one, other = usual.run_epoch(), run.run_epoch()
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-2)
    assert run.steps_taken == "graph"


@pytest.mark.gpu
@pytest.mark.parametrize("make", [residual, with_dropout])
@pytest.mark.parametrize("settings", [SETTINGS, ADAM], ids=["sgd", "adam"])
def test_a_graph_takes_the_steps_that_are_taken_one_by_one(
    make: Callable[[], nn.Module], settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    are_alike_on_a_gpu(make, settings, monkeypatch)


@pytest.mark.gpu
def test_after_a_step_that_cannot_be_captured_dropout_and_other_graphs_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = torch.device("cuda")
    usual, run = trainer(with_dropout, device=cuda), trainer(with_dropout, device=cuda)
    monkeypatch.setattr(usual, "_runner", StepRunner(usual._step, cuda, "to be compared with"))

    def read_back(picks: Tensor) -> Tensor:
        loss = run._step(picks)
        loss.item()  # which no graph can
        return loss

    monkeypatch.setattr(run, "_runner", StepRunner(read_back, cuda, worthwhile=1e9))
    for _ in range(2):
        one, other = usual.run_epoch(), run.run_epoch()
        assert other.epoch == one.epoch
    assert run.steps_taken.startswith("eager (a step cannot be captured")
    next_one = trainer(with_dropout, device=cuda)
    monkeypatch.setattr(next_one, "_runner", StepRunner(next_one._step, cuda, worthwhile=1e9))
    next_one.run_epoch()
    assert next_one.steps_taken == "graph"


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [SETTINGS, ADAM], ids=["sgd", "adam"])
def test_a_second_phase_is_captured_as_it_is_taken_step_by_step(
    settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    phased = replace(settings, epochs=4, transfer=Transfer("all", 0.5, 1.0))
    are_alike_on_a_gpu(residual, phased, monkeypatch)


@pytest.mark.gpu
def test_a_training_goes_from_a_cpu_to_a_gpu_and_back() -> None:
    cuda = torch.device("cuda")
    first = trainer(with_dropout, settings=ADAM)
    first.run_epoch()
    second = trainer(with_dropout, settings=ADAM, device=cuda)
    second.load_state(first.state())
    second.run_epoch()
    third = trainer(with_dropout, settings=ADAM)
    third.load_state(second.state())
    assert third.run_epoch().epoch == 3
