"""How close a predicted image is to the true one: PSNR and SSIM."""

from typing import cast

import torch
from torch import Tensor

from study.distillation.precision import every_digit

# Of an 8-bit image no more is known than its levels, whose rounding alone is an error of this
# mean square: without it one blank image would be worth infinitely much.
_ROUNDING = (1 / 255) ** 2 / 12


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, `10 · log10(1 / MSE)` (dB).

    At most 58.9 dB: an error below the rounding of 8-bit levels counts as that.

    Args:
        predicted: `(batch, channels, height, width)`, scale 0..1; what lies beyond is clipped.
        true: Likewise.

    Returns:
        float32 `(batch,)`.
    """
    error = (predicted.float().clamp(0, 1) - true.float()).square().flatten(1).mean(dim=1)
    return -10 * torch.log10(error.clamp_min(_ROUNDING))


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al., 2004), 1 for the same image.

    With a Gaussian window of deviation 1.5, over 11 pixels, as torchmetrics computes it.

    Args:
        predicted: `(batch, channels, height, width)`, scale 0..1; what lies beyond is clipped.
        true: Likewise, of 6 pixels or more a side.

    Returns:
        float32 `(batch,)`.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    # Differences of squares, which are nearly alike.
    with every_digit():
        value = structural_similarity_index_measure(
            predicted.float().clamp(0, 1), true.float(), data_range=1.0, reduction="none"
        )
    return cast(Tensor, value).reshape(len(true))
