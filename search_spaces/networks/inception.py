"""Inception-v3 for small images: torchvision's network, which enlarges what it is shown.

Its names and shapes are torchvision's, so that state dicts of `inception_v3` fit. Szegedy et al.,
"Rethinking the Inception Architecture for Computer Vision" (2016).
"""

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
    InceptionOutputs,
)

# What the auxiliary head's pooling and 5x5 convolution leave something of; 299 px give 17.
_SMALLEST_AUXILIARY_MAP = 17


class _AuxiliaryHead(InceptionAux):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's, which sees smaller maps than those of 299 px, too: pooled to the same 5x5."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, outputs)` of maps `(batch, 768, h, w)`."""
        if min(x.shape[2:]) < _SMALLEST_AUXILIARY_MAP:
            x = functional.adaptive_avg_pool2d(x, 5)
        else:
            x = functional.avg_pool2d(x, kernel_size=5, stride=3)
        x = functional.adaptive_avg_pool2d(self.conv1(self.conv0(x)), 1)
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class Inception(Inception3):  # type: ignore[misc]
    """Inception-v3 on images of one or three channels, enlarged bilinearly on the way in.

    In train mode, as long as it has its auxiliary head, it answers torchvision's named tuple
    `(logits, aux_logits)`, otherwise logits `(batch, outputs)`.
    """

    def __init__(
        self,
        outputs: int,
        input_size: int | None,
        *,
        auxiliary: bool = False,
        imagenet_input: bool = False,
    ) -> None:
        """Draw random weights; the caller seeds torch.

        Args:
            outputs: Logits.
            input_size: Side (px) that images are brought to, at least 75; None takes them as they
                are.
            auxiliary: With the head that only training needs.
            imagenet_input: Shift and scale images as torchvision does for its ImageNet weights:
                standardised by ImageNet's mean and deviation they then lie from -1 to 1. Those
                standardised by their own data's are taken for such.
        """
        blocks = [BasicConv2d, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE]
        super().__init__(
            num_classes=outputs,
            aux_logits=auxiliary,
            transform_input=imagenet_input,
            inception_blocks=[*blocks, _AuxiliaryHead],
            init_weights=False,
        )
        self.input_size = input_size
        for module in self.modules():
            # As of the residual networks. torchvision's own, of one deviation for all layers, takes
            # seconds to draw, and its outputs explode in eval mode until the running variances
            # have followed, so that a teacher of few steps would answer nothing of use.
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> InceptionOutputs:
        """Answer normalised images `(batch, channels, h, w)`; a grey one stands for three alike."""
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if self.input_size is not None and x.shape[2:] != (self.input_size, self.input_size):
            size = (self.input_size, self.input_size)
            x = functional.interpolate(x, size, mode="bilinear", align_corners=False)
        return super().forward(x)

    def drop_auxiliary_head(self) -> None:
        """Leave out the auxiliary head for good: it answers nothing outside training."""
        self.aux_logits = False
        self.AuxLogits = None


def build(
    shape: tuple[int, int, int],
    outputs: int,
    input_size: int | None,
    *,
    auxiliary: bool = False,
    imagenet_input: bool = False,
) -> nn.Module:
    """A freshly initialised network; the caller seeds torch beforehand. See `Inception`.

    Args:
        shape: `(height, width, channels)` of an image, of one or three channels.
        outputs: Logits.
        input_size: As of `Inception`.
        auxiliary: Likewise.
        imagenet_input: Likewise.

    Raises:
        ValueError: The images have another number of channels.
    """
    if shape[2] not in (1, 3):
        raise ValueError(f"Inception-v3 sees 1 or 3 channels, not {shape[2]}")
    return Inception(outputs, input_size, auxiliary=auxiliary, imagenet_input=imagenet_input)
