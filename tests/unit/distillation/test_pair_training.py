"""Training two autoencoders on pairs: exactly repeatable, exactly resumable, both halves alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.networks.autoencoder import TranslatorPair
from study.distillation import checkpoint
from study.distillation.image_data import Augmentation
from study.distillation.methods.cross_domain import CrossDomain, make_adapter
from study.distillation.pair_data import PairData, PairSplit
from study.distillation.pair_training import PairTrainer, training_step_seconds
from study.distillation.training import Diverged, EpochMetrics, TrainingSettings
from study.distillation.views import normalise, view_draws

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SIDE = 32
SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=4,
    learning_rate=2e-3,
    schedule="onecycle",
    optimizer="adam",
    views=2,
    view_seed=11,
)
CONTROL = CrossDomain()
CONNECTED = CrossDomain(((1, 4), (2, 3)), alpha=0.3, mirrored=True, adapter="conv")


def make_pairs(count: int, seed: int) -> PairSplit:
    """Grey ramps of random slope, and their negatives."""
    generator = np.random.default_rng(seed)
    slopes = generator.uniform(1, 7, (count, 1, 1, 3))
    x = (np.arange(SIDE).reshape(1, 1, SIDE, 1) * slopes).repeat(SIDE, axis=1).astype(np.uint8)
    return PairSplit(x, 255 - x)


def make_data(flip: bool = True) -> PairData:
    return PairData(
        "ramps", make_pairs(13, 0), make_pairs(5, 1), make_pairs(5, 2),
        Augmentation(pad=0, flip=flip), "0", "made here",
    )  # fmt: skip


DATA = make_data()


def trainer(
    method: CrossDomain = CONTROL,
    settings: TrainingSettings = SETTINGS,
    data: PairData = DATA,
    seed: int = 0,
) -> PairTrainer:
    torch.manual_seed(seed)
    return PairTrainer(TranslatorPair(3, 4), method, data, settings, CPU)


def train(run: PairTrainer, epochs: int) -> list[EpochMetrics]:
    return [replace(run.run_epoch(), seconds=0) for _ in range(epochs)]


def weights(run: PairTrainer) -> dict[str, Any]:
    return run.state()["model"] | run.state()["lesson"]


def assert_same(one: PairTrainer, other: PairTrainer) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


def test_both_directions_learn() -> None:
    settings = replace(SETTINGS, epochs=12, learning_rate=1e-2)
    run = trainer(CONNECTED, settings)

    metrics = train(run, 12)

    assert [epoch.epoch for epoch in metrics] == list(range(1, 13))
    assert metrics[-1].train_loss < metrics[0].train_loss / 2
    assert metrics[-1].val_score > metrics[0].val_score + 3
    assert run.scores is not None
    assert metrics[-1].val_score == run.scores.score
    assert metrics[-1].val_loss == run.scores.loss


def test_the_same_seed_trains_to_the_same_bits_and_another_to_others() -> None:
    one, other = trainer(CONNECTED), trainer(CONNECTED)
    assert train(one, 2) == train(other, 2)
    assert_same(one, other)

    elsewhere = trainer(CONNECTED, replace(SETTINGS, seed=1))
    train(elsewhere, 2)
    assert not torch.equal(
        weights(one)["x_to_y.head.weight"], weights(elsewhere)["x_to_y.head.weight"]
    )


def test_a_resumed_training_takes_the_very_same_steps(tmp_path: Path) -> None:
    whole = trainer(CONNECTED)
    metrics = train(whole, 3)

    first = trainer(CONNECTED)
    train(first, 1)
    checkpoint.save(tmp_path / "last.pt", first.state())
    resumed = trainer(CONNECTED, seed=5)
    resumed.load_state(checkpoint.load(tmp_path / "last.pt"))

    assert resumed.epochs_done == 1
    assert train(resumed, 2) == metrics[1:]
    assert_same(whole, resumed)


def test_a_state_of_other_settings_is_refused() -> None:
    state = trainer().state()
    with pytest.raises(ValueError, match="reached with batch_size 4, not 5"):
        trainer(settings=replace(SETTINGS, batch_size=5)).load_state(state)


def test_at_alpha_0_the_training_is_that_of_the_control_to_the_bit() -> None:
    control, zero = trainer(), trainer(CrossDomain(((1, 4),), alpha=0.0, adapter="conv"))
    assert train(control, 2) == train(zero, 2)
    assert_same(control, zero)


def test_twins_begin_with_the_same_weights_whatever_their_adapter() -> None:
    control, connected = trainer(), trainer(CONNECTED)
    for name, value in control.student.state_dict().items():
        assert torch.equal(value, connected.student.state_dict()[name])


def test_the_adapter_learns_beside_the_students_and_is_no_part_of_them() -> None:
    run = trainer(CONNECTED)
    before = run.state()["lesson"]
    train(run, 1)

    # Two connections, and their mirrored pairs.
    assert sorted(before) == [f"{i}.{name}" for i in range(4) for name in ("bias", "weight")]
    assert before["1.weight"].shape == (8, 8, 2, 2)
    assert not torch.equal(before["0.weight"], run.state()["lesson"]["0.weight"])
    assert run.student.state_dict().keys() == TranslatorPair(3, 4).state_dict().keys()


def test_the_loss_is_that_of_the_formula_over_the_maps_that_are_connected() -> None:
    method = CrossDomain(((1, 4),), alpha=0.25, adapter="maxpool")
    settings = replace(SETTINGS, epochs=1, batch_size=13)
    data = make_data(flip=False)
    run = trainer(method, settings, data)
    torch.manual_seed(0)
    pair = TranslatorPair(3, 4)
    half = (0.5,) * 3
    x, y = (
        normalise(torch.from_numpy(images).permute(0, 3, 1, 2), half, half)
        for images in (data.train.x, data.train.y)
    )
    to_y, to_x = pair(x, y)
    features = (to_y.encoded[0] - make_adapter("maxpool", 4)(to_x.decoded[3])).square().mean()
    images = (to_y.output - y).abs().mean() + (to_x.output - x).abs().mean()

    loss = run.run_epoch().train_loss

    assert loss == pytest.approx((0.75 * images + 0.25 * features).item(), rel=1e-5)


def test_mirrored_connections_compare_the_other_direction_too() -> None:
    once, twice = (
        trainer(CrossDomain(((1, 4),), 0.5, mirrored), replace(SETTINGS, epochs=1)).run_epoch()
        for mirrored in (False, True)
    )
    assert twice.train_loss > once.train_loss


def test_the_two_halves_of_a_pair_are_flipped_together() -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watched(TranslatorPair):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            if self.training:
                seen.append((x, y))
            return super().forward(x, y)

    settings = replace(SETTINGS, batch_size=13)
    PairTrainer(Watched(3, 4), CONTROL, DATA, settings, CPU).run_epoch()

    ((x, y),) = seen
    # Y is the negative of X, and stays it; a ramp that falls is one that was flipped.
    assert torch.allclose(x, -y, atol=1e-6)
    flipped = (x[:, 0, 0, 0] > x[:, 0, 0, -1]).sum()
    assert flipped == view_draws(11, 0, 13, DATA.augmentation).flip.sum()
    assert 0 < flipped < 13


def test_weights_that_broke_end_the_trial_by_name() -> None:
    run = trainer(settings=replace(SETTINGS, learning_rate=1e38, optimizer="sgd"))
    with pytest.raises(Diverged, match=r"(nan|inf) (in epoch 1|after epoch 1)"):
        run.run_epoch()


def test_a_last_batch_of_one_pair_is_left_out_and_no_epoch_follows_the_last() -> None:
    run = trainer(settings=replace(SETTINGS, epochs=1, batch_size=12))
    run.run_epoch()
    with pytest.raises(RuntimeError, match="all 1 epochs are done"):
        run.run_epoch()
    with pytest.raises(ValueError, match="at least 2 pairs, got 1"):
        trainer(data=replace(DATA, train=make_pairs(1, 0)))


def test_bfloat16_trains_much_as_float32_does() -> None:
    full = train(trainer(CONNECTED), 2)
    half = train(trainer(CONNECTED, replace(SETTINGS, precision="bfloat16")), 2)
    assert half[1].train_loss == pytest.approx(full[1].train_loss, rel=0.1)
    assert half[1].train_loss != full[1].train_loss


def test_a_step_is_timed_and_the_students_stay_as_they_are() -> None:
    torch.manual_seed(0)
    pair: nn.Module = TranslatorPair(3, 4)
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    assert isinstance(pair, TranslatorPair)

    assert training_step_seconds(pair, (SIDE, SIDE, 3), 4, CPU) > 0

    assert all(torch.equal(before[name], value) for name, value in pair.state_dict().items())
