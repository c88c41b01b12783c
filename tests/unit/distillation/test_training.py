"""Training a student: exactly repeatable, exactly resumable, and fed what it should be fed."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import checkpoint, methods
from study.distillation.image_data import Augmentation, Split
from study.distillation.stepping import LossLog
from study.distillation.training import (
    CachedTeacher,
    Diverged,
    EpochMetrics,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)
from study.distillation.views import apply_view, normalise, to_nchw, view_draws

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CLASSES, SIDE, VIEWS = 4, 8, 3
MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.25, 0.2)
AUGMENTATION = Augmentation(pad=1, flip=True)
SETTINGS = TrainingSettings(
    epochs=3, batch_size=16, learning_rate=0.1, schedule="onecycle", views=VIEWS, view_seed=11
)
CE = methods.build({"terms": "ce"})
KD = methods.build({"terms": "weighted", "temperature": 3.0, "alpha": 0.7})


def make_split(count: int, seed: int) -> Split:
    """Noise, with more red, more green, both or neither: that is the label."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    images = generator.integers(0, 150, (count, SIDE, SIDE, 3), dtype=np.uint8)
    images[labels % 2 == 1, :, :, 0] += 60
    images[labels >= 2, :, :, 1] += 60
    return Split(images, labels)


TRAIN, VALIDATION = make_split(70, 0), make_split(50, 1)
DATA = TrainingData(TRAIN, VALIDATION, MEAN, STD, AUGMENTATION)


def student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(ResidualSpec((1, 1, 0, 0), "cifar", 1, width=8), CLASSES)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE * 3, CLASSES))


def with_dropout() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
        nn.Linear(288, CLASSES),
    )  # fmt: skip


def trainer(
    model: nn.Module | None = None,
    method: methods.Method = CE,
    data: TrainingData = DATA,
    teacher: Any = None,
    settings: TrainingSettings = SETTINGS,
) -> StudentTrainer:
    return StudentTrainer(model or student(), method, data, teacher, settings, CPU)


def train(run: StudentTrainer, epochs: int) -> list[EpochMetrics]:
    return [run.run_epoch() for _ in range(epochs)]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def augmented(view: int, rows: Tensor, seed: int = 11) -> Tensor:
    draws = view_draws(seed, view, len(TRAIN), AUGMENTATION)
    return apply_view(torch.from_numpy(TRAIN.images)[rows], draws.take(rows))


@pytest.fixture(scope="module")
def outputs() -> np.ndarray[Any, np.dtype[np.float16]]:
    shape = (VIEWS, len(TRAIN), CLASSES)
    return np.random.default_rng(9).standard_normal(shape).astype(np.float16)


