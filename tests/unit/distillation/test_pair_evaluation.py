"""Scores, strips and the floor of pairs, with networks whose answers are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.networks.autoencoder import Stages, TranslatorPair
from study.distillation.image_metrics import psnr, ssim
from study.distillation.pair_data import PairSplit
from study.distillation.pair_evaluation import (
    ResidentPairs,
    mean_answer_psnr,
    score_pairs,
    translated,
)

CPU = torch.device("cpu")


def make_pairs(count: int, seed: int = 0, side: int = 32, channels: int = 3) -> PairSplit:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 256, (2, count, side, side, channels), dtype=np.uint8)
    return PairSplit(x, y)


class Copies(nn.Module):
    """Answers each image with itself."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Stages, Stages]:
        return Stages(x, (), ()), Stages(y, (), ())


def floats(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def test_each_direction_is_scored_against_its_own_truth() -> None:
    split = make_pairs(5)

    found = score_pairs(Copies(), ResidentPairs.of(split, CPU), with_ssim=True, batch_size=2)

    x, y = floats(split.x), floats(split.y)
    assert found.psnr_x_to_y == pytest.approx(psnr(x, y).mean().item(), rel=1e-5)
    assert found.psnr_y_to_x == pytest.approx(psnr(y, x).mean().item(), rel=1e-5)
    assert found.ssim_x_to_y == pytest.approx(ssim(x, y).mean().item(), abs=1e-5)
    assert found.score == pytest.approx((found.psnr_x_to_y + found.psnr_y_to_x) / 2)
    # |x - y| on a scale of 2, once in each direction.
    assert found.loss == pytest.approx(4 * (x - y).abs().mean().item(), rel=1e-5)


def test_the_scores_do_not_depend_on_the_batches_and_the_mode_is_kept() -> None:
    torch.manual_seed(0)
    model, split = TranslatorPair(3, 4).train(), ResidentPairs.of(make_pairs(5), CPU)

    together, apart = (score_pairs(model, split, batch_size=size) for size in (5, 2))

    assert model.training
    assert together.ssim_x_to_y is None
    assert together.score == pytest.approx(apart.score, rel=1e-5)
    assert together.loss == pytest.approx(apart.loss, rel=1e-5)


def test_translated_pairs_hold_what_was_made_of_x_as_y_and_of_y_as_x() -> None:
    split = make_pairs(3)

    made = translated(Copies(), split, CPU)

    assert (made.y == split.x).all()
    assert (made.x == split.y).all()


def test_what_lies_beyond_the_scale_is_drawn_black_or_white() -> None:
    class Beyond(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> tuple[Stages, Stages]:
            return Stages(x + 9, (), ()), Stages(y - 9, (), ())

    made = translated(Beyond(), make_pairs(1), CPU)

    assert (made.y == 255).all()
    assert (made.x == 0).all()


def flat(x: int, y: int) -> PairSplit:
    return PairSplit(*(np.full((1, 8, 8, 3), level, dtype=np.uint8) for level in (x, y)))


def test_the_floor_is_the_score_of_always_answering_the_mean_training_image() -> None:
    dark, light = flat(0, 100), flat(100, 200)
    train = PairSplit(np.concatenate([dark.x, light.x]), np.concatenate([dark.y, light.y]))

    found = mean_answer_psnr(train, flat(50 + 51, 150 - 30))

    assert found == pytest.approx((psnr_of(51) + psnr_of(30)) / 2, rel=1e-5)


def psnr_of(levels: float) -> float:
    """PSNR (dB) of an answer that is off by so many of 255 levels everywhere."""
    return 20 * math.log10(255 / levels)


def test_pairs_of_other_shapes_are_no_pairs() -> None:
    images = make_pairs(2).x
    with pytest.raises(ValueError, match="are no pairs of images"):
        PairSplit(images, images[:1])
    with pytest.raises(ValueError, match="not C-contiguous uint8"):
        PairSplit(images[:, ::2], images[:, ::2])
