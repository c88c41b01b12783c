"""PSNR and SSIM against their definitions and against torchmetrics."""

import math

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from study.distillation.image_metrics import psnr, ssim


def images(seed: int, count: int = 5) -> torch.Tensor:
    return torch.rand(count, 3, 20, 24, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error_is_its_decibels() -> None:
    true = torch.full((2, 3, 8, 8), 0.5)
    predicted = torch.stack([true[0] + 0.1, true[1] - 0.01])

    assert psnr(predicted, true).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)


def test_psnr_is_that_of_torchmetrics_image_by_image() -> None:
    predicted, true = images(0), images(1)
    metric = PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), reduction="none")

    assert psnr(predicted, true).tolist() == pytest.approx(metric(predicted, true).tolist())


def test_an_exact_prediction_is_worth_no_more_than_the_rounding_of_8_bits() -> None:
    true = images(0)

    assert psnr(true, true).tolist() == pytest.approx([10 * math.log10(12 * 255**2)] * 5)


def test_what_lies_beyond_the_scale_is_clipped() -> None:
    true = torch.ones(1, 3, 8, 8)

    assert psnr(true + 5, true).tolist() == psnr(true, true).tolist()
    assert ssim(true + 5, true).tolist() == pytest.approx([1.0])


def test_ssim_is_that_of_torchmetrics_and_its_mean_over_images() -> None:
    predicted, true = images(2), images(3)
    metric = StructuralSimilarityIndexMeasure(data_range=1.0)

    assert ssim(predicted, true).shape == (5,)
    assert ssim(predicted, true).mean().item() == pytest.approx(metric(predicted, true).item())
    assert ssim(true, true).tolist() == pytest.approx([1.0] * 5)


def test_one_image_gives_one_value() -> None:
    assert ssim(images(0, 1), images(1, 1)).shape == psnr(images(0, 1), images(1, 1)).shape == (1,)