class Spy:
    """A teacher that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Tensor, Tensor]] = []

    def answers(
        self, view: int, rows: Tensor, images: Tensor, taps: tuple[str, ...] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        self.asked.append((view, rows.clone(), images.clone()))
        return torch.zeros(len(rows), CLASSES), ()


# Repeating and resuming


def test_alpha_zero_is_cross_entropy_to_the_last_bit(outputs: Any) -> None:
    control, undistilled = trainer(), trainer(
        method=methods.build({"terms": "weighted", "temperature": 4.0, "alpha": 0.0}),
        teacher=CachedTeacher(outputs),
    )  # fmt: skip
    ours, theirs = train(control, 2), train(undistilled, 2)
    assert same_weights(control.student, undistilled.student)
    assert [m.train_loss for m in ours] == [m.train_loss for m in theirs]
    assert [m.val_loss for m in ours] == [m.val_loss for m in theirs]


def test_the_same_seed_gives_the_same_trial_and_another_does_not(outputs: Any) -> None:
    runs = [
        trainer(method=KD, teacher=CachedTeacher(outputs), settings=replace(SETTINGS, seed=seed))
        for seed in (5, 5, 6)
    ]
    for run in runs:
        train(run, 2)
    assert same_weights(runs[0].student, runs[1].student)
    assert not same_weights(runs[0].student, runs[2].student)


@pytest.mark.parametrize("make", [student, with_dropout])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_training_ends_in_the_very_same_weights(
    make: Callable[[], nn.Module], stop: int, outputs: Any, tmp_path: Path
) -> None:
    whole = trainer(make(), KD, teacher=CachedTeacher(outputs))
    metrics = train(whole, 3)

    begun = trainer(make(), KD, teacher=CachedTeacher(outputs))
    train(begun, stop)
    checkpoint.save(tmp_path / "last.pt", begun.state())

    resumed = trainer(make(), KD, teacher=CachedTeacher(outputs))
    torch.manual_seed(1234)  # a new process is in another random state
    resumed.load_state(checkpoint.load(tmp_path / "last.pt"))
    assert resumed.epochs_done == stop
    rest = train(resumed, 3 - stop)

    assert same_weights(whole.student, resumed.student)
    assert [replace(m, seconds=0) for m in rest] == [replace(m, seconds=0) for m in metrics[stop:]]


def test_a_state_stays_as_it_was_while_the_training_goes_on() -> None:
    run = trainer()
    train(run, 1)
    state = run.state()
    before = [tensor.clone() for tensor in state["model"].values()]
    momenta = [entry["momentum_buffer"].clone() for entry in state["optimizer"]["state"].values()]
    train(run, 1)
    resumed = trainer()
    resumed.load_state(state)
    train(resumed, 1)
    assert all(map(torch.equal, before, state["model"].values()))
    after = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    assert all(map(torch.equal, momenta, after))
    assert same_weights(run.student, resumed.student)


def test_a_state_of_other_settings_is_refused() -> None:
    state = trainer().state()
    with pytest.raises(ValueError, match=r"reached with learning_rate 0\.1, not 0\.2"):
        trainer(settings=replace(SETTINGS, learning_rate=0.2)).load_state(state)
    trainer(settings=replace(SETTINGS, precision="bfloat16")).load_state(state)


def test_training_leaves_the_random_state_of_the_process_alone() -> None:
    run = trainer(with_dropout())
    before = torch.get_rng_state()
    train(run, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_student_whose_latency_was_measured_still_trains_in_train_mode() -> None:
    fresh, measured = trainer(with_dropout()), trainer(with_dropout().eval())
    train(fresh, 1)
    train(measured, 1)
    assert same_weights(fresh.student, measured.student)


def test_there_is_no_epoch_after_the_last() -> None:
    run = trainer(linear(), settings=replace(SETTINGS, epochs=1))
    train(run, 1)
    with pytest.raises(RuntimeError, match="all 1 epochs are done"):
        run.run_epoch()


# What the student is fed


def test_a_teacher_that_is_not_needed_is_never_asked() -> None:
    spy = Spy()
    train(trainer(linear(), teacher=spy), 1)
    assert not spy.asked


def test_a_teacher_that_is_lacking_or_too_small_is_named(outputs: Any) -> None:
    with pytest.raises(ValueError, match="method response needs a teacher"):
        trainer(method=KD)
    with pytest.raises(ValueError, match="70 images under 2 views; 70 under 3 are needed"):
        trainer(method=KD, teacher=CachedTeacher(outputs[:2]))
    with pytest.raises(ValueError, match="60 images under 3 views"):
        trainer(method=KD, teacher=CachedTeacher(outputs[:, :60]))
    with pytest.raises(ValueError, match="float32"):
        CachedTeacher(outputs.astype(np.float32))


def test_every_epoch_shows_each_image_once_in_a_new_order_under_the_next_view() -> None:
    spy = Spy()
    train(trainer(linear(), KD, teacher=spy, settings=replace(SETTINGS, epochs=5)), 5)
    steps = 5  # 70 images, 16 at a time
    epochs = [spy.asked[start : start + steps] for start in range(0, 5 * steps, steps)]
    assert [{view for view, _, _ in epoch} for epoch in epochs] == [{0}, {1}, {2}, {0}, {1}]
    orders = [torch.cat([rows for _, rows, _ in epoch]).tolist() for epoch in epochs]
    assert all(sorted(order) == list(range(70)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    for view, rows, images in spy.asked:
        assert torch.equal(images, augmented(view, rows))


def test_the_views_follow_the_seed_unless_they_have_one_of_their_own() -> None:
    spy, own = Spy(), Spy()
    settings = replace(SETTINGS, seed=5, view_seed=None)
    train(trainer(linear(), KD, teacher=spy, settings=settings), 1)
    train(trainer(linear(), KD, teacher=own, settings=replace(settings, view_seed=11)), 1)
    for (view, rows, images), (_, same_rows, others) in zip(spy.asked, own.asked, strict=True):
        assert torch.equal(rows, same_rows)
        assert torch.equal(images, augmented(view, rows, seed=5))
        assert torch.equal(others, augmented(view, rows, seed=11))


def test_a_reduced_train_set_keeps_the_rows_and_views_of_the_full_one() -> None:
    kept = np.array([2, 3, 5, 30, 31, 64, 69])
    spy = Spy()
    data = replace(DATA, train=TRAIN.take(kept), rows=kept)
    train(trainer(linear(), KD, data, spy, replace(SETTINGS, batch_size=4)), 2)
    assert sorted(torch.cat([rows for _, rows, _ in spy.asked[:2]]).tolist()) == kept.tolist()
    for view, rows, images in spy.asked:
        assert torch.equal(images, augmented(view, rows))


@pytest.mark.parametrize(("count", "sizes"), [(33, [16, 16]), (34, [16, 16, 2]), (5, [5])])
def test_a_last_batch_of_one_image_is_left_out(count: int, sizes: list[int]) -> None:
    spy = Spy()
    train(trainer(linear(), KD, replace(DATA, train=TRAIN.take(np.arange(count))), spy), 1)
    assert [len(rows) for _, rows, _ in spy.asked] == sizes


# Losses, scores, rates


def test_the_train_loss_is_the_mean_over_images() -> None:
    settings = replace(SETTINGS, learning_rate=1e-12)
    data = replace(DATA, augmentation=Augmentation(pad=0, flip=False))
    metrics = trainer(linear(), data=data, settings=settings).run_epoch()
    images = normalise(to_nchw(torch.from_numpy(TRAIN.images)), MEAN, STD)
    expected = functional.cross_entropy(linear()(images), torch.from_numpy(TRAIN.labels))
    assert metrics.train_loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_student_learns_from_labels() -> None:
    metrics = train(trainer(settings=replace(SETTINGS, epochs=8)), 8)
    assert [m.epoch for m in metrics] == list(range(1, 9))
    assert metrics[-1].val_score > 90
    assert metrics[-1].train_loss < 0.5 * metrics[0].train_loss
    rates = [m.learning_rate for m in metrics]
    assert max(rates) < 0.1
    assert rates[-1] < 1e-5


def test_seconds_are_those_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert trainer(linear()).run_epoch().seconds == 2.5


@pytest.mark.parametrize("bad_step", [1, 4])
def test_a_loss_that_is_not_finite_ends_the_trial_by_name(bad_step: int) -> None:
    class Breaking(Spy):
        def answers(
            self, view: int, rows: Tensor, images: Tensor, taps: tuple[str, ...] = ()
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            logits, _ = super().answers(view, rows, images)
            return logits * torch.nan if len(self.asked) == 5 + bad_step else logits, ()

    run = trainer(linear(), KD, teacher=Breaking())
    run.run_epoch()
    with pytest.raises(Diverged, match=rf"nan in epoch 2 at step {bad_step} \(learning rate 0\.\d"):
        run.run_epoch()


def test_a_loss_is_found_out_at_the_end_of_the_epoch_if_it_is_read_seldom() -> None:
    log = LossLog(epoch=0, steps_between_readings=10)
    for loss in [1.0, 2.0, 3.0, torch.inf]:
        log.add(torch.tensor(loss), 16, 0.1)
    with pytest.raises(Diverged, match=r"inf in epoch 1 at step 4 \(learning rate 0.1\)"):
        log.mean()


def test_weights_that_broke_in_the_last_step_are_found_by_the_validation() -> None:
    settings = replace(SETTINGS, epochs=1, batch_size=64, learning_rate=1e38, schedule="cosine")
    data = replace(DATA, train=TRAIN.take(np.arange(64)))
    with pytest.raises(Diverged, match=r"validation loss is (nan|inf) after epoch 1"):
        trainer(linear(), data=data, settings=settings).run_epoch()


def test_bfloat16_trains_much_as_float32_does() -> None:
    full = train(trainer(), 2)
    half = train(trainer(settings=replace(SETTINGS, precision="bfloat16")), 2)
    assert half[1].train_loss == pytest.approx(full[1].train_loss, rel=0.1)
    assert half[1].train_loss != full[1].train_loss


def test_the_steps_are_those_of_torchs_sgd_under_torchs_one_cycle() -> None:
    spy = Spy()
    run = trainer(linear(), KD, teacher=spy)
    train(run, SETTINGS.epochs)

    model = linear()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    sgd = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        sgd, 0.1, total_steps=15, anneal_strategy="linear", cycle_momentum=False
    )
    for step, (_, rows, images) in enumerate(spy.asked):
        labels = torch.from_numpy(TRAIN.labels)[rows]
        logits = model(normalise(images, MEAN, STD))
        sgd.zero_grad()
        KD.loss(methods.Answers(logits, labels, torch.zeros(len(rows), CLASSES)))["loss"].backward()
        sgd.step()
        if step < 14:
            cycle.step()
    for ours, theirs in zip(run.student.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_optimiser_decays_weights_but_no_biases_or_norms() -> None:
    run = trainer()
    decayed, spared = run._optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0.0)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in spared["params"])
    parameters = list(run.student.parameters())
    assert len(decayed["params"]) + len(spared["params"]) == len(parameters)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in parameters if p.ndim > 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"schedule": "step"}, "no schedule 'step'; choose onecycle, cosine"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_data_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        trainer(linear(), data=replace(DATA, train=TRAIN.take(np.array([0]))))
    with pytest.raises(ValueError, match="for 70 training images"):
        replace(DATA, rows=np.arange(3))
