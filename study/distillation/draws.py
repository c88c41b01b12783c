"""What a training draws besides its views, by number: orders, seeds, mixed images.

Each draw is a stream of Philox of its own, named by the training's seed and where in the training
it is made, so that no generator's state has to be kept to resume.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# The top word of Philox's counter: keeps streams apart that are keyed by the same two numbers
# ("epoch", "lesson" and "mixup" in ASCII).
_EPOCH_STREAM = 0x65706F6368
_LESSON_STREAM = 0x6C6573736F6E
_MIX_STREAM = 0x6D69787570


@dataclass(frozen=True, eq=False)
class Mix:
    """How the images of a batch are mixed in pairs.

    Zhang, Cissé, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization" (2018), with one
    λ for a batch and its images in another order as partners.

    Attributes:
        weight: λ from 0 to 1, the share of an image's own pixels.
        partners: int64 `(batch,)`, on the CPU: which image of the batch each is mixed with.
    """

    weight: float
    partners: Tensor

    def of(self, images: Tensor) -> Tensor:
        """`λ · x_i + (1-λ) · x_partner(i)`.

        Mixing pixels is mixing what any network makes of them by its own mean and deviation, as
        the weights add up to 1.

        Args:
            images: uint8 `(batch, channels, height, width)`, any memory order.

        Returns:
            float32 of the same shape and scale (0..255), channels-last memory.
        """
        pixels = images.permute(0, 2, 3, 1).to(torch.float32)
        others = pixels.index_select(0, self.partners.to(images.device, non_blocking=True))
        return torch.lerp(others, pixels, self.weight).permute(0, 3, 1, 2)


def epoch_draws(seed: int, epoch: int, count: int) -> tuple[Tensor, int]:
    """The order of an epoch's images, and the seed of its dropout masks.

    Args:
        seed: Of the training.
        epoch: From 0.
        count: Number of images.
    """
    generator = _generator(seed, epoch, 0, _EPOCH_STREAM)
    return torch.from_numpy(generator.permutation(count)), int(generator.integers(2**63))


def lesson_seed(seed: int) -> int:
    """The seed of a lesson's projectors.

    Args:
        seed: Of the training.
    """
    return int(_generator(seed, 0, 0, _LESSON_STREAM).integers(2**63))


def mix_draw(seed: int, epoch: int, step: int, count: int, concentration: float) -> Mix | None:
    """How the images of one step are mixed; None where they are not.

    Args:
        seed: Of the training.
        epoch: From 0.
        step: Of the epoch, from 0.
        count: Number of images in the batch.
        concentration: a of the Beta(a, a) that λ is drawn from: at 1 all values are alike, below
            it those near 0 and 1 prevail; 0 mixes nothing.
    """
    if concentration == 0:
        return None
    generator = _generator(seed, epoch, step, _MIX_STREAM)
    weight = float(generator.beta(concentration, concentration))
    return Mix(weight, torch.from_numpy(generator.permutation(count)))


def _generator(seed: int, epoch: int, step: int, stream: int) -> np.random.Generator:
    key = np.array([seed, epoch], dtype=np.uint64)
    # The lowest word counts what is drawn; the step lies far above it.
    counter = np.array([0, 0, step, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
