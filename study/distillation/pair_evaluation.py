"""Scoring a pair of autoencoders on the plain pairs of a split, and having them translate some."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.distillation.image_data import Images
from study.distillation.image_metrics import psnr, ssim
from study.distillation.methods.cross_domain import absolute_error
from study.distillation.pair_data import PairSplit
from study.distillation.precision import Precision, autocast
from study.distillation.resident import batch_for, borrow
from study.distillation.views import Normalizer


@dataclass(frozen=True, eq=False)
class ResidentPairs:
    """A split of pairs as tensors on one device, uint8 `(n, height, width, channels)` each."""

    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, split: PairSplit, device: torch.device) -> "ResidentPairs":
        """Put a split on `device`; on the CPU it stays where it is, without a copy."""
        return cls(borrow(split.x).to(device), borrow(split.y).to(device))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.x)


@dataclass(frozen=True)
class PairScores:
    """How well both directions translate a split: means over its images.

    Attributes:
        loss: `|O1 - Y| + |O2 - X|`, on the scale -1 to 1.
        psnr_x_to_y: dB.
        psnr_y_to_x: dB.
        ssim_x_to_y: At most 1; None where it was not asked for.
        ssim_y_to_x: Likewise.
    """

    loss: float
    psnr_x_to_y: float
    psnr_y_to_x: float
    ssim_x_to_y: float | None = None
    ssim_y_to_x: float | None = None

    @property
    def score(self) -> float:
        """Mean PSNR of the two directions (dB)."""
        return (self.psnr_x_to_y + self.psnr_y_to_x) / 2

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def pair_normalizer(channels: int, device: torch.device) -> Normalizer:
    """Bring images to the scale from -1 to 1, on which a network answers."""
    return Normalizer((0.5,) * channels, (0.5,) * channels, device)


@torch.inference_mode()
def score_pairs(
    model: nn.Module,
    split: ResidentPairs,
    precision: Precision = "float32",
    *,
    with_ssim: bool = False,
    batch_size: int | None = None,
) -> PairScores:
    """Score both directions.

    Args:
        model: Called as `model(x, y)` with images from -1 to 1; returns two objects with the
            translated images as `output`, Y and X. Scored in eval mode, left in the mode it was in.
        split: On the model's device.
        precision: Format of the forward pass.
        with_ssim: Whether to compute SSIM, which takes longer than the networks.
        batch_size: Pairs at a time; None for what suits their size and the device.
    """
    device, channels = split.x.device, split.x.shape[3]
    normalize = pair_normalizer(channels, device)
    training = model.training
    model.eval()
    sums = torch.zeros(5, dtype=torch.float64, device=device)
    size = batch_size or batch_for(split.x)
    for x_bytes, y_bytes in zip(
        torch.split(split.x, size), torch.split(split.y, size), strict=True
    ):
        x, y = (normalize(images.permute(0, 3, 1, 2)) for images in (x_bytes, y_bytes))
        to_y, to_x = _translate(model, x, y, precision)
        values = [absolute_error((to_y, to_x), (y, x)) * len(x)]
        pairs = [(unit_scale(to_y), unit_scale(y)), (unit_scale(to_x), unit_scale(x))]
        values += [psnr(*pair).sum() for pair in pairs]
        values += [ssim(*pair).sum() if with_ssim else torch.zeros_like(sums[0]) for pair in pairs]
        sums += torch.stack([value.double() for value in values])
    model.train(training)
    loss, y_psnr, x_psnr, y_ssim, x_ssim = (sums / len(split)).tolist()
    if not with_ssim:
        return PairScores(loss, y_psnr, x_psnr)
    return PairScores(loss, y_psnr, x_psnr, y_ssim, x_ssim)


@torch.inference_mode()
def translated(model: nn.Module, split: PairSplit, device: torch.device) -> PairSplit:
    """Return what both directions make of a split: in `y` the X translated, in `x` the Y.

    Args:
        model: As of `score_pairs`, on `device`.
        split: Pairs, few enough to be translated at once.
        device: Where the model is.
    """
    resident = ResidentPairs.of(split, device)
    normalize = pair_normalizer(split.x.shape[3], device)
    training = model.training
    model.eval()
    x, y = (normalize(images.permute(0, 3, 1, 2)) for images in (resident.x, resident.y))
    to_y, to_x = _translate(model, x, y, "float32")
    model.train(training)
    return PairSplit(x=_to_bytes(to_x), y=_to_bytes(to_y))


def unit_scale(images: Tensor) -> Tensor:
    """Bring images from the scale -1 to 1 to the scale 0 to 1."""
    return (images + 1) / 2


def mean_answer_psnr(train: PairSplit, scored: PairSplit) -> float:
    """Return the score (dB) of always answering the mean training image, of both directions."""
    return float(np.mean([_mean_psnr(train.y, scored.y), _mean_psnr(train.x, scored.x)]))


def _mean_psnr(train: Images, scored: Images) -> float:
    mean = torch.from_numpy(train.mean(axis=0, dtype=np.float64) / 255).permute(2, 0, 1)[None]
    values = [
        psnr(mean.expand(len(part), -1, -1, -1), part.permute(0, 3, 1, 2) / 255)
        for part in torch.split(borrow(scored), 256)
    ]
    return float(torch.cat(values).double().mean())


def _translate(
    model: nn.Module, x: Tensor, y: Tensor, precision: Precision
) -> tuple[Tensor, Tensor]:
    with autocast(precision, x.device):
        to_y, to_x = model(x, y)
    return to_y.output.float(), to_x.output.float()


def _to_bytes(images: Tensor) -> Images:
    levels = (unit_scale(images).clamp(0, 1) * 255).round().to(torch.uint8)
    array: Images = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array
